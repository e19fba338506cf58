"""Columns of free text: vectors of a published encoder beside the other columns, from the config to the export."""

import json
import shutil

import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import CONFIG, done, invoke, overrides, sets
from presets import write_bert, write_efficientnet, write_encoder

from pipelines.data.batches import tensors
from pipelines.errors import UserError
from pipelines.runs.run import Run
from pipelines.tasks.house_prices.models import MODELS
from pipelines.tasks.house_prices.preprocessing import Features, TablePreprocessor
from pipelines.tasks.house_prices.texts import TextEncoder

WORDS = "sunny dark flat with a garden near the park and quiet street".split()
SETTINGS = {
    "numeric_scaling": "standard",
    "numeric_limit": 3.0,
    "min_count": 2,
    "target_scaling": "standard",
    "max_categories": 10,
    "ratios": [],
    "neighbours": [],
}


def flats(count: int, seed: int = 0) -> pd.DataFrame:
    """Flats whose price follows from their area and from one word of a description, which some lack."""
    random = np.random.default_rng(seed)
    area, sunny = random.uniform(40, 120, count).round(1), random.random(count) < 0.5
    texts = [
        f"{'sunny' if each else 'dark'} {' '.join(random.choice(WORDS[2:], 1 + at % 3))}"
        for at, each in enumerate(sunny)
    ]
    table = pd.DataFrame({"area": area, "About it": texts, "price": (1000 * area + 60000 * sunny).round()})
    table.loc[random.random(count) < 0.1, "About it"] = ""
    return table


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("presets") / "bert", [*WORDS])


@pytest.fixture(scope="module")
def runs(bert, tmp_path_factory):
    """Finished runs of the linear regression with and without the text column, whose preset is gone."""
    folder = tmp_path_factory.mktemp("flats")
    flats(240).to_csv(folder / "flats.csv", index=False)
    preset = shutil.copytree(bert, folder / "bert")
    own = [*overrides(folder / "flats.csv"), "model=linear_regression", "models.linear_regression.l2=0.0"]
    own += ["training.epochs=30", "training.patience=null", "optimizer.learning_rate=0.03"]
    text = [f"preprocessing.text_preset={preset}", "preprocessing.text_columns=[About it]"]
    for name, more in (("without", []), ("with", text)):
        done("train", CONFIG, *sets([*own, *more]), "--run-dir", folder / name)
    shutil.rmtree(preset)
    return folder


def adapted(train: pd.DataFrame, **changes) -> TablePreprocessor:
    preprocessor = TablePreprocessor(**{**SETTINGS, **changes})
    preprocessor.adapt(train)
    return preprocessor


@pytest.mark.slow
def test_a_description_helps_to_price_a_flat(runs):
    errors = {name: Run.open(runs / name).metrics()["test"]["rmse"] for name in ("with", "without")}
    assert errors["with"] < 0.7 * errors["without"], errors


@pytest.mark.slow
def test_a_run_says_which_encoder_it_has(runs):
    assert Run.open(runs / "with").data()["preset"]["preset"].endswith("bert")
    assert "preset" not in Run.open(runs / "without").data()


@pytest.mark.slow
def test_an_export_takes_the_text_as_it_is(runs, tmp_path):
    done("export", runs / "with", "--to", tmp_path / "flats")  # compares its answers with those of the run's model
    sold = [{"area": 80, "About it": text} for text in ("sunny flat", "dark flat", "")] + [{"area": 80}]
    for folder in (runs / "with", tmp_path / "flats"):
        result = invoke("predict", folder, *map(json.dumps, sold), "--json")
        assert result.exit_code == 0, result.output
        sunny, dark, empty, absent = (answer["price"] for answer in json.loads(result.stdout))
        assert sunny - dark > 30000
        assert empty == absent and dark < empty < sunny
    result = invoke("export", runs / "with", "--to", tmp_path / "numbers", "--format", "onnx")
    assert result.exit_code == 1 and "supports numbers only" in result.output


@pytest.mark.slow
def test_training_goes_on_from_a_run_without_the_preset(runs, tmp_path):
    flats(120, seed=1).to_csv(tmp_path / "flats.csv", index=False)
    own = json.dumps({"source": "files", "path": str(tmp_path / "flats.csv"), "target": "price"})
    done(
        *("train", runs / "with" / "config.yaml", "--run-dir", tmp_path / "next", "--set", f"data={own}"),
        *("--set", f"start={runs / 'with'}", "--set", "training.epochs=1"),
    )
    states = [Run.open(folder).preprocessor_state() for folder in (runs / "with", tmp_path / "next")]
    np.testing.assert_array_equal(states[0]["text_mean"], states[1]["text_mean"])


