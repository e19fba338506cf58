"""The whole line on a CoNLL file: answers with their places, metrics, pages, and one clear line for every mistake."""

import json

import pandas as pd
import pytest
import tensorflow as tf
from conftest import invoke, sets
from processes import without_keras
from taggers import CONFIG, overrides, write_conll

from pipelines.config.load import load_config
from pipelines.runs.run import Run
from pipelines.tasks.entity_tagger.pictures import mistakes_page
from pipelines.trained_model import load_trained_model

TEXT = "Mr  Bob Lee lives in Oslo 7. Ms Ann lives in Rome 8."


def test_metrics_hold_each_type_and_the_run_its_pages(finished_tagger):
    metrics = json.loads((finished_tagger / "metrics.json").read_text())["test"]
    assert metrics["f1"] > 0.9 and {"PER.f1", "LOC.recall"} <= set(metrics)
    names = {path.name for path in (finished_tagger / "report").iterdir()}
    assert {
        "f1_by_type.png",
        "seen_and_unseen.png",
        "tag_confusion.png",
        "mistakes.html",
        "learning_curves.png",
        "gates.png",
    } <= names
    assert "<figcaption>Gates</figcaption>" in (finished_tagger / "report" / "index.html").read_text()


def test_answers_name_entities_where_they_stand(finished_tagger, exported_tagger):
    for folder in (finished_tagger, exported_tagger):
        result = invoke("predict", folder, TEXT, "nothing here", "", "--json")
        (first, second, third) = json.loads(result.stdout)
        found = first["entities"]
        assert "Bob Lee" in {entity["text"] for entity in found}
        for entity in found:
            assert TEXT[entity["start"] : entity["stop"]] == entity["text"]
            assert 0 < entity["probability"] <= 1
        assert third == {"entities": []} and isinstance(second["entities"], list)


def test_an_export_answers_texts_and_tokens_without_keras(exported_tagger):
    code = f"""
import tensorflow as tf
loaded = tf.saved_model.load({str(exported_tagger / "1")!r})
texts = loaded.signatures["serving_default"](text=tf.constant(["Mr Bob Lee lives in Oslo 3 ."]))
rows = [["Mr", "", "Bob", "Lee", "lives", "in", "Oslo", "3", "."], ["Hi"] + [""] * 8]
tokens = loaded.signatures["tokens"](tokens=tf.constant(rows))
for name in texts:
    one, other = texts[name].numpy()[0], tokens[name].numpy()[0]
    assert (abs(one - other) < 1e-6 if one.dtype.kind == "f" else one == other).all(), name
print(texts["entity"].numpy()[0].tolist(), texts["start"].numpy()[0].tolist())
"""
    done = without_keras(code)
    assert done.stdout.strip() == "[b'Bob Lee', b'Oslo'] [3, 20]", done.stderr


def test_all_signatures_are_compared_with_the_run_and_warm_a_server_up(exported_tagger):
    from pipelines.serving.models.versions import Version

    parity = json.loads((exported_tagger / "1" / "parity.json").read_text())["formats"]["saved_model"]
    assert set(parity["signatures"]) == {"serving_default", "tokens", "tags", "explain"} and not parity["left_out"]
    assert parity["signatures"]["tokens"]["answers"]["entity"] == {"differing_rows": 0}
    assert Version(exported_tagger / "1").warm_up() == 8, "a request of one row and one of several for each"


@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_what_keeps_texts_out_of_other_formats_is_named(form, finished_tagger, tmp_path):
    result = invoke("export", finished_tagger, "--to", tmp_path / "tagger", "--format", form)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1
    assert "supports numbers only" in result.stderr and "RegexReplace" in result.stderr
    assert not (tmp_path / "tagger").exists()


