"""The command line as its user meets it: help, the verbs, and one clear line for every mistake."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import CONFIG, houses, invoke, overrides, sets

from pipelines import cli
from pipelines.data.tables.cells import read_cells
from pipelines.terminal import print_metrics, program

ROOT = Path(__file__).parent.parent


def test_help_lists_every_verb_without_importing_tensorflow():
    code = (
        "import sys; from pipelines import cli; from click.testing import CliRunner;"
        "result = CliRunner().invoke(cli.main, ['--help']); print(result.output);"
        "sys.exit(bool({'tensorflow', 'keras', 'pandas', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert all(
        f"  {verb} " in done.stdout for verb in ("run", "train", "evaluate", "predict", "export", "tasks", "config")
    )


@pytest.mark.parametrize("verb", sorted(cli.main.commands))
def test_every_verb_has_an_example_and_stands_in_the_readme(verb, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pipelines"])
    assert f"Example: pipelines {verb}" in invoke(verb, "--help").output
    assert f"pipelines {verb}" in (ROOT / "README.md").read_text()


def test_examples_start_with_what_finds_the_program(tmp_path, monkeypatch):
    bin = tmp_path / ".venv" / "bin"
    bin.mkdir(parents=True)
    for name in ("pipelines", "python"):
        (bin / name).touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(bin / "python"))
    for path, argument, example in (
        (bin, str(bin / "pipelines"), "pipelines"),
        (bin, "cli.py", "python cli.py"),
        (bin, "/x/pipelines/__main__.py", "python -m pipelines"),
        ("/usr/bin", ".venv/bin/pipelines", ".venv/bin/pipelines"),
        ("/usr/bin", str(bin / "pipelines"), ".venv/bin/pipelines"),
        ("/usr/bin", "cli.py", ".venv/bin/python cli.py"),
        ("/usr/bin", "/x/pipelines/__main__.py", ".venv/bin/python -m pipelines"),
    ):
        monkeypatch.setenv("PATH", str(path))
        monkeypatch.setattr(sys, "argv", [argument])
        assert program() == example


def test_tensorflow_says_nothing_at_its_start_unless_asked():
    command = [sys.executable, "cli.py", "tasks"]
    quiet = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert "house_prices" in quiet.stdout


def test_tasks_explains_every_hyperparameter():
    result = invoke("tasks", "house_prices")
    assert result.exit_code == 0
    for model in ("linear_regression", "mlp", "mlp_ple", "tabm"):
        assert f"\n{model}: " in f"\n{result.stdout}"
    lines = [line for line in result.stdout.splitlines() if line.startswith("    ")]
    assert lines and all(line.split("): ")[1] for line in lines)


def test_config_prints_a_config_that_runs_as_it_is(tmp_path):
    printed = invoke("config", "house_prices")
    schema, config = printed.stdout.split("\n", 1)
    assert config == CONFIG.read_text()
    assert Path(schema.removeprefix("# yaml-language-server: $schema=")).is_file()
    copy = tmp_path / "my.yaml"
    copy.write_text(printed.stdout)
    resolved = invoke("config", copy)
    assert resolved.exit_code == 0
    assert re.search(r"\n  size: 128 +# examples in a mini-batch", resolved.stdout)


def test_train_prints_a_table_and_the_run_folder(csv, tmp_path):
    folder = tmp_path / "run"
    result = invoke("train", CONFIG, *sets(overrides(csv)), "--run-dir", folder)
    assert result.exit_code == 0
    assert str(folder) in result.stdout and "rmsle" in result.stdout
    assert "epoch 4/4" in result.stderr
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"config.yaml", "environment.json", "data.json", "history.csv", "metrics.json"} <= names
    pictures = {"learning_curves.png", "predicted_against_actual.png", "residuals.png"}
    assert {f"report/{picture}" for picture in pictures} <= names
    assert any(name.startswith("logs/") for name in names)
    assert set(json.loads((folder / "metrics.json").read_text())) == {"train", "validation", "test"}
    assert len(pd.read_csv(folder / "history.csv")) == 4


def test_run_trains_exports_and_shows_answers(csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("run", CONFIG, *sets(overrides(csv)))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "exports/house_prices/1/saved_model.pb").is_file()
    assert len(list((tmp_path / "runs/house_prices").iterdir())) == 1
    assert "price" in result.stdout and "exports/house_prices/1" in result.stdout


def test_evaluate_gives_the_metrics_that_training_wrote(finished_run):
    written = json.loads((finished_run / "metrics.json").read_text())
    for split in ("train", "validation", "test"):
        result = invoke("evaluate", finished_run, "--split", split, "--json")
        assert json.loads(result.stdout) == {split: written[split]}


def test_predict_gives_what_evaluate_saw_on_run_and_export(finished_run, finished_export, csv, tmp_path):
    from sklearn.metrics import mean_absolute_error

    from pipelines.config.load import load_config
    from pipelines.trained_model import load_run_dataset

    test = load_run_dataset(load_config(finished_run / "config.yaml")).test
    test.to_csv(tmp_path / "test.csv", index=False)
    answers = {}
    for folder in (finished_run, finished_export):
        result = invoke("predict", folder, "--file", tmp_path / "test.csv", "--json")
        assert result.exit_code == 0, result.output
        answers[folder] = [answer["price"] for answer in json.loads(result.stdout)]
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert mean_absolute_error(test["price"], answers[finished_run]) == pytest.approx(metrics["test"]["mae"], rel=1e-6)
    assert answers[finished_export] == pytest.approx(answers[finished_run], rel=1e-5)


@pytest.mark.slow
def test_predict_reads_a_file_as_training_read_its_own(csv, tmp_path):
    odd = tmp_path / "odd.csv"
    table = pd.read_csv(csv, dtype=str, keep_default_na=False).replace({"age": {"": "unknown"}})
    table.to_csv(odd, index=False, sep=";")
    settings = overrides(odd, "data.delimiter=;", "data.missing=['', unknown]", "training.epochs=1")
    assert invoke("train", CONFIG, *sets(settings), "--run-dir", tmp_path / "run").exit_code == 0
    exported = invoke("export", tmp_path / "run", "--to", tmp_path / "exports").stdout.strip()
    results = [invoke("predict", folder, "--file", odd, "--json") for folder in (tmp_path / "run", exported)]
    answers = [[answer["price"] for answer in json.loads(result.stdout)] for result in results]
    assert len(answers[0]) == 150
    assert answers[0] == pytest.approx(answers[1], rel=1e-5)


def test_predict_takes_what_is_left_out_as_missing(finished_export):
    inputs = ['{"Area (m2)": 100}', '{"Area_m2_": null, "Area__m2_": 100, "age": null, "district": null}']
    result = invoke(
        "predict", finished_export, inputs[0], '{"Area (m2)": 100, "age": null, "district": null}', "--json"
    )
    first, second = json.loads(result.stdout)
    assert first == second


CONFIG_MISTAKES = {
    "unknown setting": (["models.mlp.unit=[3]"], "models.mlp.unit: unknown setting; did you mean 'units'?"),
    "unknown section": (["optimiser.name=adam"], "optimiser: unknown setting; did you mean 'optimizer'?"),
    "wrong type": (["training.epochs=many"], "training.epochs: should be a valid integer"),
    "text for a number": (["optimizer.learning_rate=fast"], "optimizer.learning_rate: should be a valid number"),
    "out of range": (["models.mlp.dropout=1.5"], "models.mlp.dropout: should be less than 1"),
    "unknown model": (["model=mpl"], "model: unknown 'mpl'; did you mean 'mlp'?"),
    "unknown optimizer": (["optimizer.name=adamm"], "did you mean 'adam'?"),
    "unknown source": (["data={source: sql}"], "unknown 'sql'; choose one of embedded, files, tfds"),
    "unknown metric": (["training.monitor=validation.maee"], "did you mean 'validation.mae'?"),
    "shares over one": (["split.train=0.9"], "split: train, validation and test add up to"),
    "missing file": (["data.path=nowhere.csv"], "nowhere.csv: cannot be read (No such file or directory)"),
    "missing target": (["data.target=prize"], "no column 'prize', as set in data.target; did you mean 'price'?"),
    "unknown column": (["data.ignore=[agee]"], "no column 'agee', as set in data.ignore; did you mean 'age'?"),
    "ratio of text": (["preprocessing.ratios=[[age, district]]"], "preprocessing.ratios: no numeric column 'district'"),
    "empty tune": (["batches.size={tune: [], default: 3}"], "batches.size: tune node: the list of choices is empty"),
    "no task but a list": (["task=[house_prices]"], "task: unknown task ['house_prices']"),
    "a day that never was": (["data.path=2024-13-01"], "--set data.path=2024-13-01: the value is not valid YAML"),
    "not an override": (["model"], "--set model: write it as dotted.path=value"),
}


@pytest.mark.parametrize("mistake", CONFIG_MISTAKES)
def test_a_mistake_in_the_config_gets_one_line_and_leaves_nothing(mistake, csv, tmp_path):
    settings, expected = CONFIG_MISTAKES[mistake]
    result = invoke("train", CONFIG, *sets(overrides(csv, *settings)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: ")
    assert f"{CONFIG}:" not in result.stderr, "the file is not at fault where an override is"
    assert not (tmp_path / "run").exists()


DATA_MISTAKES = {
    "empty file": ("", "this table is empty"),
    "header only": ("area,price\n", "this table has a header but no row"),
    "text in a numeric column": (
        houses(40).assign(age=lambda t: ["ten", *t["age"][1:]]).to_csv(index=False),
        "houses.csv:2: column 'age' contains 'ten', not a number",
    ),
    "no valid target": ("area,price\n1,\n2,x\n", "no rows can be used: no target in column 'price'"),
    "target only": ("price\n1\n2\n3\n", "no columns are left besides the target 'price'"),
    "one header twice": ("a,a,price\n1,2,3\n", "two columns are named 'a'; rename one"),
    "more than a tensor holds": ("a,price\n1e300,2\n1,3\n" + "1,2\n" * 20, "houses.csv:2: column 'a' contains '1e300'"),
    "prices below nothing": (
        "a,price\n" + "1,-1\n" * 20,
        "log requires targets of zero or more, but 12 in train are negative",
    ),
    "ragged rows": ("area,price\n1,2\n1,2,3\n", "houses.csv:3: has 3 cells, but the header has 2"),
    "too few rows": ("area,price\n1,2\n", "no examples are left for this split"),
    "not text": (b"area,price\n\xff\xfe,2\n", "is not valid UTF-8; set data.encoding"),
}


@pytest.mark.parametrize("mistake", DATA_MISTAKES)
def test_a_mistake_in_the_data_gets_one_line_and_leaves_nothing(mistake, tmp_path):
    content, expected = DATA_MISTAKES[mistake]
    csv = tmp_path / "houses.csv"
    csv.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = invoke("train", CONFIG, *sets(overrides(csv)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1, result.output
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "nowhere.yaml"], "nowhere.yaml: cannot read this config"),
        (["evaluate", "nowhere"], "nowhere: no such folder"),
        (["evaluate", ROOT / "configs"], "not a run folder"),
        (["export", ROOT / "configs"], "not a run folder"),
        (["predict", ROOT / "configs", "{}"], "neither a run folder nor an export"),
        (["tasks", "house_price"], "unknown task 'house_price'; did you mean 'house_prices'?"),
    ],
)
def test_a_wrong_argument_gets_one_line(arguments, expected):
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_column_that_is_called_as_the_target_is_here_gets_one_line(tmp_path):
    csv = tmp_path / "houses.csv"
    houses(40).assign(sold_for=1.0).to_csv(csv, index=False)
    result = invoke("train", CONFIG, *sets(overrides(csv, "data.target=sold_for")), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1
    assert "data.target: 'sold_for' is renamed to 'price'" in result.stderr


def test_a_folder_that_cannot_be_made_gets_one_line(csv, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(csv)), "--run-dir", csv / "run")
    assert result.exit_code == 1
    assert f"{csv}/run: cannot create this folder (Not a directory)" in result.stderr


@pytest.mark.parametrize("verb", ["train", "run"])
def test_a_mistake_in_the_data_leaves_no_folder_of_a_run(verb, csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(verb, CONFIG, *sets(overrides(csv, "data.target=prize")))
    assert result.exit_code == 1 and "no column 'prize'" in result.stderr
    assert not list(tmp_path.glob("runs/*/*"))


def test_metrics_that_only_some_splits_have_are_shown(capsys):
    print_metrics({"train": {"f1": 0.5, "PER.f1": 0.25}, "test": {"f1": 0.75, "LOC.f1": 0.125}})
    lines = [line for line in capsys.readouterr().out.splitlines() if "f1" in line]
    rows = [[cell.strip() for cell in line.split("\u2502")[1:-1]] for line in lines]
    assert rows == [["f1", "0.5", "0.75"], ["PER.f1", "0.25", ""], ["LOC.f1", "", "0.125"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100", "is not a JSON object; write a row as"),
        ('{"arae": 3}', "unknown column 'arae'"),
        ('{"age": "ten"}', "age: must be a number, not 'ten'"),
        ('{"Area (m2)": 1, "age": 3, "Area__m2_": 2}', "contains a column twice: 'Area (m2)', 'Area__m2_'\n"),
        ('{"age": 1, "kind": "flat", "age": 2}', "contains a column twice: 'age'\n"),
    ],
)
def test_a_wrong_input_gets_one_line(text, expected, finished_export):
    result = invoke("predict", finished_export, text)
    assert result.exit_code == 1
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("verb", "file"), [("predict", "model.weights.h5"), ("predict", "preprocessor.npz"), ("evaluate", "data.json")]
)
def test_a_damaged_run_gets_one_line(verb, file, finished_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    (copy / file).write_text("garbage")
    result = invoke(verb, copy, *(["{}"] if verb == "predict" else []))
    assert result.exit_code == 1
    assert f"{copy / file}: is missing or damaged" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_bug_keeps_its_traceback(monkeypatch, finished_run):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("pipelines.commands.evaluate.evaluate", broken)
    result = invoke("evaluate", finished_run)
    assert isinstance(result.exception, RuntimeError)


def test_a_run_folder_in_use_is_left_alone(finished_run, csv):
    before = (finished_run / "metrics.json").read_bytes()
    result = invoke("train", CONFIG, *sets(overrides(csv)), "--run-dir", finished_run)
    assert result.exit_code == 1
    assert "already exists" in result.stderr
    assert (finished_run / "metrics.json").read_bytes() == before


NEVER = ["tensorflow", "keras"]
QUICK = [
    *(
        (arguments, [*NEVER, "pandas", "pydantic"])
        for arguments in (
            "tasks",
            "config house_prices",
            "config translator --minimal",
            "run nowhere.yaml",
            "train house_price",
            "train house_prices --set model",
            "tune house_prices --set =3",
        )
    ),
    *(
        (arguments, [*NEVER, "pandas"])
        for arguments in (
            "run house_prices README.md",
            "tasks entity_tagger",
            "config house_prices --schema",
            "config configs/benchmarks/btc.yaml",
            "train house_prices --set training.epoch=3",
            "tune translator --set optimizer.learning_rate=fast",
        )
    ),
    *(
        (f"train configs/benchmarks/{name}.yaml --set data.root=nowhere", NEVER)
        for name in (
            "btc",
            "california",
            "catvnoncat",
            "multi30k",
            "tiny_shakespeare",
        )
    ),
]


@pytest.mark.parametrize(("arguments", "unneeded"), QUICK, ids=[arguments for arguments, _ in QUICK])
def test_what_needs_no_tensorflow_does_not_wait_for_it(arguments, unneeded):
    code = (
        "import sys; from pipelines import cli; from click.testing import CliRunner;"
        f"result = CliRunner().invoke(cli.main, {arguments.split()!r}); print(result.output);"
        f"sys.exit(bool(set({unneeded!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip(), done.stdout + done.stderr


def test_data_that_was_read_before_tensorflow_is_not_read_again(csv, tmp_path, monkeypatch):
    from pipelines.tasks.house_prices import sources

    read = []
    monkeypatch.setattr(sources, "read_cells", lambda *given: read.append(given) or read_cells(*given))
    result = invoke("train", CONFIG, *sets(overrides(csv)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert len(read) == 1
