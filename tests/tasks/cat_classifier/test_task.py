"""The whole line on a folder of images: answers, metrics, pictures, and one clear line for every mistake."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from cats import CONFIG, overrides, write_images
from conftest import invoke, sets
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from pipelines.config.load import load_config
from pipelines.errors import UserError
from pipelines.evaluation import Answerer
from pipelines.runs.run import Run
from pipelines.tasks.cat_classifier.sources import embedded, files
from pipelines.tasks.cat_classifier.task import TASK
from pipelines.trained_model import build_model, load_run_dataset, load_trained_model


def test_a_run_on_a_folder_writes_metrics_and_pictures(finished_cats):
    written = json.loads((finished_cats / "metrics.json").read_text())
    assert set(TASK.metrics) <= set(written["test"])
    pictures = {path.stem for path in (finished_cats / "report").glob("*.png")}
    explained = {"grad_cam", "first_layer", "feature_maps"}
    answered = {"confusion_matrix", "roc_and_precision_recall", "calibration", "confident_mistakes"}
    assert pictures == {"learning_curves", "layers", *explained, *answered}
    assert json.loads((finished_cats / "data.json").read_text())["duplicates_across_splits"] == {
        "validation in train": 0,
        "test in train": 0,
        "test in validation": 0,
    }


@pytest.mark.parametrize(
    "model", ["mlp", *(pytest.param(model, marks=pytest.mark.slow) for model in ("cnn", "inception"))]
)
def test_every_rung_trains_on_more_than_two_classes(model, images, tmp_path):
    small = ["models.mlp.units=[8]", "models.cnn.filters=[4]", "models.inception.modules=[8]", "training.epochs=1"]
    mixed = "preprocessing.augmentation.mixup=0.2"
    settings = overrides(images, f"model={model}", "data.positive=[]", "loss.label_smoothing=0.1", mixed, *small)
    result = invoke("train", CONFIG, *sets(settings), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    found = sorted((images / "cat").iterdir())[0]
    answer = json.loads(invoke("predict", tmp_path / "run", found, "--json").stdout)[0]
    assert sorted(answer["labels"]) == sorted(path.name for path in images.iterdir())
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert answer["label"] == answer["labels"][int(np.argmax(answer["probabilities"]))]
    assert answer["probability"] == max(answer["probabilities"])


def test_run_and_export_answer_the_bytes_of_files_as_evaluate_saw_them(finished_cats, tmp_path):
    formats = ["--format", "onnx", "--format", "litert"]
    exported = invoke("export", finished_cats, "--to", tmp_path / "cats", *formats).stdout.strip()
    trained = load_trained_model(Run.open(finished_cats))
    test = load_run_dataset(trained.config).test
    names = [str(path) for path in test["image"]]
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(names))
    of_run = json.loads(invoke("predict", finished_cats, *names, "--json").stdout)
    of_export = json.loads(invoke("predict", exported, "--file", listing, "--json").stdout)
    accuracy = json.loads((finished_cats / "metrics.json").read_text())["test"]["accuracy"]
    right = np.mean([answer["label"] == label for answer, label in zip(of_run, test["label"], strict=True)])
    assert right == pytest.approx(accuracy)
    for a, b in zip(of_run, of_export, strict=True):
        assert a["label"] == b["label"] and a["probability"] == pytest.approx(b["probability"], abs=1e-5)
    compared = json.loads((Path(exported) / "parity.json").read_text())["formats"]
    for form in ("onnx", "litert"):
        assert list(compared[form]["signatures"]["serving_default"]["answers"]) == ["probabilities"]
    about = json.loads((Path(exported) / "numbers.json").read_text())
    assert about["labels"] == of_run[0]["labels"] and about["threshold"] == trained.config.preprocessing["threshold"]


def test_the_threshold_moves_the_answer_and_not_the_probabilities(images, finished_cats, tmp_path):
    config = load_config(finished_cats / "config.yaml")
    trained = load_trained_model(Run.open(finished_cats))
    test = load_run_dataset(config).test
    plain = trained.answerer.answer_table(test)
    trained.preprocessor.threshold = 0.9999
    strict = replace(trained).answerer.answer_table(test)
    np.testing.assert_allclose(strict["probabilities"], plain["probabilities"])
    assert set(strict["label"]) == {b"not cat"}


def test_a_folder_answers_all_its_images(finished_cats, images):
    result = invoke("predict", finished_cats, images / "dog", "--json")
    assert len(json.loads(result.stdout)) == len(list((images / "dog").iterdir()))


@pytest.fixture
def damaged(tmp_path):
    """Images of which two cannot be decoded."""
    folder = write_images(tmp_path / "images")
    (folder / "cat" / "00.jpeg").write_bytes(b"")
    (folder / "dog" / "zz.png").write_text("a text")
    return folder


def test_bad_files_stop_a_run_by_name_before_anything_is_written(damaged, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(damaged)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1
    assert f"{damaged}/cat/00.jpeg: an empty file (and 1 more)" in result.stderr
    assert "data.bad_files: skip" in result.stderr and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bad_files_are_skipped_and_listed_where_the_config_says_so(damaged, tmp_path):
    settings = overrides(damaged, "data.bad_files=skip", "training.epochs=1", "batches.cache=false")
    result = invoke("train", CONFIG, *sets(settings), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "run/data.json").read_text())
    assert data["skipped"]["count"] == 2 and sum(data["examples"].values()) == 90
    assert data["skipped"]["rows"][1]["place"].endswith("dog/zz.png")


@pytest.mark.slow
def test_with_and_without_cache_a_run_is_the_same(images, tmp_path):
    for cache in ("true", "false"):
        settings = overrides(images, f"batches.cache={cache}")
        assert invoke("train", CONFIG, *sets(settings), "--run-dir", tmp_path / cache).exit_code == 0
    runs = [json.loads((tmp_path / cache / "metrics.json").read_text()) for cache in ("true", "false")]
    assert runs[0] == runs[1]


def test_images_in_hdf5_files_are_read_as_arrays_were_written(tmp_path):
    random = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 10)):
        with h5py.File(tmp_path / f"{split}.h5", "w") as file:
            file[f"{split}_set_x"] = random.integers(0, 256, (count, 16, 16, 3), np.uint8)
            file[f"{split}_set_y"] = np.arange(count)[None] % 2
            file["list_classes"] = np.array([b"non-cat", b"cat"])
    source = files(
        root=str(tmp_path), path={"train": "train.h5", "test": "test.h5"}, positive=["cat"], bad_files="error"
    )
    assert source.examples["train"]["label"].value_counts().to_dict() == {"cat": 20, "not cat": 20}
    assert source.examples["test"]["kind"].tolist() == ["non-cat", "cat"] * 5


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.positive=[cta]", "data.positive: no class 'cta'; did you mean 'cat'?"),
        ("data.path=nowhere", "nowhere: no such folder"),
        ("data.path={test: images}", "data.path: has no entry `train`; add train: PATH"),
        ("models.resnet.depth=9", "models.resnet.depth"),
        ("models.cnn.padding=valid,model=cnn,preprocessing.image_size=8", "models.cnn.padding: the image shrinks to"),
        ("preprocessing.augmentation.flipp=true", "flipp"),
        ("preprocessing.threshold=1.5", "preprocessing.threshold"),
        ("data.bad_files=ignore", "data.bad_files"),
    ],
)
def test_a_mistake_gets_one_line_and_writes_nothing(override, expected, images, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(images, *override.split(","))), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and expected in result.stderr, result.output
    errors = [line for line in result.stderr.splitlines() if not line.startswith(("examples ", "class ", "warning: "))]
    assert len(errors) == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [("nowhere.jpg", "nowhere.jpg: no such file"), ("text", "a text file, not a JPEG, PNG, GIF")],
)
def test_an_input_that_is_no_image_is_explained(given, expected, finished_cats, tmp_path):
    (tmp_path / "text").write_text("no image")
    path = tmp_path / given
    result = invoke("predict", finished_cats, path)
    assert result.exit_code == 1 and expected in result.stderr


def test_a_list_without_an_image_is_explained(finished_cats, tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    result = invoke("predict", finished_cats, "--file", tmp_path / "list.txt")
    assert result.exit_code == 1 and "list.txt: contains no inputs" in result.stderr


def test_a_class_that_train_lacks_is_never_answered():
    answers = {
        "label": np.array([b"ant", b"owl", b"owl"]),
        "probability": np.float32([0.9, 0.8, 0.7]),
        "labels": np.tile([b"ant", b"owl"], (3, 1)),
        "probabilities": np.float32([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]),
    }
    scores = TASK.compute_metrics(pd.DataFrame({"label": ["ant", "owl", "bee"]}), answers)
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["log_loss"] > 10 and np.isnan(scores["auc"])


def test_the_only_class_is_nothing_to_tell_apart(tmp_path):
    folder = write_images(tmp_path / "images")
    for kind in ("dog", "rabbit", "bird", "house", "car", "blob"):
        shutil.rmtree(folder / kind)
    with pytest.raises(UserError, match="the only class is cat"):
        files(root=str(tmp_path), path="images", positive=["cat"], bad_files="error")


def test_all_classes_cannot_be_positive(tmp_path):
    folder = write_images(tmp_path / "images")
    kinds = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UserError, match=r"data\.positive: lists every class; leave at least one out"):
        files(root=str(tmp_path), path="images", positive=kinds, bad_files="error")


def test_drawn_pictures_are_grouped_and_keep_their_kind():
    table = embedded(count=60, positive=["cat", "dog"]).examples["all"]
    assert set(table["label"]) == {"cat or dog", "not cat or dog"}
    assert ((table["label"] == "cat or dog") == table["kind"].isin(["cat", "dog"])).all()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_scores_are_those_of_the_reference_library(seed, binary):
    random = np.random.default_rng(seed)
    classes = np.array(["cat", "not cat"] if binary else ["ant", "owl", "bee"])
    probabilities = random.dirichlet(np.ones(len(classes)), 40).astype("float32")
    true = classes[np.arange(40) % len(classes)]
    label = classes[probabilities.argmax(axis=1)]
    answers = {
        "label": label.astype("S"),
        "probability": probabilities.max(axis=1),
        "labels": np.tile(classes.astype("S"), (40, 1)),
        "probabilities": probabilities,
    }
    scores = TASK.compute_metrics(pd.DataFrame({"label": true}), answers)
    kind = {"pos_label": "cat"} if binary else {"average": "macro"}
    order = np.argsort(classes)
    assert scores["accuracy"] == metrics.accuracy_score(true, label)
    assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(true, label))
    assert scores["f1"] == pytest.approx(metrics.f1_score(true, label, **kind))
    sure = probabilities.astype("float64") / probabilities.sum(axis=1, keepdims=True, dtype="float64")
    if binary:
        auc = metrics.roc_auc_score(true == "cat", sure[:, 0])
    else:
        auc = metrics.roc_auc_score(true, sure[:, order], multi_class="ovr", labels=classes[order])
    assert scores["auc"] == pytest.approx(auc)
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(true, sure[:, order], labels=classes[order]))


def test_confident_mistakes_name_their_files(finished_cats):
    trained = load_trained_model(Run.open(finished_cats))
    test = load_run_dataset(trained.config).test
    answers = trained.answerer.answer_table(test)
    page = TASK.pictures(trained.model, trained.preprocessor, test, answers)["confident_mistakes"]
    wrong = test["label"].to_numpy() != [label.decode() for label in answers["label"]]
    names = [path.name for path in test["image"][wrong]]
    assert sorted(axes.get_title().partition("\n")[0] for axes in page.axes) == sorted(names)


@pytest.mark.slow
def test_a_threshold_is_chosen_on_validation_and_kept_in_the_export(finished_cats, images, tmp_path):
    chosen = json.loads(
        invoke("evaluate", finished_cats, "--split", "validation", "--threshold", "f1", "--json").stdout
    )
    own = json.loads((finished_cats / "metrics.json").read_text())["validation"]
    assert chosen["validation"]["f1"] == pytest.approx(chosen["threshold"]["validation"]["f1"])
    assert chosen["validation"]["f1"] >= own["f1"] and chosen["validation"]["auc"] == pytest.approx(own["auc"])
    result = invoke("export", finished_cats, "--to", tmp_path / "cats", "--threshold", "cost=0:1")
    assert result.exit_code == 0, result.output
    exported = Path(result.stdout.strip())
    assert result.stderr.startswith("threshold 0.") and "false negatives 0" in result.stderr
    about = json.loads((exported / "assets.extra" / "about.json").read_text())["operating_point"]
    assert about["rule"] == "cost=0:1" and about["validation"]["recall"] == 1
    assert "(cost=0:1); on the validation split: precision" in (exported / "model_card.md").read_text()
    answers = json.loads(invoke("predict", exported, images, "--json").stdout)
    assert all((each["label"] == "cat") == (each["probabilities"][0] >= about["threshold"]) for each in answers)
    again = invoke("export", finished_cats, "--to", tmp_path / "cats", "--threshold", "f1", "--unchecked")
    assert (
        again.exit_code == 1 and "chosen on the validation split, which is not available; give a number" in again.stderr
    )
    assert [path.name for path in (tmp_path / "cats").iterdir()] == ["1"]


def test_each_class_is_measured_as_by_a_reference_library():
    true, label = np.array(["a", "a", "b", "c"]), np.array([b"a", b"b", b"b", b"b"])
    answers = {"label": label, "labels": np.tile([b"a", b"b"], (4, 1))}
    figures = TASK.metrics_by_class(pd.DataFrame({"label": true}), answers)
    assert figures.to_dict("index") == {
        "a": {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "count": 2},
        "b": {"precision": pytest.approx(1 / 3), "recall": 1, "f1": 0.5, "count": 1},
        "c": {"precision": 0, "recall": 0, "f1": 0, "count": 1},
    }


def test_no_threshold_decides_between_more_than_two_classes():
    preprocessor = TASK.preprocessor(**load_config(CONFIG).preprocessing)
    state = {"weights": np.ones(3), "mean": np.zeros(3), "deviation": np.ones(3)}
    preprocessor.restore({"classes": np.array(["a", "b", "c"]), **state})
    assert preprocessor.threshold is None


def test_the_set_has_the_label_and_the_temperature_changes_no_label(finished_cats):
    trained = load_trained_model(Run.open(finished_cats))
    test = load_run_dataset(trained.config).test
    answers = trained.answerer.answer_table(test)
    assert all(label in within for label, within in zip(answers["label"], answers["set"], strict=True))
    own = trained.preprocessor.confidence
    trained.preprocessor.confidence = {**own, "temperature": 3 * own["temperature"]}
    softer = replace(trained).answerer.answer_table(test)
    assert (softer["label"] == answers["label"]).all()
    assert softer["probability"].mean() < answers["probability"].mean()
    metrics = json.loads((finished_cats / "metrics.json").read_text())["test"]
    assert {"ece", "ece_uncalibrated", "log_loss_uncalibrated", "set_size"} <= set(metrics)


@pytest.mark.parametrize(("rung", "method"), [("logistic_regression", b"gradient"), ("cnn", b"grad_cam")])
def test_an_image_is_explained_by_a_picture(images, finished_cats, rung, method):
    trained = load_trained_model(Run.open(finished_cats))
    config = load_config(CONFIG, overrides(images, f"model={rung}"))
    model = build_model(config, trained.task, trained.preprocessor)
    explaining = Answerer(trained.task.endpoints(model, trained.preprocessor)["explain"])
    found = explaining.answer_table(load_run_dataset(trained.config).test.head(2))
    assert set(found["method"]) == {method}
    pictures = [tf.io.decode_png(each).numpy() for each in found["picture"]]
    assert all(picture.shape == (224, 224, 3) and picture.std() > 0 for picture in pictures)
