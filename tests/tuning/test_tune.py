"""Searches whose trials are real trainings, in processes of their own."""

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
from processes import answer, die

from pipelines.tuning.pools import Killed, LocalPool

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "tuning={name: random, max_trials: 4, objective: validation.rmse, keep: 1, max_failures: 3}",
    "optimizer.learning_rate={tune: {min: 1.0e-3, max: 1.0e-1, sampling: log}, default: 1.0e-2}",
]


def tune_arguments(csv, folder, *more):
    return ["tune", CONFIG, *sets([*overrides(csv), *SETTINGS]), "--search-dir", folder, *more]


@pytest.fixture(scope="module")
def searched(csv, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "s"
    result = invoke(*tune_arguments(csv, folder))
    assert result.exit_code == 0, result.output
    return folder, result


def test_training_the_best_config_gives_the_very_metric_of_its_trial(searched, tmp_path):
    folder, result = searched
    table = pd.read_csv(folder / "trials.csv")
    assert invoke("train", folder / "best.yaml", "--run-dir", tmp_path / "run").exit_code == 0
    # As training measured it: the metrics at the end come from another graph, whose last digit may differ.
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["validation.rmse"].min() == pytest.approx(table["validation.rmse"].min(), rel=1e-12)
    assert f"config  {folder / 'best.yaml'}" in result.stdout
    told = [line.split("  ")[0] for line in result.stderr.splitlines()]
    assert told[0] == "examples"  # the summary of the data comes first
    assert [line for line in told if line.startswith("trial")] == [f"trial {number}" for number in range(4)]


def test_its_page_begins_with_the_best_config_and_lists_the_trials(searched):
    folder, _ = searched
    text = read_page(folder / "report" / "index.html")
    table = pd.read_csv(folder / "trials.csv")
    assert f"Trial {table['validation.rmse'].idxmin()} is the best" in text
    assert f"pipelines run {folder / 'best.yaml'}" in text and f"pipelines tune {folder / 'config.yaml'}" in text
    assert text.count("optimizer.learning_rate") > 1


@pytest.mark.slow
def test_the_same_search_again_is_the_same(searched, csv, tmp_path):
    folder, _ = searched
    assert invoke(*tune_arguments(csv, tmp_path / "again")).exit_code == 0
    first, again = (pd.read_csv(each / "trials.csv") for each in (folder, tmp_path / "again"))
    figures = [name for name in first if "seconds" not in name]
    pd.testing.assert_frame_equal(first[figures], again[figures])


def test_only_the_best_trial_keeps_its_weights_and_hparams_are_logged(searched):
    folder, _ = searched
    assert len(list(folder.glob("trials/*/model.weights.h5"))) == 1
    assert len(list(folder.glob("logs/*/events*"))) == 4


@pytest.mark.slow
def test_a_tree_killed_at_any_moment_loses_no_finished_trial(searched, csv, tmp_path):
    folder = tmp_path / "killed"
    arguments = [str(part) for part in tune_arguments(csv, folder)]
    ended: set[int] = set()
    for attempt in range(6):
        more = ["--resume"] if attempt else []
        with subprocess.Popen(
            [sys.executable, "cli.py", *arguments, *more], cwd=ROOT, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                now = {line["number"] for line in _journal(folder) if line["event"] == "ended"}
                if attempt < 2 and len(now) > len(ended):
                    time.sleep(0.3 * attempt)
                    os.killpg(process.pid, signal.SIGKILL)
                    break
                time.sleep(0.05)
            process.wait()
        now = {line["number"] for line in _journal(folder) if line["event"] == "ended"}
        assert ended <= now
        ended = now
        if process.returncode == 0:
            break
    assert attempt == 2
    first, again = (pd.read_csv(each / "trials.csv") for each in (searched[0], folder))
    assert again["validation.rmse"].tolist() == first["validation.rmse"].tolist()
    events = [(line["event"], line["number"]) for line in _journal(folder) if line["event"] != "refused"]
    assert len(events) == len(set(events)) == 8


def _journal(folder: Path) -> list[dict]:
    try:
        lines = (folder / "journal.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]
    except (OSError, json.JSONDecodeError):
        return []


def test_a_search_begins_in_no_file_and_makes_its_folder(csv):
    result = invoke(*tune_arguments(csv, csv))
    assert result.exit_code == 1 and f"{csv}: already exists" in result.stderr, result.output
    result = invoke(*tune_arguments(csv, csv / "s"))
    assert result.exit_code == 1 and "cannot create this folder (Not a directory)" in result.stderr, result.output


@pytest.mark.slow
def test_two_workers_run_the_same_trials(searched, csv, tmp_path):
    assert invoke(*tune_arguments(csv, tmp_path / "two", "--workers", "2")).exit_code == 0
    first, again = (pd.read_csv(each / "trials.csv") for each in (searched[0], tmp_path / "two"))
    rates = "optimizer.learning_rate"
    assert again[rates].tolist() == first[rates].tolist()
    assert again["validation.rmse"].tolist() == pytest.approx(first["validation.rmse"].tolist(), rel=1e-3)


@pytest.mark.slow
def test_a_trial_that_goes_on_ends_where_an_uninterrupted_one_does(csv, tmp_path):
    hyperband = (
        "tuning={name: hyperband, factor: 2, iterations: 1, objective: validation.rmse, keep: 1, max_failures: 3}"
    )
    settings = [*overrides(csv), SETTINGS[1], hyperband, "training.epochs=2"]
    result = invoke("tune", CONFIG, *sets(settings), "--search-dir", tmp_path / "s")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "s" / "trials.csv")
    whole = table[table["until_epoch"] == 2]
    assert table["goes_on"].notna().any()
    assert invoke("train", tmp_path / "s" / "best.yaml", "--run-dir", tmp_path / "run").exit_code == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["validation"]["rmse"] == pytest.approx(whole["validation.rmse"].min(), rel=1e-12)


def test_a_process_that_dies_is_told_from_one_that_answers(tmp_path):
    pool = LocalPool()
    dying = pool.apply_async(die, (None, tmp_path))
    answering = pool.apply_async(answer, (7, tmp_path))
    assert answering.get() == 7
    with pytest.raises(Killed, match=r"signal 9 \(it was killed, or out of memory\)"):
        dying.get()


@pytest.mark.slow
def test_a_ray_cluster_runs_the_same_trials(searched, csv, tmp_path):
    assert invoke(*tune_arguments(csv, tmp_path / "ray", "--ray", "local", "--workers", "2")).exit_code == 0
    first, again = (pd.read_csv(each / "trials.csv") for each in (searched[0], tmp_path / "ray"))
    assert again["validation.rmse"].tolist() == pytest.approx(first["validation.rmse"].tolist(), rel=1e-3)


def test_without_ray_the_extra_is_named(csv, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = invoke(*tune_arguments(csv, tmp_path / "ray", "--ray", "local"))
    assert (result.exit_code, "pip install ray" in result.stderr) == (1, True)
