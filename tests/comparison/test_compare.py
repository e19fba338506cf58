"""Comparisons with real trainings, and of finished runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import CONFIG, invoke, overrides, sets
from html_pages import read_page

from pipelines.comparison.runs import compare_runs

ROOT = Path(__file__).parents[2]
OPTIONS = ["--models", "linear_regression,mlp", "--seeds", "2", "--budget", "2"]


def compare_arguments(csv, folder, *more):
    return ["compare", CONFIG, *sets(overrides(csv)), *OPTIONS, "--comparison-dir", folder, *more]


@pytest.fixture(scope="module")
def compared(csv, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "c"
    result = invoke(*compare_arguments(csv, folder))
    assert result.exit_code == 0, result.output
    return folder, result


def metrics(run):
    return json.loads((run / "metrics.json").read_text())


def test_the_first_seed_is_an_ordinary_training_and_the_baseline_stands_beside_it(compared, csv, tmp_path):
    folder, result = compared
    table = pd.read_csv(folder / "runs.csv")
    settings = sets(overrides(csv, "model=linear_regression", "training.epochs=2"))
    assert invoke("train", CONFIG, *settings, "--run-dir", tmp_path / "run").exit_code == 0
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert table["validation.rmse"][0] == pytest.approx(history["validation.rmse"].min(), rel=1e-12)
    assert table["validation.rmse"].nunique() == 4
    assert "(baseline)" in result.stdout and f"table   {folder / 'table.md'}" in result.stdout
    assert all(set(metrics(run)) == {"validation"} for run in folder.glob("trials/*/"))


def test_its_page_begins_with_what_the_scores_tell(compared):
    folder, _ = compared
    text = read_page(folder / "report" / "index.html")
    assert "Best by validation.rmsle" in text and "linear_regression" in text and "95% interval" in text
    assert f"pipelines run {folder / 'best.yaml'}" in text and "--seeds 2" in text


def test_the_test_split_is_measured_once_and_only_if_asked_for(compared, csv):
    folder, _ = compared
    again = compare_arguments(csv, folder, "--resume", "--test")
    result = invoke(*again)
    assert result.exit_code == 0 and "test." in (folder / "table.md").read_text(), result.output
    recorded = {run: (run / "metrics.json").stat().st_mtime_ns for run in folder.glob("trials/*/")}
    assert len(recorded) == 4 and all("test" in metrics(run) for run in recorded)
    table = pd.read_csv(folder / "runs.csv")
    assert table["test.rmse"].tolist() == [metrics(run)["test"]["rmse"] for run in sorted(recorded)]
    assert invoke(*again).exit_code == 0
    assert recorded == {run: (run / "metrics.json").stat().st_mtime_ns for run in recorded}


def test_runs_of_a_comparison_are_compared_on_the_same_examples(compared):
    folder, _ = compared
    linear, mlp, linear_again = (folder / "trials" / f"{number:04}" for number in range(3))
    found = compare_runs([linear, mlp], resamples=100)
    assert found.settings.to_dict("list") == {"A": ["linear_regression"], "B": ["mlp"]}
    assert found.metrics["A"]["rmse"].value == pytest.approx(metrics(linear)["validation"]["rmse"], rel=1e-5)
    gap = found.gaps["B"]["rmse"]
    assert gap.value == pytest.approx(found.metrics["B"]["rmse"].value - found.metrics["A"]["rmse"].value)
    assert gap.low <= gap.value <= gap.high
    spread = (found.examples[f"{found.by} A"] - found.examples[f"{found.by} B"]).abs()
    assert len(spread) == 8 and spread.is_monotonic_decreasing
    result = invoke("compare", linear, linear_again)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1
    assert "its validation examples are not those of" in result.stderr


@pytest.mark.slow
def test_a_run_does_not_differ_from_itself(finished_run):
    result = invoke("compare", finished_run, finished_run)
    assert result.exit_code == 0, result.output
    assert "Most different" not in result.stdout and "setting" not in result.stdout
    assert not any(gap.tells for gap in compare_runs([finished_run] * 2, "test", 50).gaps["B"].values())


def test_what_is_compared_must_be_runs_of_one_task_or_one_config(finished_run, finished_tagger, tmp_path):
    for arguments, message in (
        ([finished_run], "is a single run; give two or more runs to compare"),
        ([finished_run, CONFIG], "is not the folder of a run"),
        ([CONFIG, CONFIG], "is not the folder of a run"),
        ([finished_run, tmp_path], "not a run folder"),
        ([finished_run, finished_tagger], "compare runs of the same task"),
        ([finished_run, finished_run, "--seeds", "3"], "--seeds: is of no use to compare finished runs"),
        ([finished_run, finished_run, "--set", "seed=3"], "--set: is of no use to compare finished runs"),
        ([tmp_path / "none.yaml"], "cannot read this config"),
    ):
        result = invoke("compare", *arguments)
        assert result.exit_code == 1 and message in result.stderr, result.output
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_comparison_killed_at_any_moment_ends_as_one_that_is_not(compared, csv, tmp_path):
    folder = tmp_path / "killed"
    arguments = [str(part) for part in compare_arguments(csv, folder)]
    for more in ([], ["--resume"]):
        process = subprocess.Popen(
            [sys.executable, "cli.py", *arguments, *more], cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL
        )
        ended = 1 + len(more)
        while process.poll() is None and _ended(folder) < ended:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 2 <= _ended(folder) < 4
    assert invoke(*arguments, "--resume").exit_code == 0
    first, again = (pd.read_csv(each / "runs.csv") for each in (compared[0], folder))
    assert again["validation.rmse"].tolist() == first["validation.rmse"].tolist()


def _ended(folder):
    journal = folder / "journal.jsonl"
    return journal.read_text().count('"event": "ended"') if journal.exists() else 0