def test_an_entity_is_as_probable_as_all_sequences_with_it(finished_tagger):
    """Sum over every sequence of a short sentence by way of the model's own potentials."""
    import itertools

    import numpy as np

    from pipelines.data.batches import padded
    from pipelines.metrics.entity_f1 import Entity, entities
    from pipelines.tasks.entity_tagger.decoding import Decoded

    trained = load_trained_model(Run.open(finished_tagger))
    inputs = padded(trained.preprocessor.inputs({"tokens": tf.constant([["Mr", "Bob", "Lee", "Oslo"]])}))
    inputs = {
        name: tf.pad(value, [[0, 0], [0, 2]] + [[0, 0]] * (len(value.shape) - 2)) for name, value in inputs.items()
    }
    decoded = Decoded(trained.model(inputs), inputs["words"], trained.preprocessor.features)
    tags, potentials = trained.preprocessor.tags, decoded.potentials.numpy()[0].astype("float64")
    weights = {}
    for path in itertools.product(range(len(tags)), repeat=4):
        weights[path] = np.exp(
            sum(potentials[t, before, tag] for t, (before, tag) in enumerate(zip((0, *path), path, strict=False)))
        )
    total = sum(weights.values())
    answered = entities([tags[tag] for tag in decoded.path.numpy()[0][:4]])
    by_hand = [
        sum(
            weight
            for path, weight in weights.items()
            if Entity(e.start, e.stop, e.type) in entities([tags[t] for t in path])
        )
        for e in answered
    ]
    assert answered
    np.testing.assert_allclose(decoded.entity_probabilities().to_list()[0], np.array(by_hand) / total, atol=1e-4)


@pytest.mark.slow
def test_a_run_reads_sentences_of_a_file_and_shows_its_answers(conll, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("Mr Dan Ng lives in Rome 1 .\n\nMs Eve slept .\n")
    result = invoke("run", CONFIG, *sets(overrides(conll, "training.epochs=1")))
    assert result.exit_code == 0, result.output
    assert "lives in" in result.stdout
    result = invoke("predict", "exports/entity_tagger", "--file", "texts.txt", "--json")
    assert len(json.loads(result.stdout)) == 2
    result = invoke("predict", "exports/entity_tagger", "--file", "none.txt")
    assert (result.exit_code, "none.txt: no such file" in result.stderr) == (1, True)
    (tmp_path / "empty.txt").write_text("\n \n")
    result = invoke("predict", "exports/entity_tagger", "--file", "empty.txt")
    assert (result.exit_code, "empty.txt: contains no text" in result.stderr) == (1, True)


@pytest.mark.slow
def test_interrupted_training_ends_with_the_same_metrics(conll, finished_tagger, tmp_path, monkeypatch):
    from pipelines.training.keeper import Keeper

    original = Keeper.on_epoch_end

    def stop(self, epoch, logs=None):
        original(self, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keeper, "on_epoch_end", stop)
    arguments = ["train", CONFIG, *sets(overrides(conll)), "--run-dir", tmp_path / "run"]
    assert invoke(*arguments).exit_code == 130
    monkeypatch.setattr(Keeper, "on_epoch_end", original)
    assert invoke(*arguments, "--resume").exit_code == 0
    assert (tmp_path / "run" / "metrics.json").read_text() == (finished_tagger / "metrics.json").read_text()
    first, again = (pd.read_csv(folder / "history.csv") for folder in (finished_tagger, tmp_path / "run"))
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), again.drop(columns="seconds"), rtol=1e-6)


