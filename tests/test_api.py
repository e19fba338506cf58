"""The Python API does what the command line does."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from conftest import CONFIG, houses, invoke, overrides

import pipelines

ROWS = houses(5, seed=3).drop(columns="price")


def test_importing_it_imports_nothing_heavy():
    code = "import sys, pipelines; sys.exit(bool({'tensorflow', 'keras', 'pandas', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_run_is_trained_with_settings_by_dotted_path(csv, tmp_path):
    settings = dict(setting.split("=", 1) for setting in overrides(csv))
    settings = {path: pipelines_value(value) for path, value in settings.items()}
    told = []
    run = pipelines.train(
        CONFIG, run_dir=tmp_path / "run", show=told.append, **{**settings, "model": "mlp", "training.epochs": 2}
    )
    assert len(run.history) == 2 and set(run.metrics) == {"train", "validation", "test"}
    assert told[0].startswith("examples") and run.report.is_dir()
    assert run.model.count_params() > 0 and "epochs: 2" in run.config.read_text()
    assert run.evaluate("validation") == run.metrics["validation"]


def pipelines_value(text):
    """Read an override's value as a Python user would write it."""
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(text)


def test_rows_are_answered_in_every_form_as_the_command_line_does(finished_run, finished_export):
    texts = [json.dumps(row) for row in ROWS.to_dict("records")]
    expected = json.loads(invoke("predict", finished_run, *texts, "--json").stdout)
    run, export = pipelines.load(finished_run), pipelines.load(finished_export)
    for inputs in (ROWS, ROWS.to_dict("records"), texts, iter(texts)):
        assert run.predict(inputs) == expected
    assert [row["price"] for row in export.predict(ROWS)] == pytest.approx([row["price"] for row in expected], rel=1e-5)
    assert run.predict(ROWS.iloc[0].to_dict()) == run.predict(texts[0]) == expected[:1]
    with_gaps = ROWS.assign(age=pd.to_numeric(ROWS["age"]).where(ROWS["age"] != "", float("nan")))
    assert run.predict(with_gaps) == expected


def test_texts_are_answered_from_a_list_and_from_a_column(exported_tagger):
    tagger, texts = pipelines.load(exported_tagger), ["Mr Bob Lee lives in Oslo 7."]
    assert tagger.predict(texts) == tagger.predict(texts[0]) == tagger.predict(pd.DataFrame({"text": texts}))
    with pytest.raises(pipelines.UserError, match="input 1: lacks 'text'; its keys are sentence"):
        tagger.predict([{"sentence": texts[0]}])


def test_a_run_is_exported_and_the_export_loaded(finished_run, tmp_path):
    export = pipelines.load(finished_run).export(tmp_path / "houses")
    assert export.folder == tmp_path / "houses" / "1"
    assert pipelines.load(tmp_path / "houses").predict(ROWS) == export.predict(ROWS)


def test_a_run_is_exported_and_its_folder_of_versions_served(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    served = []
    monkeypatch.setattr("pipelines.commands.serve.serve", lambda exports, **options: served.append((exports, options)))
    pipelines.load(finished_run).serve(port=8510)
    assert served == [([str(tmp_path / "exports" / "house_prices")], {"port": 8510})]


def test_mistakes_are_user_errors(csv, finished_run, tmp_path):
    with pytest.raises(pipelines.UserError, match="neither a run folder nor an export"):
        pipelines.load(tmp_path)
    with pytest.raises(pipelines.UserError, match="did you mean 'tabm'"):
        pipelines.train("house_prices", model="tabmm")
    with pytest.raises(pipelines.UserError, match="unknown column 'arae'"):
        pipelines.load(finished_run).predict({"arae": 3})


def test_data_and_models_are_listed():
    data = pipelines.load_data("house_prices", **{"split.train": 0.5, "split.test": 0.34})
    assert len(data.train) == 1465 and "price" in data.test
    assert next(iter(pipelines.models("house_prices"))) == "linear_regression"


def test_examples_that_a_config_excludes_are_left_out(csv, tmp_path):
    settings = {path: pipelines_value(value) for path, value in (each.split("=", 1) for each in overrides(csv))}
    settings["data"] |= {"exclude": [f"{csv}:5"]}
    data, whole = pipelines.load_data(CONFIG, **settings), len(pd.read_csv(csv))
    assert sum(data.record["examples"].values()) == whole - 1
