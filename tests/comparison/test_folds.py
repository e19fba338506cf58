"""Cross-validation: a model for each fold, the spread of the metrics, and going on after an interruption."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import CONFIG, WITH_CONFIDENCE, invoke, overrides, sets

from pipelines.comparison import folds as folding
from pipelines.config.load import load_config
from pipelines.runs.checkpoints import Checkpoint
from pipelines.runs.run import Run
from pipelines.statistics.seeds import mean_interval
from pipelines.trained_model import load_source, split_source
from pipelines.tuning.trials import Outcome, run_fold


class InProcess:
    """A pool that trains in this process, or makes scores up; it may be interrupted."""

    def __init__(self, made_up=True, ends_after=10**6, fails=()):
        self.made_up, self.ends_after, self.fails, self.called = made_up, ends_after, fails, []

    def apply_async(self, function, arguments):
        if len(self.called) == self.ends_after:
            raise KeyboardInterrupt
        config = load_config(arguments[0])
        self.called.append(config.split["fold"])
        self.outcome = function(*arguments) if not self.made_up else self.make_up(config, *arguments[1:3])
        return self

    def make_up(self, config, folder, source):
        number = config.split["fold"]
        if number in self.fails:
            return Outcome(None, "the loss became nan")
        run, data = Run(folder), split_source(config, source)
        run.start(config.to_yaml(), data.record, [], {}, {})
        score = 1 + 0.1 * number
        epoch = {"epoch": 1, "best_epoch": 1, "seconds": 2.0, "validation.loss": score, "validation.rmsle": score}
        run.save_checkpoint(Checkpoint([], [], [], [epoch]))
        return Outcome({**epoch, "test.rmsle": score, "test.rmse": 100 * score})

    def ready(self):
        return True

    def get(self):
        return self.outcome

    def terminate(self):
        pass


@pytest.fixture
def train(csv, tmp_path, monkeypatch):
    def call(pool, *more, folder=tmp_path / "run", options=()):
        monkeypatch.setattr(folding, "make_pool", lambda *_: pool)
        fixed = ["training.epochs=1", "split.folds=3", "training.monitor=validation.rmsle"]
        settings = sets(overrides(csv, *fixed, *more))
        return invoke("train", CONFIG, *settings, "--run-dir", folder, *options)

    return call


@pytest.mark.slow
def test_the_spread_over_the_folds_is_told_and_written(train, tmp_path):
    result = train(InProcess())
    assert result.exit_code == 0, result.output
    assert "fold 1/3  test.rmsle 1" in result.stderr and "test over the folds" in result.stdout
    run = Run(tmp_path / "run")
    table, spread = pd.read_csv(run.folds_table), run.folds_spread()
    assert table["fold"].tolist() == [0, 1, 2] and table["test"].sum() == 150
    assert table["test.rmsle"].tolist() == pytest.approx([1.0, 1.1, 1.2])
    expected = mean_interval([1.0, 1.1, 1.2], (table["test"] / table["train"]).mean())
    assert spread["rmsle"]["mean"] == pytest.approx(1.1) and spread["rmsle"]["standard_deviation"] == pytest.approx(0.1)
    assert (spread["rmsle"]["low"], spread["rmsle"]["high"]) == pytest.approx((expected.low, expected.high))
    assert set(run.metrics()) == {"train", "validation", "test"}


def test_an_interrupted_cross_validation_goes_on_where_it_was(train, tmp_path):
    first, second, third = InProcess(ends_after=1), InProcess(), InProcess()
    assert train(first).exit_code != 0
    assert not (tmp_path / "run" / "folds.json").exists()
    assert train(second, options=["--resume"]).exit_code == 0
    assert train(third, options=["--resume"]).exit_code == 0
    assert (first.called, second.called, third.called) == ([0], [1, 2], [])
    assert len(pd.read_csv(tmp_path / "run" / "folds.csv")) == 3


@pytest.mark.slow
def test_more_epochs_train_the_folds_again(train):
    assert train(InProcess()).exit_code == 0
    pool = InProcess()
    assert train(pool, "training.epochs=2", options=["--resume"]).exit_code == 0
    assert pool.called == [0, 1, 2]


@pytest.mark.slow
def test_folds_that_fail_are_named(train, tmp_path):
    result = train(InProcess(fails=(1,)))
    assert result.exit_code == 0 and "fold 2/3  failed: the loss became nan" in result.stderr
    table = pd.read_csv(tmp_path / "run" / "folds.csv")
    assert table["failed"].tolist()[1] == "the loss became nan" and np.isnan(table["test.rmsle"][1])
    result = train(InProcess(fails=(0, 1, 2)), folder=tmp_path / "none")
    assert result.exit_code == 1 and "split.folds: every fold failed; the first: the loss became nan" in result.stderr


@pytest.mark.slow
def test_a_fold_is_an_ordinary_training(csv, tmp_path):
    """Its metrics are those of a run with `split.fold`, which trains no other folds."""
    settings = overrides(
        csv, "training.epochs=1", "model=linear_regression", "split.folds=3", "split.fold=1", WITH_CONFIDENCE
    )
    result = invoke("train", CONFIG, *sets(settings), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0 and "folds" not in result.stdout, result.output
    config = load_config(CONFIG, settings)
    outcome = run_fold(tmp_path / "run" / "config.yaml", tmp_path / "fold", load_source(config), None)
    own = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert outcome.reason is None, outcome.reason
    assert "interval_coverage" in own
    assert {name: outcome.figures[f"test.{name}"] for name in own} == pytest.approx(own)
    assert len(pd.read_csv(tmp_path / "fold" / "predictions.csv")) == 50
