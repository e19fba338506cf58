"""Odd uses of the verbs: each is answered, or refused in one line that names the place, and leaves nothing behind."""

import csv as csv_reader
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CONFIG, invoke, overrides, sets

import pipelines
from pipelines.commands.predict import Answers, write_answers

ROOT = Path(__file__).parent.parent.parent
HOUSE = '{"Area (m2)": 100, "age": 10, "district": "north"}'


def refused(result, said):
    """One line that says so, exit 1, and no traceback."""
    assert result.exit_code == 1, result.output + repr(result.exception)
    errors = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(errors) == 1 and errors[0].startswith("error: "), result.stderr
    assert said in errors[0], result.stderr


@pytest.fixture
def odd(tmp_path):
    """Files and folders that are nothing that a verb takes."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    (tmp_path / "open.yaml").write_text("task: [house_prices\n")
    (tmp_path / "twice.yaml").write_text("task: house_prices\ntask: house_prices\n")
    (tmp_path / "tag.yaml").write_text("task: !!python/object/apply:os.system ['touch pwned']\n")
    (tmp_path / "latin.yaml").write_bytes(b"task: caf\xe9\n")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.yaml").write_text(CONFIG.read_text())
    (tmp_path / "export" / "1" / "assets.extra").mkdir(parents=True)
    (tmp_path / "export" / "1" / "assets.extra" / "about.json").write_text("{")
    return tmp_path


REFUSED = {  # arguments, {} for the folder of odd things -> what is said
    "run nothing there": (["run", "{}/gone.yaml"], "gone.yaml: cannot read this config (No such file or directory)"),
    "run a folder": (["run", "{}/empty"], "empty: cannot read this config (Is a directory)"),
    "run a list": (["run", "{}/list.yaml"], "a config must be a YAML mapping"),
    "run half a list": (["train", "{}/open.yaml"], "open.yaml:2: not valid YAML"),
    "run a key twice": (["train", "{}/twice.yaml"], "twice.yaml:2: not valid YAML"),
    "run code": (["train", "{}/tag.yaml"], "tag.yaml"),
    "run Latin-1": (["train", "{}/latin.yaml"], "latin.yaml: this config is not UTF-8 text"),
    "run bytes": (["train", "{}/binary"], "binary: "),
    "run an empty file": (["train", "{}/empty.csv"], "a config must be a YAML mapping"),
    "the second of two": (["run", CONFIG, "{}/gone.yaml"], "gone.yaml: cannot read this config"),
    "a very long name": (["train", "x" * 5000], "cannot read this config (File name too long)"),
    "unknown setting": (["train", CONFIG, "--set", "modle=mlp"], "modle: unknown setting; did you mean 'model'?"),
    "set a section": (["train", CONFIG, "--set", "training=3"], "training: "),
    "set below a value": (["train", CONFIG, "--set", "seed.x=3"], "'seed' is a value, not a section"),
    "set nothing": (["train", CONFIG, "--set", "=3"], "write it as dotted.path=value"),
    "set a negative": (["train", CONFIG, "--set", "training.epochs=-1"], "training.epochs: should be"),
    "set no epochs": (["train", CONFIG, "--set", "training.epochs=0"], "training.epochs: should be"),
    "set NaN": (["train", CONFIG, "--set", "optimizer.learning_rate=.nan"], "optimizer.learning_rate: "),
    "set infinity": (["train", CONFIG, "--set", "optimizer.learning_rate=.inf"], "should be a finite number"),
    "set nothing to a number": (["train", CONFIG, "--set", "seed="], "seed: should be a valid integer"),
    "resume nothing": (["train", CONFIG, "--resume"], "--resume: runs/house_prices contains no unfinished run"),
    "tune nothing there": (["tune", "{}/gone.yaml"], "gone.yaml: cannot read this config"),
    "evaluate a file": (["evaluate", CONFIG], "not a run folder"),
    "evaluate an empty folder": (["evaluate", "{}/empty"], "empty: not a run folder (it has no config.yaml)"),
    "evaluate half a run": (["evaluate", "{}/unfinished"], "unfinished: this run is not finished; continue with"),
    "export half a run": (["export", "{}/unfinished"], "unfinished: this run is not finished; continue with"),
    "predict half a run": (["predict", "{}/unfinished", HOUSE], "unfinished: this run is not finished; continue with"),
    "export nothing there": (["export", "{}/gone"], "gone: no such folder"),
    "predict of nothing there": (["predict", "{}/gone", HOUSE], "gone: no such folder; predict takes a run folder or"),
    "predict of a file": (["predict", CONFIG, HOUSE], "neither a run folder nor an export"),
    "predict of a long name": (["predict", "x" * 5000, HOUSE], "xxx ...: File name too long"),
    "evaluate a long name": (["evaluate", "x" * 5000], "xxx ...: File name too long"),
    "export a long name": (["export", "x" * 5000], "xxx ...: File name too long"),
    "serve a long name": (["serve", "x" * 5000], "xxx ...: File name too long"),
    "answer a long name": (["predict", "{}/empty", "--file", "x" * 5000], "xxx ...: File name too long"),
    "predict of an empty folder": (["predict", "{}/empty", HOUSE], "neither a run folder nor an export"),
    "predict of half an export": (["predict", "{}/export", HOUSE], "about.json: is missing or damaged"),
    "serve nothing there": (["serve", "{}/gone"], "gone: "),
    "serve an empty folder": (["serve", "{}/empty"], "empty: "),
    "serve a file": (["serve", CONFIG], "house_prices.yaml: "),
    "config of no task": (["config", "{}/gone.yaml"], "gone.yaml: cannot read this config"),
    "config of a list": (["config", "{}/list.yaml", "--schema"], "a config must be a YAML mapping"),
    "models of no task": (["tasks", "[red]"], "unknown task '[red]'"),
    "no such rule": (["evaluate", "{}/empty", "--threshold", "best"], "--threshold best: should be a number between 0"),
    "a rule beyond 1": (["export", "{}/empty", "--threshold", "1.5"], "--threshold 1.5: should be a number between 0"),
}


@pytest.mark.parametrize("use", REFUSED)
def test_a_use_that_cannot_be_gets_one_line_and_leaves_nothing(use, odd, monkeypatch):
    arguments, said = REFUSED[use]
    monkeypatch.chdir(odd)
    before = sorted(odd.rglob("*"))
    refused(invoke(*(str(argument).replace("{}", str(odd)) for argument in arguments)), said)
    assert sorted(odd.rglob("*")) == before


USAGE = [
    ["run"],
    ["predict"],
    ["serve"],
    ["evaluate", "x", "--split", "all"],
    ["export", "x", "--format", "h5"],
    ["serve", "x", "--port", "0"],
    ["serve", "x", "--port", "70000"],
    ["serve", "x", "--port", "http"],
    ["tune", "x", "--workers", "0"],
    ["train", "x", "--sett", "a=1"],
    ["trian", "x"],
    ["train", "x", "y"],
    ["train", "--set"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_a_slip_in_the_usage_is_explained(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2 and "Error: " in result.stderr and "Traceback" not in result.output


INPUTS = {  # inputs for a table's export -> what is said
    "no JSON": (["{area: 1}"], "{area: 1}"),
    "a list": (["[1, 2]"], "is not a JSON object"),
    "null": (["null"], "is not a JSON object"),
    "a number": (["1e999"], "is not a JSON object"),
    "nothing": ([""], "is not a JSON object"),
    "no UTF-8": (["\udcff"], "input 1: '\\udcff' is not valid UTF-8"),
    "the second one": ([HOUSE, "{"], "is not a JSON object"),
    "a column that is none": (['{"Area (m2)": 1, "age": 1, "district": "a", "[red]": 1}'], "unknown column '[red]'"),
    "a list in a column": (['{"Area (m2)": [1], "age": 1, "district": "a"}'], "must be a number"),
    "a truth in a column": (['{"Area (m2)": true, "age": 1, "district": "a"}'], "must be a number"),
    "no file": (["--file", "gone.csv"], "gone.csv: no such file"),
    "a folder as file": (["--file", "."], "."),
    "an ending that is none": ([HOUSE, "--output", "a.xlsx"], "--output a.xlsx: should end in .csv, .json, .jsonl"),
    "no ending": ([HOUSE, "--output", "a"], "--output a: should end in"),
    "a folder as output": ([HOUSE, "--output", "there.csv"], "--output there.csv: is a folder; name a file"),
    "no folder for the output": ([HOUSE, "--output", "houses.csv/a.csv"], "houses.csv"),
    "the inputs as output": (
        ["--file", "houses.csv", "--output", "houses.csv"],
        "is an input file, and would be overwritten",
    ),
    "attention of a table": ([HOUSE, "--attention"], "--attention"),
}


@pytest.mark.parametrize("given", INPUTS)
def test_an_odd_input_gets_one_line_and_writes_nothing(given, finished_run, csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(csv, "houses.csv")
    Path("there.csv").mkdir()
    inputs, said = INPUTS[given]
    refused(invoke("predict", finished_run, *inputs), said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["houses.csv", "there.csv"]
    assert Path("houses.csv").read_bytes() == csv.read_bytes()


def test_nothing_to_answer_is_said(finished_run):
    refused(invoke("predict", finished_run), "nothing to predict; give an INPUT or --file FILE")


def test_a_table_has_no_threshold(finished_run, tmp_path):
    said = "--threshold: this house_prices model has no decision threshold"
    refused(invoke("evaluate", finished_run, "--threshold", "f1"), said)
    refused(invoke("export", finished_run, "--to", tmp_path / "exports", "--threshold", "0.3"), said)
    assert not (tmp_path / "exports").exists()


def test_each_answer_is_preceded_by_what_it_is_to(finished_run, csv):
    result = invoke("predict", finished_run, HOUSE, HOUSE.replace("100", "50"))
    names = [line.partition("price")[0] for line in result.stdout.splitlines()]
    assert names == [f"{HOUSE}: ", f"{HOUSE.replace('100', '50')}: "]
    rows = invoke("predict", finished_run, "--file", csv).stdout.splitlines()
    names = [row.partition(": price")[0] for row in rows]
    assert len(set(names)) == 150 and all(name.split(":")[-1].isdigit() for name in names)


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "CSV"])
def test_answers_are_written_with_what_each_is_to(ending, finished_run, csv, tmp_path):
    output = tmp_path / f"answers.{ending}"
    output.write_text("an older file")
    result = invoke("predict", finished_run, "--file", csv, "--output", output, "--json")
    answers = json.loads(result.stdout)
    text = output.read_text(encoding="utf-8")
    if ending.lower() == "csv":
        rows = list(csv_reader.DictReader(text.splitlines()))
    else:
        rows = json.loads(text) if ending == "json" else [json.loads(line) for line in text.splitlines()]
    assert (
        sorted(rows[0]) == ["input", "price", "price_high", "price_low"] and len({row["input"] for row in rows}) == 150
    )
    assert [float(row["price"]) for row in rows] == [answer["price"] for answer in answers]


def test_answers_of_any_form_are_written_whole(tmp_path):
    odd = {
        "text": 'a "b", c\nd',
        "list": ["猫", 1.5],
        "entities": [{"type": "PER"}],
        "score": float("nan"),
        "yes": True,
    }
    answers = Answers(["[red]", "a, b"], [odd, odd])
    for ending in ("csv", "json", "jsonl"):
        write_answers(tmp_path / f"a.{ending}", answers)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv_reader.DictReader(file)
    assert (first["input"], second["input"]) == ("[red]", "a, b")
    assert (first["text"], first["list"], first["score"]) == (odd["text"], '["猫", 1.5]', "")
    assert json.loads(first["entities"]) == [{"type": "PER"}]
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    whole = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert whole == list(map(json.loads, lines))
    assert whole[0] == {"input": "[red]", **odd, "score": None}


def test_run_ends_with_commands_that_work(csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("run", CONFIG, *sets(overrides(csv, "training.epochs=1")))
    assert result.exit_code == 0, result.output
    lines = dict(line.split(None, 1) for line in result.stdout.splitlines() if line.startswith(("try ", "serve ")))
    verb, *arguments = shlex.split(lines["try"])[shlex.split(lines["try"]).index("predict") :]
    answered = invoke(verb, *arguments, "--json")
    assert answered.exit_code == 0 and len(json.loads(answered.stdout)) == 1, answered.output
    assert shlex.split(lines["serve"])[-2:] == ["serve", "exports/house_prices"]


WITHOUT_METADATA = """
import importlib.metadata, sys
version = importlib.metadata.version
distribution = importlib.metadata.distribution
def blocked(real):
    def ask(name):
        if name.replace("_", "-") == "keras-task-pipelines":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)
    return ask
importlib.metadata.version, importlib.metadata.distribution = blocked(version), blocked(distribution)
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "from pipelines import cli; cli.main(['--version'])",
            f"keras-task-pipelines, version {pipelines.__version__}",
        ),
        (
            "from pipelines.tensorflow_startup import import_tensorflow; import_tensorflow(False, keras=False)\n"
            "from pathlib import Path; from pipelines.serving.http.app import create_app;"
            "from pipelines.serving.settings import ModelSettings, Settings;"
            "create_app(Settings({'houses': ModelSettings(Path(sys.argv[1]))})); print('made')",
            "made",
        ),
    ],
)
def test_a_checkout_that_is_not_installed_knows_its_version(code, said, finished_export):
    command = [sys.executable, "-c", WITHOUT_METADATA + code, str(finished_export)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and said in done.stdout, done.stderr


def test_the_package_is_built_with_its_own_version():
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project and 'path = "pipelines/__init__.py"' in project


@pytest.mark.slow
def test_a_command_needs_keras_whatever_the_process_that_started_it_needed():
    code = (
        "from pipelines.tensorflow_startup import import_tensorflow; import_tensorflow(False);"
        "import tensorflow as tf; tf.keras.layers.Layer"
    )
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment).returncode == 0