BAD = {
    "an illegal tag": (
        "Ann I-PER\n\nBob I-PER\n",
        [],
        "names.conll:1: 'I-PER' after 'O': no entity of type PER is open (and 1 more); fix it",
    ),
    "no tags at all": ("Ann O\n", [], "data: all tags are O"),
    "no such column": ("Ann B-PER\n", ["data.tag_column=3"], "has 2 columns, but data.tag_column is 3"),
    "a scheme of no name": ("Ann B-PER\n", ["data.scheme=biluo"], "data.scheme"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_gets_one_line_and_writes_nothing(case, tmp_path):
    content, more, message = BAD[case]
    path = tmp_path / "names.conll"
    path.write_text(content)
    settings = overrides(path, "data.scheme=bio", *more)
    result = invoke("train", CONFIG, *sets(settings), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("rule", "count"), [("skip", 90), ("repair", 91)])
def test_illegal_tags_are_left_out_or_repaired_and_listed(rule, count, tmp_path):
    from pipelines.tasks.entity_tagger.sources import files

    path = write_conll(tmp_path / "names.conll")
    path.write_text(path.read_text() + "\nEve I-PER\n")
    source = files(root=str(tmp_path), path="names.conll", tag_column=-1, scheme="bio", bad_tags=rule)
    assert len(source.examples["all"]) == count
    listed = source.skipped if rule == "skip" else source.origin["repaired"]["tags"]
    assert [fault["reason"] for fault in listed] == ["'I-PER' after 'O': no entity of type PER is open"]


def test_sentences_of_tensorflow_datasets_lose_blank_tokens_and_keep_their_tags(tmp_path):
    import tensorflow_datasets as tfds

    from pipelines.tasks.entity_tagger.sources import tfds as source

    tags = tfds.features.ClassLabel(names=["O", "B-PER", "I-PER"])
    features = {"tokens": tfds.features.Sequence(tfds.features.Text()), "ner": tfds.features.Sequence(tags)}
    rows = [{"tokens": ["Ann", " ", "Lee", "ran"], "ner": [1, 0, 2, 0]}, {"tokens": ["Hi"], "ner": [0]}]

    class Names(tfds.core.GeneratorBasedBuilder):
        """Two sentences."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": enumerate(rows)}

        def _generate_examples(self):
            return iter(())

    Names(data_dir=tmp_path).download_and_prepare()
    loaded = source(
        tokens="tokens", tags="ner", scheme="detect", bad_tags="repair", name="names", data_dir=str(tmp_path),
        download=False, splits={"all": "train"},
    )  # fmt: skip
    found = sorted(loaded.examples["all"].to_dict("records"), key=lambda row: -len(row["tokens"]))
    assert found[0] == {"tokens": ["Ann", "Lee", "ran"], "tags": ["B-PER", "I-PER", "O"]}
    assert loaded.origin["scheme"] == "bio" and len(found) == 2


def test_the_scheme_is_that_of_all_splits(tmp_path):
    from pipelines.tasks.entity_tagger.sources import files

    (tmp_path / "a").write_text("Ann I-PER\n")
    (tmp_path / "b").write_text("Ann I-PER\nBob B-PER\n")
    names = {"train": "a", "validation": "b", "test": "a"}
    source = files(root=str(tmp_path), path=names, tag_column=-1, scheme="detect", bad_tags="error")
    assert source.origin["scheme"] == "iob1"
    assert source.examples["validation"]["tags"].tolist() == [["B-PER", "B-PER"]]


def test_mistakes_are_counted_by_kind_and_cannot_break_the_page():
    page = mistakes_page(
        [["<b>", "ran"], ["Oslo", "Bay"]], [["B-PER", "O"], ["B-LOC", "I-LOC"]], [["O", "B-PER"], ["B-LOC", "O"]]
    )
    assert "PER predicted as no entity: 1 time<" in page and "no entity predicted as PER: 1 time<" in page
    assert "LOC predicted as the same type with other boundaries: 1 time<" in page
    assert "&lt;b&gt;" in page and "<b>" not in page


def test_the_split_files_keep_their_splits_and_config_is_checked(conll, tmp_path):
    parts = {"train": ["names.conll"], "validation": "names.conll", "test": "names.conll"}
    config = load_config(CONFIG, [*overrides(conll), f"data.path={json.dumps(parts)}"])
    from pipelines.trained_model import load_run_dataset

    dataset = load_run_dataset(config)
    assert len(dataset.train) == len(dataset.test) == 90 and isinstance(dataset.train, pd.DataFrame)
