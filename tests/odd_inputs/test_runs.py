"""Odd and hostile circumstances of trainings, searches and exports: full disks, two processes, metrics of no number."""

import errno
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import CONFIG, houses, invoke, overrides, sets
from matplotlib.figure import Figure

from pipelines.commands import tune as tuning
from pipelines.commands.train import train
from pipelines.errors import UserError
from pipelines.evaluation import Evaluator, NotFinite, measure, result_warnings
from pipelines.report import glyphs_missed, write_pictures
from pipelines.runs.run import Run
from pipelines.storage import as_json, numbers, write_text, writing
from pipelines.tasks import load_task
from pipelines.tensorflow_startup import share_gpus
from pipelines.training.keeper import Keeper
from pipelines.tuning.journal import SearchFolder
from pipelines.tuning.pools import gpu_share

ROOT = Path(__file__).parents[2]
LINEAR = ("model=linear_regression", "training.epochs=2", "schedule={name: constant, warmup_epochs: 0.0}")


def one_line(result, *expected: str) -> None:
    """A refusal: exit 1, one line that begins with `error`, and no traceback."""
    lines = [
        line for line in result.stderr.splitlines() if not re.match(r"examples |columns |class |epoch |warning: ", line)
    ]
    assert result.exit_code == 1 and len(lines) == 1 and lines[0].startswith("error: "), result.output
    assert "Traceback" not in result.output and isinstance(result.exception, SystemExit)
    for text in expected:
        assert text in lines[0], lines[0]


def linear(csv: Path, *more: str) -> list[str]:
    return sets(overrides(csv, *LINEAR, *more))


# Numbers that JSON does not know


def strict(text: str):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"r2": math.nan}, {"r2": None}),
        ({"loss": math.inf, "other": -math.inf}, {"loss": None, "other": None}),
        ([{"answer": {"price": np.float32("nan")}}], [{"answer": {"price": None}}]),
        ({"count": np.int64(3), "share": np.float32(0.5)}, {"count": 3, "share": 0.5}),
        ((1.5, "NaN", None, True), [1.5, "NaN", None, True]),
        ({"path": Path("a")}, {"path": "a"}),
    ],
)
def test_what_is_no_number_is_null_in_json(content, expected):
    assert strict(as_json(content)) == expected


def test_null_is_read_as_nan():
    assert math.isnan(numbers({"r2": None})["r2"]) and numbers({"r2": 0.5}) == {"r2": 0.5}


def test_a_file_name_that_is_no_utf8_is_written_as_its_bytes(tmp_path):
    write_text(tmp_path / "list.csv", os.fsdecode(b"caf\xe9.jpg"))
    assert (tmp_path / "list.csv").read_bytes() == b"caf\xe9.jpg"


def test_a_metric_of_one_row_is_null_in_every_file_and_on_the_command_line(tmp_path):
    table = houses(40)
    names = ("train", "validation", "test")
    for name, part in zip(names, (table[:30], table[30:31], table[31:]), strict=True):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    files = "data.path={train: train.csv, validation: validation.csv, test: test.csv}"
    folder = tmp_path / "run"
    result = invoke("train", CONFIG, *linear(tmp_path / "train.csv", files), "--run-dir", folder)
    assert result.exit_code == 0, result.output
    assert "warning: NaN or infinite, so null in metrics.json: r2 of validation" in result.stderr
    for path in folder.glob("*.json"):
        strict(path.read_text())
    assert math.isnan(Run(folder).metrics()["validation"]["r2"])
    answered = invoke("evaluate", folder, "--split", "validation", "--json").stdout
    assert strict(answered)["validation"]["r2"] is None
    refused = invoke(
        "train",
        CONFIG,
        *linear(tmp_path / "train.csv", files, "training.monitor=validation.r2"),
        "--run-dir",
        tmp_path / "x",
    )
    one_line(refused, "training.monitor: validation.r2 is nan", "validation.rmse")
    assert not (tmp_path / "x").exists() and "epoch 1" not in refused.stderr


# The best epoch, patience, and a monitor that is no number


