"""`pipelines runs`: what it lists, how runs differ, what it deletes and what it never does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import CONFIG, invoke, overrides, sets

from pipelines import cli
from pipelines.runs.about import About, write_about
from pipelines.runs.listing import find_entries, plan_deletion
from pipelines.runs.run import Run
from pipelines.storage import locked

ROOT = Path(__file__).parent.parent


def copy(run: Path, root: Path, name: str, value: float | None = None, age: int = 0) -> Path:
    """Put a copy of a run into a folder, with another value of its metric, and older by days."""
    folder = Path(shutil.copytree(run, root / "runs" / "house_prices" / name))
    if value is not None:
        table = Run(folder).history().assign(**{"validation.rmsle": value})
        table.to_csv(folder / "history.csv", index=False)
    then = 1_800_000_000 - age * 86400
    os.utime(folder / "config.yaml", (then, then))
    return folder


@pytest.fixture
def runs(finished_run, tmp_path):
    """Six finished runs: a is the best, f the newest."""
    for age, name in enumerate("fedcba"):
        copy(finished_run, tmp_path, name, 0.1 * (ord(name) - ord("a") + 1), age)
    return tmp_path


def names(root: Path) -> set[str]:
    return {path.name for path in (root / "runs" / "house_prices").iterdir()}


def test_runs_are_listed_with_the_best_first_and_without_tensorflow(runs):
    code = (
        "import sys; from click.testing import CliRunner; from pipelines import cli;"
        f"result = CliRunner().invoke(cli.main, ['runs', 'list', '--in', {str(runs)!r}, '--json']);"
        "print(result.output);"
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)) or result.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = json.loads(done.stdout)
    assert [Path(each["folder"]).name for each in listed] == list("abcdef")
    first = listed[0]
    assert (first["state"], first["model"], first["metric"]) == ("finished", "mlp", "validation.rmsle")
    assert first["value"] == pytest.approx(0.1) and first["bytes"] > 10_000
    shown = invoke("runs", "list", "--in", runs, "--task", "house_prices").output
    assert "finished" in shown and str(runs / "runs" / "house_prices" / "a") in shown
    assert "no runs" in invoke("runs", "list", "--in", runs, "--task", "translator").output


def test_a_higher_value_is_better_where_the_metric_says_so(runs):
    for run in (runs / "runs" / "house_prices").iterdir():
        write_about(run, About("house_prices", "mlp", "validation.rmsle", "max"))
    assert [entry.folder.name for entry in find_entries(runs)] == list("fedcba")


def test_states_of_runs(runs, csv):
    base = runs / "runs" / "house_prices"
    (base / "a" / "metrics.json").unlink()
    (base / "b" / "about.json").unlink()  # of an earlier version
    result = invoke("train", CONFIG, *sets(overrides(csv, "optimizer.learning_rate=1e30")), "--run-dir", base / "g")
    assert result.exit_code == 1
    with locked(base / "c" / "lock", "in use"):
        states = {entry.folder.name: entry for entry in find_entries(runs)}
    assert [states[name].state for name in "abcdg"] == ["unfinished", "finished", "running", "finished", "failed"]
    assert states["b"].about == About("house_prices", "mlp") and states["b"].value is None
    assert "learning rate" in Run(base / "g").error


def test_prune_keeps_the_best_and_the_newest_and_asks_first(runs):
    asked = CliRunner().invoke(cli.main, ["runs", "prune", "--keep", "2", "--in", str(runs)], input="n\n")
    assert "Delete 2 folders" in asked.output and "nothing was deleted" in asked.output
    assert names(runs) == set("abcdef")
    result = invoke("runs", "prune", "--keep", 2, "--in", runs, "--yes")
    assert result.exit_code == 0 and "deleted 2 folders" in result.output
    assert names(runs) == set("abef")
    assert "nothing to delete" in invoke("runs", "prune", "--keep", 2, "--in", runs, "--yes").output


def test_prune_says_which_runs_it_keeps_because_something_was_made_from_them(runs):
    base = runs / "runs" / "house_prices"
    for name in "cd":  # another model than the copies of the same run
        (base / name / "model.weights.h5").write_bytes(name.encode())
    export = runs / "exports" / "houses" / "1"
    export.mkdir(parents=True)
    (export / "saved_model.pb").touch()
    parity = {"run": {"run": "elsewhere", "fingerprint": Run(base / "c").fingerprint()}}
    (export / "parity.json").write_text(json.dumps(parity))
    record = json.loads((base / "f" / "data.json").read_text())
    record["teacher"] = {"run": "elsewhere", "fingerprint": Run(base / "d").fingerprint()}
    (base / "f" / "data.json").write_text(json.dumps(record))
    result = invoke("runs", "prune", "--keep", 1, "--in", runs, "--yes")
    assert f"kept {base / 'c'}: {export} was exported from it" in result.output
    assert f"kept {base / 'd'}: {base / 'f'} learned from it" in result.output
    assert names(runs) == set("acdf")


def test_prune_deletes_nothing_behind_a_link_and_nothing_that_runs(runs, finished_run, tmp_path_factory):
    base, outside = runs / "runs" / "house_prices", tmp_path_factory.mktemp("outside")
    shutil.copytree(finished_run, outside / "run")
    (base / "link").symlink_to(outside / "run")
    (base / "b" / "inside").symlink_to(outside)
    (runs / "runs" / "other").symlink_to(outside)
    with locked(base / "e" / "lock", "in use"):
        result = invoke("runs", "prune", "--keep", 0, "--in", runs, "--yes")
    assert result.exit_code == 0 and "is a link, or lies behind one" in result.output
    assert names(runs) == {"e", "link"}
    assert (outside / "run" / "metrics.json").is_file()


def test_an_export_names_its_run(finished_export, finished_run):
    parity = json.loads((finished_export / "1" / "parity.json").read_text())
    assert parity["run"]["fingerprint"] == Run(finished_run).fingerprint()


def test_nothing_is_kept_of_what_nobody_needs(runs):
    plan = plan_deletion(runs, find_entries(runs), keep=0)
    assert len(plan.delete) == 6 and not plan.needed


@pytest.mark.slow
def test_two_runs_differ_in_settings_and_metrics(finished_run, csv, tmp_path):
    other = tmp_path / "other"
    changed = ["model=linear_regression", "training.epochs=1"]
    assert invoke("train", CONFIG, *sets(overrides(csv, *changed)), "--run-dir", other).exit_code == 0
    found = json.loads(invoke("runs", "diff", finished_run, other, "--json").output)
    assert found["settings"]["model"] == {"A": "mlp", "B": "linear_regression"}
    assert found["settings"]["training.epochs"] == {"A": 4, "B": 1}
    own = [Run(folder).metrics()["test"]["rmse"] for folder in (finished_run, other)]
    assert found["metrics"]["test"]["rmse"] == pytest.approx(own)
    shown = invoke("runs", "diff", finished_run, other).output
    assert "training.epochs" in shown and "test.rmse" in shown and "compare" in shown
    assert "all settings are the same" in invoke("runs", "diff", other, other).output


def test_open_finds_the_page_or_says_how_to_write_it(finished_run, tmp_path):
    page = finished_run / "report" / "index.html"
    assert invoke("runs", "open", finished_run, "--print").output.strip() == str(page.resolve())
    bare = copy(finished_run, tmp_path, "bare")
    (bare / "report" / "index.html").unlink()
    for folder, problem in ((bare, "evaluate"), (tmp_path / "none", "no such folder"), (tmp_path, "has no")):
        result = invoke("runs", "open", folder)
        assert result.exit_code == 1 and problem in result.stderr and len(result.stderr.splitlines()) == 1
