"""`inspect` shows what a model is made of, and what preprocessing makes of an example, for every kind of input."""

import json

import pandas as pd
import pytest
from cats import CONFIG as IMAGES
from cats import write_images
from conftest import CONFIG, invoke, overrides, sets

import pipelines
from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.tasks import load_task

MLP = ("model=mlp", "models.mlp.units=[8]", "models.mlp.linear_skip=false")


def test_a_config_shows_its_layers_and_an_example(csv):
    settings = overrides(csv, *MLP)
    result = invoke("inspect", str(CONFIG), *sets(settings), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    inputs = sum(found["tensors"][name]["shape"][0] for name in ("numeric", "category"))
    assert found["costs"]["parameters"] == inputs * 8 + 8 + 8 + 1
    assert found["costs"]["multiply_adds"] == inputs * 8 + 8
    numbers = {row["feature"]: row for row in found["steps"]["numeric"]}
    assert numbers["Area__m2_"]["number"] == pytest.approx(found["example"]["Area__m2_"])  # as float32
    assert found["tensors"]["label"]["values"] == [found["steps"]["target"][0]["label"]]
    text = invoke("inspect", str(CONFIG), *sets(settings))
    assert text.exit_code == 0 and "multiply-adds" in text.stdout and "given to the model" in text.stdout


def test_a_run_shows_the_same_and_another_row(finished_run):
    first, second = (pipelines.inspect(finished_run, row=row) for row in (1, 2))
    assert first.costs.multiply_adds == second.costs.multiply_adds > 0 and first.example != second.example
    assert first.costs.parameters == pipelines.load(finished_run).model.count_params()
    result = invoke("inspect", str(finished_run), "--row", "100000")
    assert result.exit_code == 1 and "error: --row: must be from 1 to" in result.stderr
    result = invoke("inspect", str(finished_run), "--set", "model=mlp")
    assert result.exit_code == 1 and "is of no use for a finished run" in result.stderr


def prepared(task: str, train: pd.DataFrame, **changes):
    config = load_config(shipped_config(task))
    made = load_task(task).preprocessor(**{**config.preprocessing, **changes})
    made.adapt(train)
    return made.steps(train.head(1))


def test_the_tokens_of_a_sentence_are_looked_up():
    rows = {"tokens": [["Ann", "met", "Bob"]], "tags": [["B-PER", "O", "B-PER"]]}
    table = prepared("entity_tagger", pd.DataFrame(rows))["tokens"]
    assert table["token"].tolist() == ["Ann", "met", "Bob"] and table["word"].tolist() == ["ann", "met", "bob"]
    assert table["tag"].tolist() == rows["tags"][0]
    assert [len(ids) for ids in table["character ids"]] == [3, 3, 3]


def test_the_tokens_of_a_text_and_of_a_pair_are_shown_beside_what_follows_them(tmp_path):
    text = pd.DataFrame({"text": ["abba"], "document": [0]})
    table = prepared("language_model", text, token_folder=str(tmp_path))["tokens"]
    assert table["token"].tolist() == ["a", "b", "b"] and table["next"].tolist() == ["b", "b", "a"]
    pair = pd.DataFrame({"source": ["ab"], "target": ["ba"]})
    steps = prepared("translator", pair, level="character")
    assert steps["source"]["token"].tolist() == [" ", "a", "b", "<end>"]
    assert steps["target"]["token"].tolist() == ["<start>", " ", "b", "a"]
    assert steps["target"]["next"].tolist() == [" ", "b", "a", "<end>"]


def test_an_image_is_shown_decoded_resized_and_scaled():
    import numpy as np
    import tensorflow as tf

    images = [tf.io.encode_png(np.full((10, 20, 3), shade, "uint8")).numpy() for shade in (51, 102)]
    rows = pd.DataFrame({"image": images, "label": ["cat", "dog"]})
    table = prepared("cat_classifier", rows, image_size=8, pixel_scaling="unit")["image"]
    assert table["shape"].tolist() == [[10, 20, 3], [8, 8, 3], [8, 8, 3]]
    assert table["mean"].tolist() == pytest.approx([51, 51, 0.2])


def test_an_image_file_of_a_folder_is_read(tmp_path):
    data = f"data={{source: files, path: {write_images(tmp_path / 'images', 40)}, positive: [], bad_files: error}}"
    result = invoke(
        "inspect", str(IMAGES), *sets([data, "preprocessing.image_size=8", "model=logistic_regression"]), "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["steps"]["image"][1]["shape"] == found["tensors"]["image"]["shape"] == [8, 8, 3]