class Scores:
    """Stand in for an evaluator: each epoch's monitor and loss are given."""

    direction = Evaluator.direction
    beats_trivial = Evaluator.beats_trivial

    def __init__(self, values, trivial, better):
        self.values, self.trivial = list(values), {"m": trivial}
        self.task = SimpleNamespace(metrics={"m": better}, samples=0)
        self.examples, self.targets = pd.DataFrame({"price": [1.0, 0.0]}), ["price"]

    def validate(self, model):
        value, loss = self.values.pop(0)
        return {"m": value, "loss": loss}

    def sample(self):
        return []

    def odd_labels(self):
        return np.array([1])


def keep(folder, values, losses=None, trivial=math.nan, better="max", patience=2) -> Keeper:
    """Let a keeper see epochs until it stops."""
    evaluator = Scores(values, trivial, better)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    keeper = Keeper(Run(folder), evaluator, "validation.m", patience, 1)
    keeper.set_model(model)
    keeper.on_train_begin()
    for epoch, loss in enumerate(losses or [1 / (at + 1) for at in range(len(values))]):
        keeper.on_epoch_end(epoch, {"loss": loss})
        if model.stop_training:
            break
    return keeper


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([(0.5, 1.0), (math.nan, 0.5), (0.4, 0.4)], 1),
        ([(0.5, 1.0), (math.inf, 0.5), (0.6, math.nan)], 3),
        ([(0.5, math.inf), (0.5, 1.0), (0.5, 2.0)], 2),  # a tie, broken by the loss
        ([(1.0, 1.0), (0.9, 0.1), (1.0, 0.8)], 3),  # at the ceiling
        ([(0.7, 1.0), (0.7, 1.0), (0.7, 1.0)], 1),  # a tie of all: the first
        ([(0.5, 1.0), (-math.inf, 0.1), (0.6, 9.0)], 3),
    ],
)
def test_the_best_epoch_has_a_number_and_of_equals_the_least_loss(values, best, tmp_path):
    keeper = keep(tmp_path, values, patience=None)
    assert keeper.history[-1]["best_epoch"] == best


FALLING, RISING = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
FLAT = [(0.0, 1.0 + at) for at in range(6)]  # a metric that stands still while the validation loss rises


@pytest.mark.parametrize(
    ("values", "losses", "trivial", "epochs"),
    [
        ([*FLAT, (0.3, 1.0), (0.4, 1.0)], FALLING, 0.0, 8),  # nothing was learnt yet
        ([*FLAT, (0.3, 1.0), (0.4, 1.0)], FALLING, math.nan, 8),  # and nobody knows what is trivial
        ([*FLAT, (0.3, 1.0), (0.4, 1.0)], RISING, 0.0, 3),  # nor will be: the loss does not fall
        ([(1.0, 1.0 + at) for at in range(8)], FALLING, 0.5, 3),  # learnt at once, at the ceiling
        ([(0.0, 1.0), (0.1, 1.0), *FLAT], FALLING, 0.0, 4),  # learnt, then lost
        ([(0.5, 1.0 / (at + 1)) for at in range(8)], FALLING, 0.2, 8),  # equal, and the loss gets better
    ],
)
def test_patience_counts_from_when_something_was_learnt(values, losses, trivial, epochs, tmp_path):
    assert len(keep(tmp_path, values, losses, trivial).history) == epochs


def test_a_monitor_that_is_no_number_stops_training_and_names_the_example(tmp_path):
    with pytest.raises(UserError, match=r"validation\.m is inf.*first: example 2, \{'price': 0\.0\}"):
        keep(tmp_path, [(math.inf, 1.0)], better="min")


def test_answers_of_no_number_are_told_apart_from_a_learning_rate_that_is_too_high(tmp_path):
    for rows, expected in (
        (np.array([0, 1]), r"optimizer\.learning_rate.*epoch 1 at a learning rate of 0\.01"),
        (np.array([1]), "check the inputs of these examples"),
    ):
        keeper_scores = Scores([], math.nan, "max")
        keeper_scores.validate = lambda model, rows=rows: (_ for _ in ()).throw(NotFinite(rows, 2))
        with pytest.raises(UserError, match=expected):
            keep_with(keeper_scores, tmp_path)


def keep_with(evaluator, folder) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    keeper = Keeper(Run(folder), evaluator, "validation.m", None, 1)
    keeper.set_model(model)
    keeper.on_train_begin()
    keeper.on_epoch_end(0, {"loss": 1.0})