@pytest.mark.parametrize("family", ["Bert", "DebertaV3", pytest.param("Roberta", marks=pytest.mark.slow)])
def test_a_vector_is_the_mean_of_the_encoders_outputs(family, tmp_path):
    folder = write_encoder(tmp_path / family, family, WORDS, length=16)
    encoder = TextEncoder.published(str(folder))
    texts = ["sunny flat", "", "a quiet street near the park", "dark " * 40, *["garden"] * 40]
    vectors = encoder.vectors(tf.constant(texts)).numpy()
    assert np.isnan(vectors[1]).all() and np.isfinite(np.delete(vectors, 1, axis=0)).all()
    np.testing.assert_allclose(encoder.recall(tf.constant(texts)), vectors, atol=1e-5)
    backbone, tokenizer = keras_hub.models.Backbone.from_preset(str(folder)), encoder.preset.tokenizer
    for text, vector in ((texts[0], vectors[0]), (texts[3], vectors[3])):  # the second one is cut to 16 tokens
        pieces = tf.function(tokenizer)(tf.constant([text])).to_list()[0][:14]
        ids = np.array([[tokenizer.start_token_id, *pieces, tokenizer.end_token_id]])
        given = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
        outputs = backbone({tensor: given[tensor] for tensor in backbone.input})
        outputs = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
        np.testing.assert_allclose(vector, np.mean(outputs[0], axis=0), atol=1e-5)


def test_vectors_are_normalised_and_missing_texts_are_zero_and_told(bert):
    train = flats(60).rename(columns={"About it": "about"})
    preprocessor = adapted(train, text_columns=["about"], text_preset=str(bert))
    inputs = preprocessor.inputs(tensors(train))
    missing = (train["about"] == "").to_numpy()
    assert inputs["text"].shape == (60, 16) and missing.any()
    assert not inputs["text"].numpy()[missing].any()
    np.testing.assert_allclose(inputs["text"].numpy()[~missing].mean(axis=0), 0, atol=0.1)  # outliers are clipped
    np.testing.assert_array_equal(inputs["category"], np.stack([missing, ~missing], axis=1))
    examples, *_ = preprocessor.example(tensors(train), training=True)
    np.testing.assert_allclose(examples["text"], inputs["text"], atol=1e-4)


def test_the_encoder_reads_each_text_once_for_training(bert):
    train = flats(40).rename(columns={"About it": "about"})
    preprocessor = adapted(train, text_columns=["about"], text_preset=str(bert))
    preprocessor._encoder.vectors = None
    rows = tf.data.Dataset.from_tensor_slices(tensors(train)).batch(10).repeat(2)
    batches = rows.map(lambda raw: preprocessor.example(raw, training=True))
    assert len(np.concatenate([inputs["text"] for inputs, *_ in batches])) == 80


@pytest.mark.parametrize("model", MODELS)
def test_every_model_sees_the_text(model):
    hidden = {"units": [4], "activation": "relu", "dropout": 0.0, "l2": 0.0, "batch_normalization": False}
    hidden |= {"linear_skip": False, "initializer": "he_normal"}
    bins = {"bins": 2, "embedding_width": 3}
    own = {"linear_regression": {"l2": 0.0}, "mlp": hidden, "mlp_ple": hidden | bins}
    own["tabm"] = hidden | bins | {"members": 2, "adapters": "own"}
    quantiles = np.sort(np.random.default_rng(0).normal(size=(2, 101)), axis=1)
    built = MODELS[model](Features(2, 3, quantiles, 5), **own[model])
    inputs = {"numeric": np.ones((1, 2)), "category": np.ones((1, 3)), "text": np.ones((1, 5))}
    assert (built(inputs) != built(inputs | {"text": -np.ones((1, 5))})).numpy().any()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text_columns": ["abut"]}, r"preprocessing\.text_columns: no column 'abut'; did you mean 'about'\?"),
        ({"text_columns": ["area"]}, r"text_columns: 'area' is a column of numbers; to read it as text, set data\."),
        ({"text_columns": ["about", "about"]}, r"preprocessing\.text_columns: names 'about' twice"),
        ({"ratios": [["area", "about"]]}, r"preprocessing\.ratios: 'about' is also in preprocessing\.text_columns"),
        ({"text_preset": None}, r"preprocessing\.text_preset: must name a text encoder"),
        ({"text_preset": "nowhere/bert"}, r"preprocessing\.text_preset: no such preset or folder: 'nowhere/bert'"),
    ],
)
def test_settings_that_do_not_fit_get_one_line(bert, changes, expected):
    train = flats(20).rename(columns={"About it": "about"})
    with pytest.raises(UserError, match=expected) as caught:
        adapted(train, **{"text_columns": ["about"], "text_preset": str(bert), **changes})
    assert "\n" not in str(caught.value)


def test_another_kind_of_preset_or_none_installed_gets_one_line(bert, tmp_path, monkeypatch):
    train = flats(20).rename(columns={"About it": "about"})
    images = write_efficientnet(tmp_path / "images")
    with pytest.raises(UserError, match=r"text_preset: .* is a EfficientNet model, but this takes text encoders"):
        adapted(train, text_columns=["about"], text_preset=str(images))
    monkeypatch.setitem(__import__("sys").modules, "keras_hub", None)
    with pytest.raises(UserError, match=r"text_preset: 'keras_hub' is not installed; .*\[pretrained\]"):
        adapted(train, text_columns=["about"], text_preset=str(bert))


def test_a_free_text_column_is_unknown_by_default():
    train = flats(60).rename(columns={"About it": "about"})
    preprocessor = adapted(train, text_columns=[], text_preset=None, min_count=20)
    assert set(preprocessor.inputs(tensors(train))) == {"numeric"}
    assert any("name the column in preprocessing.text_columns" in warning for warning in preprocessor.warnings)
