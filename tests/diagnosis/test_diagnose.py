"""The verb `diagnose`: on a finished run, with what it writes, and its mistakes."""

import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import CONFIG, invoke, overrides, sets

import pipelines
from pipelines.config.load import load_config
from pipelines.diagnosis.recipe import propose
from pipelines.diagnosis.signs import look_at_layers, read_history
from pipelines.runs.run import Run


@pytest.fixture(scope="module")
def diagnosed(finished_run):
    """The record of a diagnosis of a barely trained model, as printed and as written."""
    result = invoke("diagnose", finished_run, "--human", "0.01", "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed == json.loads((Path(finished_run) / "diagnosis" / "diagnosis.json").read_text())
    return printed


def test_a_model_that_was_hardly_trained_is_biased(finished_run, diagnosed):
    gaps = {gap["kind"]: gap for gap in diagnosed["gaps"]}
    assert list(gaps) == ["bias", "variance", "validation overfitted"]
    assert gaps["bias"]["status"] == "matters" and "high bias" in diagnosed["verdict"]
    metrics = Run.open(finished_run).metrics()
    for split, error in diagnosed["errors"].items():
        assert error["error"] == pytest.approx(metrics[split]["rmsle"], rel=1e-5) and error["standard_error"] > 0


def test_the_next_configs_are_ordinary_configs_with_one_change(finished_run, diagnosed):
    base = load_config(Run.open(finished_run).config)
    assert diagnosed["next"][0]["name"] == "longer-training"  # the best epoch was the last one
    written = sorted(Path(step["config"]) for step in diagnosed["next"] if step["config"])
    assert written == sorted((Path(finished_run) / "diagnosis" / "next").iterdir())
    for step in diagnosed["next"]:
        changed = load_config(step["config"])
        assert changed.whole == load_config(Run.open(finished_run).config, step["set"]).whole != base.whole
    longer = load_config(diagnosed["next"][0]["config"])
    assert longer.training["epochs"] == 2 * base.training["epochs"]


def test_the_terminal_shows_the_verdict_and_what_to_type(finished_run, diagnosed):
    result = invoke("diagnose", finished_run, "--human", "0.01")
    assert diagnosed["verdict"] in result.output and (Path(finished_run) / "diagnosis" / "gaps.png").is_file()
    for step in diagnosed["next"]:
        assert f"train {step['config']}" in result.output and all(
            f"--set {each}" in result.output for each in step["set"]
        )


def test_python_returns_the_same_and_train_dev_parts_variance_from_mismatch(csv, tmp_path):
    more = ["split.train_dev=0.2", "training.epochs=1"]
    run = tmp_path / "run"
    assert invoke("train", CONFIG, *sets(overrides(csv, *more)), "--run-dir", run).exit_code == 0
    found = pipelines.diagnose(pipelines.load(run))
    assert [gap.kind for gap in found.gaps] == ["variance", "mismatch", "validation overfitted"]
    assert found.errors["train_dev"].examples == 19 and found.errors["train"].examples == 77
    assert found.human is None and "bias is not measured" in found.notes[0]
    assert found.record()["verdict"] == found.verdict


@pytest.mark.parametrize("human", ["-0.1", "5"])
def test_what_is_no_error_of_people_is_refused(finished_run, human):
    result = invoke("diagnose", finished_run, "--human", human)
    assert result.exit_code == 1 and result.stderr.startswith("error: --human") and "rmsle" in result.stderr


def test_variance_is_answered_with_regularisation(finished_run):
    run = Run.open(finished_run)
    steps = {step.name: step for step in propose(run, {"variance"}, own_splits=False, still_learning=False)}
    assert list(steps) == ["more-data", "regularisation", "simpler-architecture"]
    assert "models.mlp.dropout=0.25" in steps["regularisation"].overrides
    both = propose(run, {"bias", "variance"}, own_splits=False, still_learning=False)
    assert [step.name for step in both][:2] == ["bigger-network", "longer-training"]
    assert "less-regularisation" not in [step.name for step in both]
    (more,) = propose(run, {"validation overfitted"}, own_splits=False, still_learning=False)
    assert more.config.split["test"] == load_config(run.config).split["test"]


def history(loss, best, rate=0.1):
    count = len(loss)
    return pd.DataFrame({"loss": loss, "best_epoch": [best] * count, "learning_rate": [rate] * count})


def test_the_history_says_whether_training_ended_too_early():
    falling, said = read_history(history(0.9 ** np.arange(20.0), best=20), 20, "validation.loss")
    assert falling and "still falling" in said[0] and "last one (20)" in said[1]
    flat, said = read_history(history([1.0, 0.5, 0.4, 0.4, 0.4, 0.4], best=3), 6, "validation.loss")
    assert not flat and said == []
    _, said = read_history(history([1.0, 0.5, 0.9, 0.4, 0.4, 0.4], best=3), 6, "validation.loss")
    assert any("jumped up after 1 epoch; the learning rate, 0.1 there" in line for line in said)


def test_dead_and_saturated_units_are_found():
    inputs = keras.Input([4])
    x = keras.layers.Dense(10, "relu", name="dead")(inputs)
    x = keras.layers.Dense(10, "tanh", name="saturated")(x)
    model = keras.Model(inputs, keras.layers.Dense(1, name="last")(x))
    model.get_layer("dead").bias.assign([-1e6] * 5 + [1.0] * 5)
    model.get_layer("saturated").bias.assign([100.0] * 3 + [0.0] * 7)
    model.get_layer("saturated").kernel.assign(model.get_layer("saturated").kernel * 0.01)
    data = keras.random.normal([8, 4]), keras.ops.ones([8, 1]), keras.ops.ones([8])
    batches = SimpleNamespace(steps_per_epoch=1, stream=lambda step: SimpleNamespace(take=lambda count: [data]))
    task = SimpleNamespace(
        losses={"squared": lambda: keras.losses.MeanSquaredError()}, batches=lambda *_, **__: batches
    )
    config = SimpleNamespace(loss={"name": "squared"}, batches={}, seed=0)
    trained = SimpleNamespace(model=model, config=config, task=task, preprocessor=None)
    layers = {layer.name: layer for layer in look_at_layers(trained, pd.DataFrame())[0]}
    assert list(layers) == ["dead", "saturated", "last"]
    assert layers["dead"].dead == pytest.approx(0.5) and layers["dead"].saturated is None
    assert layers["saturated"].saturated == pytest.approx(0.3)
    assert layers["last"].gradient > 0 and model.get_layer("dead").activation is keras.activations.relu