def test_a_divergence_that_validation_sees_first_is_said_in_one_line(csv, tmp_path):
    settings = [
        "optimizer={name: gradient_descent, learning_rate: 1.0e38, weight_decay: 0.0, clip_norm: null,"
        " average_decay: null}",
    ]
    settings += [
        "batches.size=full",
        "training.execution={jit_compile: false, steps_per_execution: 1}",
        "loss={name: absolute_error}",
    ]
    result = invoke("train", CONFIG, *linear(csv, *settings), "--run-dir", tmp_path / "run")
    one_line(result, "optimizer.learning_rate", "at a learning rate of")


def test_a_split_that_cannot_be_answered_is_named():
    with pytest.raises(UserError, match=r"test: the predictions for 1 of 3 examples \(first: example 2\)"):
        measure(None, "test", None, {"price": np.array([1.0, np.nan, 2.0])})


@pytest.mark.parametrize(
    ("name", "monitor", "own", "trivial", "warned"),
    [
        ("entity_tagger", "validation.f1", {"f1": 0.0}, {"f1": 0.0}, True),
        ("entity_tagger", "validation.f1", {"f1": 0.01}, {"f1": 0.0}, False),
        ("house_prices", "validation.rmse", {"rmse": 11.0, "r2": 0.5}, {"rmse": 10.0, "r2": 0.0}, True),
        ("house_prices", "validation.loss", {"rmse": 11.0, "r2": 0.5}, {"rmse": 10.0, "r2": 0.0}, False),
        ("house_prices", "validation.loss", {"rmse": 11.0, "r2": -1.0}, {"rmse": 10.0, "r2": 0.0}, True),
        ("house_prices", "validation.r2", {"r2": 0.1}, {"r2": math.nan}, False),
        ("translator", "validation.perplexity", {"bleu": 2.0, "perplexity": 9.0}, {"bleu": 2.5}, True),
        ("cat_classifier", "validation.accuracy", {"accuracy": 0.74}, {"accuracy": 0.74}, True),
        ("cat_classifier", "validation.accuracy", {"accuracy": 0.74}, {}, False),
    ],
)
def test_a_model_that_is_no_better_than_a_trivial_answer_is_said_to_be(name, monitor, own, trivial, warned):
    found = result_warnings(load_task(name), monitor, {"validation": own}, trivial, {"validation.loss": 1.0})
    assert any("no better than a baseline that ignores the input" in line for line in found) == warned


# Two processes, and folders in use


def test_two_runs_of_one_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: Run.new("house_prices"), range(8)))
    assert len({run.folder for run in runs}) == 8


def test_a_run_folder_is_held_by_one_and_given_back(tmp_path):
    run = Run.new("house_prices", tmp_path / "run")
    refused = pytest.raises(UserError, match="another process is training in this folder")
    with run.locked(), refused, Run(tmp_path / "run").locked():
        pass
    assert not (tmp_path / "run").exists(), "training did not start"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").write_text("of a process that was killed")
    assert Run.new("house_prices", tmp_path / "run").folder == tmp_path / "run"
    with run.locked():
        pass


