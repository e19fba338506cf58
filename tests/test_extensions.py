"""A task and a model of one's own, in one file, go through the whole line."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pandas as pd
import pytest
from conftest import invoke
from serving.servers import Server

from pipelines.extensions import loaded_code

ROOT = Path(__file__).parent.parent
OWN = Path(__file__).parent / "own"
CODE = ("--code", OWN / "sentiment.py")
TEXTS = ["a good film", "a bad film"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with 80 reviews, whose class one word decides."""
    folder = tmp_path_factory.mktemp("own")
    words = [("good", "positive"), ("bad", "negative")]
    rows = [{"text": f"a {words[n % 2][0]} film of {n}", "label": words[n % 2][1]} for n in range(80)]
    pd.DataFrame(rows).to_csv(folder / "reviews.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def ran(work):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        result = invoke("run", OWN / "sentiment.yaml", *CODE)
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("try "))
    verb, *arguments = shlex.split(line)[shlex.split(line).index("predict") :]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        assert invoke(verb, *arguments).exit_code == 0, line
    return work


def test_it_trains_is_measured_exported_and_answers(ran, monkeypatch):
    work = ran
    monkeypatch.chdir(work)
    (run,) = (work / "runs" / "sentiment.TASK").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == 1 and "target" in (run / "predictions.csv").read_text().splitlines()[0]
    assert list(json.loads((run / "environment.json").read_text())["code"]) == [str(OWN / "sentiment.py")]
    for folder in (run, work / "exports" / "sentiment.TASK"):
        answers = json.loads(invoke("predict", folder, *TEXTS, "--json", *CODE).stdout)
        assert [answer["label"] for answer in answers] == ["positive", "negative"]
    evaluated = json.loads(invoke("evaluate", run, "--json", *CODE).stdout)
    assert set(evaluated["by_class"]) == {"positive", "negative"}


def test_it_is_served_without_its_code(ran, tmp_path):
    work = ran
    server = Server(tmp_path / "log.jsonl", work / "exports" / "sentiment.TASK")
    try:
        answer = httpx.post(f"{server.url}/v1/models/sentiment.TASK:predict", json={"instances": TEXTS}).json()
        assert [row["label"] for row in answer["predictions"]] == ["positive", "negative"]
    finally:
        server.stop()


@pytest.mark.slow
def test_it_is_tuned_in_processes_of_their_own(ran, monkeypatch):
    work = ran
    monkeypatch.chdir(work)
    result = invoke("tune", OWN / "sentiment.yaml", *CODE, "--search-dir", work / "search")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(work / "search" / "trials.csv")["validation.accuracy"].tolist() == [1, 1]


@pytest.mark.slow
def test_a_model_of_ones_own_is_picked_by_its_dotted_name(ran, monkeypatch):
    work = ran
    monkeypatch.chdir(work)
    settings = ["--set", "model=sentiment.wide_bag", "--set", "models.sentiment.wide_bag.units=4"]
    result = invoke("train", OWN / "sentiment.yaml", *CODE, *settings, "--run-dir", work / "wide")
    assert result.exit_code == 0, result.output
    assert "units: 4" in (work / "wide" / "config.yaml").read_text()
    assert json.loads(invoke("predict", work / "wide", TEXTS[0], "--json", *CODE).stdout)[0]["label"] == "positive"
    exported = invoke("export", work / "wide", "--to", work / "exports" / "wide", *CODE)
    assert exported.exit_code == 0, exported.output
    card = (work / "exports" / "wide" / "1" / "model_card.md").read_text()
    assert "`sentiment.wide_bag`: Put a hidden layer on a bag of words" in card
    assert "wide_bag" not in invoke("tasks", "sentiment.TASK", *CODE).stdout
    wrong = invoke("train", OWN / "sentiment.yaml", *CODE, *settings, "--set", "models.sentiment.wide_bag.unit=4")
    assert wrong.exit_code == 1 and "did you mean 'units'?" in wrong.stderr


@pytest.mark.parametrize(
    ("code", "settings", "expected"),
    [
        (
            (),
            ("task=nowhere.TASK",),
            "task nowhere.TASK: no module 'nowhere' is loaded; load its file with --code nowhere.py",
        ),
        (CODE, ("task=sentiment.TASKS",), "'sentiment' has no 'TASKS'; did you mean 'TASK'?"),
        (CODE, ("task=sentiment.bag_of_words",), "is not an instance of pipelines.task.Task"),
        (CODE, ("model=nowhere.cnn",), "model nowhere.cnn: no module 'nowhere' is loaded"),
        (("--code", OWN / "none.py"), (), "no such Python file"),
        (("--code", OWN / "sentiment.yaml"), (), "no such Python file"),
    ],
)
def test_what_is_not_there_gets_one_line(code, settings, expected, work, monkeypatch):
    monkeypatch.chdir(work)
    options = [part for setting in settings for part in ("--set", setting)]
    result = invoke("train", OWN / "sentiment.yaml", *code, *options, "--run-dir", work / "x")
    assert result.exit_code == 1 and expected in result.stderr and len(result.stderr.splitlines()) == 1, result.output
    assert not (work / "x").exists()


def test_a_file_named_as_a_module_that_is_there_is_refused(work):
    (work / "json.py").write_text("raise SystemExit('run')")
    result = invoke("tasks", "--code", work / "json.py")
    assert result.exit_code == 1 and "rename the file" in result.stderr


def test_without_code_none_is_loaded_from_a_config(work, monkeypatch):
    before = loaded_code()
    monkeypatch.chdir(work)
    (work / "evil.py").write_text("raise SystemExit('run')")
    result = invoke("train", OWN / "sentiment.yaml", "--set", "task=evil.TASK")
    assert result.exit_code == 1 and "no module 'evil' is loaded" in result.stderr
    assert loaded_code() == before


def test_code_in_the_folder_one_works_in_is_loaded_however_the_program_is_called(tmp_path):
    (tmp_path / "sentiment.py").write_bytes((OWN / "sentiment.py").read_bytes())
    command = [sys.executable, "-m", "pipelines", "tasks", "sentiment.TASK", "--code", "sentiment.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "bag_of_words: " in done.stdout, done.stderr
