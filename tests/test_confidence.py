"""The confidence of a model through the command line: metrics, answers, exports, and without it."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import CONFIG, invoke, overrides, sets

from pipelines.runs.run import Run
from pipelines.trained_model import load_run_dataset, load_trained_model


def test_a_run_measures_its_intervals_and_an_export_answers_them(finished_run, finished_export):
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert {"interval_coverage", "interval_width"} <= set(metrics["test"]) & set(metrics["validation"])
    assert "interval_coverage" not in metrics["train"]
    asked = ("--json", '{"Area (m2)": 100, "age": 10, "district": "old town"}')
    (own,), (exported,) = (json.loads(invoke("predict", at, *asked).stdout) for at in (finished_run, finished_export))
    assert own["price_low"] < own["price"] < own["price_high"]
    assert exported == pytest.approx(own, rel=1e-5)
    evaluated = json.loads(invoke("evaluate", finished_run, "--json").stdout)["test"]
    assert evaluated == pytest.approx(metrics["test"])
    card = (finished_export / "1" / "model_card.md").read_text()
    assert "interval_coverage" in card
    compared = json.loads((finished_export / "1" / "parity.json").read_text())["formats"]["saved_model"]["signatures"]
    assert {"price_low", "price_high"} <= set(compared["serving_default"]["answers"])
    assert {"contribution", "baseline"} <= set(compared["explain"]["answers"])


def test_without_confidence_the_price_is_the_same_and_has_no_interval(csv, finished_run, tmp_path):
    settings = sets(overrides(csv, "confidence=null"))
    assert invoke("train", CONFIG, *settings, "--run-dir", tmp_path / "run").exit_code == 0
    plain, calibrated = (json.loads((at / "metrics.json").read_text()) for at in (tmp_path / "run", finished_run))
    assert not (tmp_path / "run" / "confidence.npz").exists()
    assert plain["test"] == {name: calibrated["test"][name] for name in plain["test"]}
    assert "interval_coverage" not in plain["test"]


def test_a_coverage_that_is_no_share_is_refused(csv, tmp_path):
    settings = sets(overrides(csv, "confidence={coverage: 90}"))
    result = invoke("train", CONFIG, *settings, "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and "confidence.coverage" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_tags_have_sets_and_entities_are_explained_by_their_tokens(finished_tagger):
    metrics = json.loads((finished_tagger / "metrics.json").read_text())["test"]
    assert metrics["nll"] < metrics["nll_uncalibrated"] and metrics["set_coverage"] > 0.9
    trained = load_trained_model(Run.open(finished_tagger))
    texts = pd.DataFrame({"text": ["Mr Bob Lee lives in Oslo .", "Eve lives"]})
    tags = trained.answerers["tags"].answer_table(texts)
    for row in range(2):
        for tag, within in zip(tags["tag"][row], tags["set"][row], strict=True):
            assert (tag in within) if tag else set(within) == {b""}
    explained = trained.answerers["explain"].answer_table(texts)
    served = trained.answerers["serve"].answer_table(texts)
    np.testing.assert_array_equal(explained["entity"], served["entity"])
    size = explained["entity"].shape[1], explained["token"].shape[1]
    assert explained["contribution"].shape == (2, *size)
    assert list(explained["entity"][0]) == [b"Bob Lee", b"Oslo"]
    assert explained["contribution"][0, 0].argmax() in (0, 1, 2)  # Mr, Bob or Lee
    assert not explained["contribution"][1, :, 2:].any()  # padding adds nothing


def test_the_temperature_changes_probabilities_and_no_tags(finished_tagger):
    trained = load_trained_model(Run.open(finished_tagger))
    test = load_run_dataset(trained.config).test
    found = []
    for temperature in (0.3, 1.0, 4.0):
        trained.preprocessor.confidence = {"temperature": np.float32(temperature), "least_probability": np.float32(0.5)}
        found.append(load_answers(trained, test))
    assert all((each["tags"] == found[0]["tags"]).all() for each in found)
    first = [each["probabilities"][:, 0].mean() for each in found]
    assert first[0] > first[1] > first[2]


def load_answers(trained, examples):
    raw = {"tokens": tf.ragged.constant(examples["tokens"].tolist())}
    answers = trained.task.answer_raw(trained.model, trained.preprocessor, raw)
    return {name: tensor.numpy() for name, tensor in answers.items()}
