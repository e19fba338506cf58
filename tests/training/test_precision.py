"""Training in 16 bits: near to float32, with weights and answers in float32."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import CONFIG, overrides
from tiny import TRACED_ONCE

from pipelines.commands.train import train
from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.fit import adapt_preprocessor, train_model
from pipelines.runs.run import Run
from pipelines.tasks import TASKS, load_task
from pipelines.trained_model import load_run_dataset

EXAMPLES = 32  # of each split
TINY = {
    "cat_classifier": ["data.count=90", "preprocessing.image_size=32", "model=logistic_regression"],
    "house_prices": ["model=mlp", "models.mlp.dropout=0.0"],
    "entity_tagger": ["data.count=150", "model=lstm", "models.lstm.dropout=0.0", "models.lstm.word_dropout=0.0"],
    "translator": ["preprocessing.vocabulary=300", "batches.tokens=512", "models.transformer.dropout=0.0"],
    "language_model": ["batches.steps=4", "model=gru", "models.gru.counts=3", "models.gru.dropout=0.0"],
}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_in_16_bits_nearly_as_in_32(task, tmp_path, monkeypatch):
    monkeypatch.setattr(load_task(task), "samples", 0)
    # Small steps: with large ones, the last digits of a few examples soon make another training.
    settings = [*TINY[task], TRACED_ONCE, "training.epochs=2", "optimizer.learning_rate=1.0e-4"]
    if task == "language_model":
        settings.append(f"preprocessing.token_folder={tmp_path}/tokens")
    config = load_config(shipped_config(task), settings)
    dataset = load_run_dataset(config)
    dataset = replace(dataset, **{split: dataset[split].head(EXAMPLES) for split in ("train", "validation", "test")})
    preprocessor = adapt_preprocessor(config, dataset)
    losses = {}
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        own = load_config(shipped_config(task), [*settings, f"training.precision={precision}"])
        run = Run(tmp_path / precision)
        trained = train_model(own, run, dataset, preprocessor)
        losses[precision] = run.history()["loss"].to_numpy()
        assert {variable.dtype for variable in trained.model.trainable_variables} == {"float32"}
        assert {layer.compute_dtype for layer in trained.model.layers} == {"float32"}
    assert np.isfinite(list(losses.values())).all()
    for precision in ("mixed_bfloat16", "mixed_float16"):
        np.testing.assert_allclose(losses[precision], losses["float32"], rtol=0.02)
        assert (losses[precision] != losses["float32"]).any()  # it did compute in 16 bits


@pytest.mark.parametrize("precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"])
def test_averages_of_accumulated_mini_batches_are_the_same_in_16_bits(precision, csv, tmp_path):
    averaged = ["optimizer.average_decay=0.5", "training.accumulate_batches=2", "training.epochs=2"]
    for name in ("float32", precision):
        settings = overrides(csv, *averaged, "models.mlp.dropout=0.0", f"training.precision={name}")
        _, run = train(CONFIG, settings, tmp_path / name)
        assert run.environment()["training"][-1]["precision"] == name
    scores = [Run(tmp_path / name).metrics()["test"]["rmsle"] for name in ("float32", precision)]
    assert scores[1] == pytest.approx(scores[0], rel=0.02)