def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        Run.new("house_prices", tmp_path)
    with pytest.raises(UserError, match="already exists"):
        Run.new("house_prices", tmp_path / "notes.txt")
    with Run(tmp_path).locked():
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_of_two_processes_that_train_in_one_folder_one_is_refused(csv, tmp_path):
    command = [
        sys.executable,
        "cli.py",
        "train",
        str(CONFIG),
        *linear(csv, "training.epochs=40", "training.patience=null"),
        "--run-dir",
        str(tmp_path / "run"),
    ]
    processes = [
        subprocess.Popen(
            [*command, "--set", f"seed={seed}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for seed in (1, 2)
    ]
    ended = [(*process.communicate(), process.returncode) for process in processes]
    assert sorted(code for *_, code in ended) == [0, 1], ended
    (error,) = (error for _, error, code in ended if code)
    assert (
        re.search(r"error: .*run: (another process is training in this folder|already exists)", error)
        and "Traceback" not in error
    )
    assert len(Run(tmp_path / "run").history()) == 40


def test_a_live_run_is_not_resumed_by_another(csv, tmp_path, finished_run):
    live = Run(shutil.copytree(finished_run, tmp_path / "run"))
    with live.locked():
        result = invoke("train", live.config, "--run-dir", live.folder, "--resume", "--set", "training.epochs=9")
        one_line(result, "another process is training in this folder")


# Disks that take nothing more


@contextmanager
def files_up_to(size: int):
    """Let no file grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.figures
@pytest.mark.usefixtures("finished_run")  # AutoGraph writes files when it first reads a function
@pytest.mark.parametrize("size", [0, 200, 1000, 6000, 30_000, 45_000])
def test_a_training_on_a_full_disk_ends_with_one_line(size, csv, tmp_path, capfd):
    with capfd.disabled(), files_up_to(size):
        result = invoke("train", CONFIG, *linear(csv), "--run-dir", tmp_path / "run")
    one_line(result, str(tmp_path / "run"), "(File too large)")
    assert not Run(tmp_path / "run").finished


@pytest.mark.parametrize("size", [5000, 60_000])
def test_an_export_on_a_full_disk_ends_with_one_line_and_leaves_nothing(size, finished_run, tmp_path, capfd):
    with capfd.disabled(), files_up_to(size):
        result = invoke("export", finished_run, "--to", tmp_path / "houses")
    one_line(result, "(File too large)")
    assert not list((tmp_path / "houses").iterdir())


def test_a_search_on_a_full_disk_ends_with_one_line(csv, tmp_path, capfd):
    rule = "tuning={name: random, max_trials: 2, objective: validation.rmse, keep: 1, max_failures: 1}"
    rate = "optimizer.learning_rate={tune: [0.001, 0.01], default: 0.001}"
    with capfd.disabled(), files_up_to(1000):
        result = invoke("tune", CONFIG, *linear(csv, rule, rate), "--search-dir", tmp_path / "s")
    one_line(result, "(File too large)")


@pytest.mark.figures
@pytest.mark.usefixtures("finished_run")
@pytest.mark.parametrize("size", [1000, 62_000])  # while training, and while exporting
def test_a_run_on_a_full_disk_ends_with_one_line(size, csv, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with capfd.disabled(), files_up_to(size):
        result = invoke("run", CONFIG, *linear(csv, "model=mlp"))
    assert (result.exit_code, result.stderr.count("error: ")) == (1, 1), result.output
    assert "(File too large)" in result.stderr and "Traceback" not in result.output
    assert not list(tmp_path.glob("exports/*/*/*")), "nothing half-written"


def test_answers_on_a_full_disk_end_with_one_line_and_leave_what_was_there(finished_run, csv, tmp_path, capfd):
    (tmp_path / "answers.csv").write_text("kept")
    with capfd.disabled(), files_up_to(100):
        result = invoke("predict", finished_run, "--file", csv, "--output", tmp_path / "answers.csv")
    one_line(result, str(tmp_path / "answers.csv"), "(File too large)")
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]
    assert (tmp_path / "answers.csv").read_text() == "kept"
    nowhere = invoke("predict", finished_run, "--file", csv, "--output", "/proc/none/answers.csv")
    one_line(nowhere, "/proc/none: cannot create this folder")


def test_a_folder_in_which_nothing_may_be_written_is_read(finished_run, csv, tmp_path):
    """A run on a read-only disk is evaluated and answers: neither writes there."""
    copy = shutil.copytree(finished_run, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    with files_up_to(0):
        for arguments in (("evaluate", copy, "--json"), ("predict", copy, "--file", csv)):
            assert invoke(*arguments).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


FULL = tf.errors.ResourceExhaustedError(None, None, "/x/events.out; No space left on device")


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("matplotlib.figure.Figure.savefig", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        (
            "keras.Model.save_weights",
            RuntimeError("Can't close file (errno = 28, error message = 'No space left on device')"),
        ),
        ("keras.callbacks.TensorBoard.on_epoch_end", FULL),
        ("numpy.savez", OSError(errno.EROFS, os.strerror(errno.EROFS))),
    ],
)
def test_what_a_library_says_of_a_full_disk_is_one_line(place, error, csv, tmp_path, monkeypatch):
    module, _, name = place.rpartition(".")
    kind = {"matplotlib.figure.Figure": Figure, "keras.Model": keras.Model, "numpy": np}.get(
        module, keras.callbacks.TensorBoard
    )

    def full(*_, **__):
        raise error

    monkeypatch.setattr(kind, name, full)
    result = invoke("train", CONFIG, *linear(csv), "--run-dir", tmp_path / "run")
    one_line(result, str(tmp_path / "run"), "cannot be written")


def test_a_bug_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"), writing(tmp_path):
        raise RuntimeError("a bug")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["config house_prices", "tasks", "evaluate {run}", "predict {run} --file {csv}"])
def test_output_to_a_full_disk_is_one_line(arguments, finished_run, csv):
    with Path("/dev/full").open("w") as full:
        words = arguments.format(run=finished_run, csv=csv).split()
        done = subprocess.run(
            [sys.executable, "cli.py", *words], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (
        1,
        "error: standard output: cannot be written (No space left on device)\n",
    )


@pytest.mark.parametrize("folder", ["file/run", "/proc/none/run"])
def test_a_place_where_nothing_can_be_written_is_one_line(folder, csv, tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / folder  # of an absolute folder, that folder
    rate = "optimizer.learning_rate={tune: [0.001, 0.01], default: 0.001}"
    one_line(invoke("train", CONFIG, *linear(csv), "--run-dir", place), str(place), "cannot create this folder")
    one_line(invoke("tune", CONFIG, *linear(csv, rate), "--search-dir", place), str(place), "cannot create this folder")


def test_runs_where_the_current_folder_takes_none_are_one_line(csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    one_line(invoke("train", CONFIG, *linear(csv)), "runs/house_prices", "cannot create this folder")


# Going on with what had ended


def test_a_finished_run_goes_on_to_more_epochs_as_if_it_had_never_stopped(csv, tmp_path):
    settings = overrides(csv, *LINEAR)
    train(CONFIG, settings, tmp_path / "parts")
    longer = [*settings, "training.epochs=5"]
    train(CONFIG, longer, tmp_path / "parts", resume=True)
    train(CONFIG, longer, tmp_path / "whole")
    parts, whole = Run(tmp_path / "parts"), Run(tmp_path / "whole")
    assert parts.metrics() == whole.metrics() and len(parts.history()) == 5
    assert parts.history().drop(columns="seconds").equals(whole.history().drop(columns="seconds"))
    assert parts.config.read_text() == whole.config.read_text()


@pytest.mark.slow
def test_a_finished_run_stays_until_the_longer_one_has_ended(csv, tmp_path, monkeypatch):
    settings = overrides(csv, *LINEAR)
    train(CONFIG, settings, tmp_path / "run")
    run = Run(tmp_path / "run")
    before = [(run.folder / name).read_bytes() for name in ("metrics.json", "config.yaml", "model.weights.h5")]

    def killed(*_, **__):
        raise KeyboardInterrupt

    longer = ["train", run.config, "--run-dir", run.folder, "--resume", "--set", "training.epochs=5"]
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.fit.write_report", killed)
        assert invoke(*longer).exit_code == 130
    assert [(run.folder / name).read_bytes() for name in ("metrics.json", "config.yaml", "model.weights.h5")] == before
    assert invoke("evaluate", run.folder).exit_code == 0
    assert invoke(*longer).exit_code == 0
    assert len(run.history()) == 5 and "epochs: 5" in run.config.read_text()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["training.epochs=1"], "different values of: training.epochs"),
        (["training.epochs=9", "seed=3"], "different values of: seed, training.epochs"),
        (["optimizer.learning_rate=0.5"], "different values of: optimizer.learning_rate"),
        (["batches.size=8"], "different values of: batches.size"),
    ],
)
def test_a_finished_run_goes_on_with_nothing_else(settings, expected, finished_run):
    result = invoke("train", finished_run / "config.yaml", "--run-dir", finished_run, "--resume", *sets(settings))
    one_line(result, expected, "only training.patience, checkpoint_minutes and devices may change")


def test_a_run_without_checkpoints_does_not_begin_anew_in_silence(finished_run, tmp_path):
    run = Run(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(run.checkpoints)
    result = invoke("train", run.config, "--run-dir", run.folder, "--resume", "--set", "training.epochs=9")
    one_line(result, "its checkpoints are missing")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["schedule={name: cosine, warmup_epochs: 0, final_share: 0.0}"], "the learning rate jumps from"),
        (
            ["training.patience=1", "optimizer.learning_rate=1.0", "training.epochs=20"],
            "training stopped early in epoch",
        ),
    ],
)
def test_what_depends_on_the_number_of_epochs_before_is_said(settings, expected, csv, tmp_path):
    assert invoke("train", CONFIG, *linear(csv, *settings), "--run-dir", tmp_path / "run").exit_code == 0
    config = tmp_path / "run" / "config.yaml"
    result = invoke("train", config, "--run-dir", tmp_path / "run", "--resume", "--set", "training.epochs=25")
    assert result.exit_code == 0 and expected in result.stderr, result.output


@pytest.mark.parametrize("oracle", ["random", "bayesian"])
def test_a_finished_search_goes_on_to_more_trials_as_if_it_had_never_stopped(oracle, csv, tmp_path, monkeypatch):
    initial = ", initial_trials: 3" if oracle == "bayesian" else ""
    rule = f"tuning={{name: {oracle}, max_trials: 4, objective: validation.rmse, keep: 1, max_failures: 3{initial}}}"
    settings = [
        *overrides(csv),
        rule,
        "optimizer.learning_rate={tune: {min: 1.0e-4, max: 1.0e-1, sampling: log}, default: 1.0e-3}",
    ]
    monkeypatch.setattr(tuning, "make_pool", lambda *_: MadeUp())
    said: list[str] = []

    def search(name, most, resume=False):
        more = [*settings, f"tuning.max_trials={most}"]
        return tuning.tune(CONFIG, more, 1, None, tmp_path / name, resume, say=said.append)

    search("parts", 4)
    assert said[0] == "examples  train 96, validation 24, test 30"
    said.clear()
    parts, whole = search("parts", 7, resume=True), search("whole", 7)
    assert "tuning.max_trials was 4 and is now 7" in said
    assert [trial.values for trial in parts.trials] == [trial.values for trial in whole.trials]
    assert len(search("parts", 7, resume=True).trials) == 7
    with pytest.raises(UserError, match=r"only tuning\.max_trials may increase"):
        search("parts", 5, resume=True)


class MadeUp:
    """A pool whose trials end at once."""

    def apply_async(self, function, arguments):
        from pipelines.config.load import load_config
        from pipelines.tuning.trials import Outcome

        score = load_config(arguments[0]).optimizer["learning_rate"]
        figures = {"validation.rmse": score, "validation.loss": score}
        return SimpleNamespace(ready=lambda: True, get=lambda: Outcome(figures))

    def terminate(self):
        pass


def test_a_journal_with_a_figure_of_no_number_is_json_and_read_back(tmp_path):
    from pipelines.tuning.journal import Trial

    folder = SearchFolder(tmp_path)
    folder.note("ended", Trial(0, {}, figures={"validation.auc": math.nan}, reason="validation.auc is nan"))
    strict((tmp_path / "journal.jsonl").read_text())
    ((_, trial),) = folder.events()
    assert math.isnan(trial.figures["validation.auc"])


# Devices and fonts


@pytest.mark.parametrize(
    ("gpus", "workers", "share"),
    [(0, 4, 0), (1, 1, 1), (1, 2, 0.5), (1, 3, 0.3333), (2, 3, 0.5), (4, 2, 1), (8.0, 8, 1)],
)
def test_trials_share_the_gpus_of_a_cluster_so_that_all_fit(gpus, workers, share):
    assert gpu_share(gpus, workers) == share
    per_gpu = int(1 / share + 1e-3) if share else 0
    assert not gpus or per_gpu * gpus >= workers


def test_a_share_that_leaves_workers_without_a_gpu_is_refused():
    assert gpu_share(2, 6, 0.3333) == 0.3333
    assert gpu_share(2, 1, 0.5) == 0.5
    with pytest.raises(UserError, match=r"tuning.gpus_per_trial: is 0.5, so 4 trials can run on 2 GPUs .* fewer than"):
        gpu_share(2, 5, 0.5)
    with pytest.raises(UserError, match="0 trials"):
        gpu_share(0, 1, 1.0)


def test_memory_of_a_gpu_is_taken_as_it_is_needed(monkeypatch):
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    share_gpus()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    share_gpus()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "false", "what the user says counts"


@pytest.mark.figures
@pytest.mark.parametrize("text", ["\U00012000\U00012001 \U00012002", "\U0001e900 \U0001e901", "plain"])
def test_signs_without_a_font_are_collected_and_other_warnings_pass(text, tmp_path):
    figure = Figure()
    figure.suptitle(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with glyphs_missed() as missed:
            write_pictures(tmp_path, {"picture": figure})
            warnings.warn("something else", UserWarning, stacklevel=1)
    assert [str(each.message) for each in caught] == ["something else"]
    assert len(missed) == (0 if text == "plain" else len(set(text) - {" "}))
    assert (tmp_path / "picture.png").is_file()
