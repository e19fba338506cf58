"""Training: it repeats itself, survives an interruption at any moment, stops early and keeps the best."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import CONFIG, invoke, overrides, sets
from interrupted import Interrupted, interrupt_after, interrupt_within

from pipelines.commands.train import train
from pipelines.errors import UserError
from pipelines.runs.run import Run

ROOT = Path(__file__).parents[2]
AVERAGED = (
    "optimizer.average_decay=0.9",
    "training.average_epochs=2",
    "training.accumulate_batches=2",  # of 3: an epoch ends with an update of one
    "models.mlp.batch_normalization=true",
)


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def figures(folder: Path) -> pd.DataFrame:
    """What must repeat itself: all of the history but its clock."""
    return pd.read_csv(folder / "history.csv").drop(columns="seconds")


def test_two_runs_of_one_config_are_the_same_and_the_seed_makes_another(csv, tmp_path):
    settings = overrides(csv, *AVERAGED)
    for name, more in (("a", ()), ("b", ()), ("c", ("seed=1",))):
        train(CONFIG, [*settings, *more], tmp_path / name)
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b") != metrics(tmp_path / "c")
    assert figures(tmp_path / "a").equals(figures(tmp_path / "b"))


@pytest.fixture(scope="module")
def uninterrupted(csv, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(CONFIG, overrides(csv, *AVERAGED), folder)
    return folder


@pytest.mark.parametrize("epoch", [1, *(pytest.param(epoch, marks=pytest.mark.slow) for epoch in (3, 4))])
def test_an_interrupted_run_ends_as_the_uninterrupted_one(epoch, csv, uninterrupted, tmp_path, monkeypatch, capsys):
    settings = overrides(csv, *AVERAGED)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, epoch)
        train(CONFIG, settings, tmp_path / "parts")
    assert not (tmp_path / "parts/metrics.json").exists()
    capsys.readouterr()
    train(CONFIG, settings, tmp_path / "parts", resume=True)
    assert "nan" not in capsys.readouterr().err  # the best so far is known from before the interruption
    assert metrics(tmp_path / "parts") == metrics(uninterrupted)
    assert figures(tmp_path / "parts").equals(figures(uninterrupted))
    assert pd.read_csv(tmp_path / "parts/history.csv")["seconds"].is_monotonic_increasing


@pytest.mark.parametrize(("epoch", "step"), [pytest.param(1, 1, marks=pytest.mark.slow), (3, 2)])
def test_a_run_interrupted_within_an_epoch_ends_as_the_uninterrupted_one(
    epoch, step, csv, uninterrupted, tmp_path, monkeypatch
):
    settings = overrides(csv, *AVERAGED, "training.checkpoint_minutes=0")
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_within(patched, epoch, step)
        train(CONFIG, settings, tmp_path / "parts")
    assert Run(tmp_path / "parts").has_history == (epoch > 1)
    train(CONFIG, settings, tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(uninterrupted)
    assert figures(tmp_path / "parts").equals(figures(uninterrupted))


def test_checkpoints_within_an_epoch_are_written_only_when_due(csv, tmp_path, monkeypatch):
    steps, save = [], Run.save_checkpoint
    monkeypatch.setattr(Run, "save_checkpoint", lambda run, state: (steps.append(state.step), save(run, state)))
    for name, minutes in (("always", "0"), ("seldom", "60"), ("never", "null")):
        steps.clear()
        train(CONFIG, overrides(csv, "training.epochs=1", f"training.checkpoint_minutes={minutes}"), tmp_path / name)
        assert steps == ([1, 2, 0] if name == "always" else [0])


@pytest.mark.slow
def test_accumulated_mini_batches_train_as_a_large_one_does(csv, tmp_path):
    settings = overrides(csv, "models.mlp.dropout=0.0")
    for name, more in (("parts", ["batches.size=32", "training.accumulate_batches=3"]), ("whole", ["batches.size=96"])):
        train(CONFIG, [*settings, *more], tmp_path / name)
    parts, whole = (figures(tmp_path / name).drop(columns="loss") for name in ("parts", "whole"))
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-3)


def test_the_weights_of_the_last_epochs_are_averaged(csv, tmp_path, monkeypatch):
    kept, save = {}, Run.save_checkpoint

    def keep(self, checkpoint):
        kept.setdefault(self.folder.name, []).append(checkpoint.weights)
        save(self, checkpoint)

    monkeypatch.setattr(Run, "save_checkpoint", keep)
    settings = overrides(csv, "training.epochs=5", "training.patience=null", "models.mlp.dropout=0.1")
    for name, count in (("alone", 1), ("three", 3)):
        trained, run = train(CONFIG, [*settings, f"training.average_epochs={count}"], tmp_path / name)
    for alone, three in zip(kept["alone"], kept["three"], strict=True):  # what answers does not change what is learnt
        np.testing.assert_equal(alone, three)
    best = int(run.history()["best_epoch"].iloc[-1])
    for at, variable in enumerate(trained.model.trainable_variables):
        place = next(i for i, other in enumerate(trained.model.variables) if other is variable)
        mean = np.mean([weights[place] for weights in kept["three"][max(0, best - 3) : best]], axis=0)
        np.testing.assert_allclose(variable.numpy(), mean, rtol=1e-5, err_msg=str(at))


@pytest.mark.slow
def test_a_run_killed_outright_is_taken_up(csv, tmp_path):
    settings = overrides(csv, "training.epochs=60", "training.patience=null", "training.checkpoint_minutes=0")
    command = [sys.executable, "cli.py", "train", str(CONFIG), *sets(settings), "--run-dir", str(tmp_path / "killed")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed/checkpoints/last.npz").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    result = invoke("evaluate", tmp_path / "killed")
    assert "this run is not finished" in result.stderr
    going_on = result.stderr.split("continue with: ")[1].split()
    resumed = invoke(*going_on)
    assert resumed.exit_code == 0, resumed.output
    train(CONFIG, settings, tmp_path / "whole")
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob(".*"))


def test_resume_without_a_folder_takes_the_newest_unfinished_run(csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = overrides(csv)
    with pytest.raises(UserError, match="no unfinished run"):
        train(CONFIG, settings, resume=True)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, settings)
    _, run = train(CONFIG, settings, resume=True)
    assert run.finished and len(list((tmp_path / "runs/house_prices").iterdir())) == 1


def test_a_run_goes_on_only_with_its_own_config_and_data(csv, tmp_path, monkeypatch):
    copy = tmp_path / "houses.csv"
    copy.write_text(csv.read_text())
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, overrides(copy), tmp_path / "run")
    with pytest.raises(UserError, match=r"different values of: seed, optimizer\.learning_rate"):
        train(CONFIG, overrides(copy, "seed=5", "optimizer.learning_rate=0.5"), tmp_path / "run", resume=True)
    copy.write_text(csv.read_text().replace("north", "east"))
    with pytest.raises(UserError, match="the data has changed since this run was started"):
        train(CONFIG, overrides(copy), tmp_path / "run", resume=True)


def test_a_run_that_began_before_a_setting_was_there_goes_on(csv, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, overrides(csv), tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    older = [line for line in config.read_text().splitlines() if "average_epochs" not in line]
    config.write_text("\n".join(older))
    with pytest.raises(UserError, match=r"different values of: training\.average_epochs"):
        train(CONFIG, overrides(csv, "training.average_epochs=2"), tmp_path / "run", resume=True)
    assert train(CONFIG, overrides(csv), tmp_path / "run", resume=True)[1].finished


def test_training_stops_when_its_time_is_over_and_does_not_go_on(csv, tmp_path, capsys):
    settings = overrides(csv, "training.max_seconds=1.0e-3")
    assert len(train(CONFIG, settings, tmp_path / "run")[1].history()) == 1
    longer = [*settings, "training.epochs=9"]
    assert len(train(CONFIG, longer, tmp_path / "run", resume=True)[1].history()) == 1
    assert (
        "training stopped early in epoch 1 and does not continue, because it took more than" in capsys.readouterr().err
    )


def test_training_stops_early_and_keeps_the_best_epoch(csv, tmp_path):
    settings = overrides(csv, "training.epochs=60", "training.patience=3", "optimizer.learning_rate=0.1")
    _, run = train(CONFIG, settings, tmp_path / "run")
    history = pd.read_csv(tmp_path / "run/history.csv")
    best = int(history["validation.rmsle"].argmin())
    assert len(history) == min(60, best + 1 + 3) < 60
    assert run.metrics()["validation"]["rmsle"] == pytest.approx(history["validation.rmsle"][best], rel=1e-5)


def test_a_loss_that_becomes_nan_is_said_in_one_line(csv, tmp_path):
    settings = overrides(csv, "optimizer.name=gradient_descent", "optimizer.learning_rate=1e30")
    with pytest.raises(UserError, match=r"optimizer\.learning_rate: the loss became"):
        train(CONFIG, [*settings, "optimizer.clip_norm=null"], tmp_path / "run")


@pytest.mark.parametrize(
    "execution", ["auto", pytest.param("{jit_compile: false, steps_per_execution: 1}", marks=pytest.mark.slow)]
)
def test_the_way_of_execution_changes_speed_and_not_the_result(execution, csv, tmp_path):
    settings = overrides(csv, "models.mlp.dropout=0.0", f"training.execution={execution}")
    _, run = train(CONFIG, settings, tmp_path / "run")
    _, reference = train(
        CONFIG, [*settings, "training.execution={jit_compile: false, steps_per_execution: 3}"], tmp_path / "r"
    )
    assert run.metrics()["test"]["rmse"] == pytest.approx(reference.metrics()["test"]["rmse"], rel=1e-3)


@pytest.mark.slow
def test_zeros_cannot_learn_what_small_random_weights_can(csv, tmp_path):
    losses = {}
    for initializer in ("zeros", "small_random", "he_normal"):
        name = f"models.mlp.initializer={initializer}"
        plain = ("models.mlp.dropout=0.0", "models.mlp.linear_skip=false", "loss={name: squared_error}")
        settings = overrides(csv, name, *plain, "training.epochs=30", "optimizer.learning_rate=0.01")
        train(CONFIG, settings, tmp_path / initializer)
        losses[initializer] = pd.read_csv(tmp_path / initializer / "history.csv")["loss"]
    assert losses["zeros"].min() > 0.9  # the mean of a scaled target predicts it with a loss of 1
    assert losses["small_random"].min() < 0.5 and losses["he_normal"].min() < 0.5
    assert np.isfinite(losses["zeros"]).all()
