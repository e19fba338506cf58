"""The section `tracking`: what an MLflow server is told, and what happens without one."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import CONFIG, invoke, overrides, sets

from pipelines.runs.run import Run


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def tracked(csv, uri: str, *more: str) -> list[str]:
    return sets(overrides(csv, f"tracking={{name: mlflow, uri: '{uri}', experiment: houses}}", *more))


@pytest.mark.parametrize("verb", ["train", "tune", "compare"])
def test_a_password_in_the_address_is_refused_and_never_written(csv, tmp_path, verb):
    option = {"train": "--run-dir", "tune": "--search-dir", "compare": "--comparison-dir"}[verb]
    result = invoke(verb, CONFIG, *tracked(csv, "http://me:s3cret@127.0.0.1:5000"), option, tmp_path / "folder")
    assert result.exit_code == 1 and "s3cret" not in result.stderr
    assert "MLFLOW_TRACKING_PASSWORD" in result.stderr and "tracking.uri" in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_without_the_package_one_line_says_what_to_install(csv, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke("train", CONFIG, *tracked(csv, "http://127.0.0.1:1"), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and "pip install '.[mlflow]'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_server_that_is_not_there_stops_the_training_before_it_starts(csv, tmp_path):
    pytest.importorskip("mlflow")
    uri = f"http://127.0.0.1:{free_port()}"
    result = invoke("train", CONFIG, *tracked(csv, uri), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and "epoch" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert line.startswith("error: tracking.uri: ") and uri in line and "tracking=null" in line
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real server with its SQLite store."""
    if not all(importlib.util.find_spec(name) for name in ("mlflow", "flask", "sqlalchemy", "alembic")):
        pytest.skip("no MLflow server here: the extra installs its client only; pip install mlflow")
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db"]
    command += ["--artifacts-destination", "./artifacts", "--port", str(port), "--workers", "1"]
    variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{uri}/health").close()
            break
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(1)
    yield uri
    os.killpg(process.pid, 15)
    process.wait()


def runs_of(uri: str, experiment: str = "houses") -> list:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


@pytest.mark.slow
def test_a_server_has_the_settings_the_epochs_and_a_run_that_can_be_used(server, csv, tmp_path):
    result = invoke("train", CONFIG, *tracked(csv, server), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    client, (found,) = runs_of(server)
    assert found.info.status == "FINISHED" and found.info.run_name == "run"
    assert found.data.params["models.mlp.units"] == "[8]" and found.data.params["training.epochs"] == "4"
    assert not any(name.startswith(("tracking", "models.tabm")) for name in found.data.params)
    own = Run(tmp_path / "run")
    history = client.get_metric_history(found.info.run_id, "validation.rmsle")
    values = {metric.step: metric.value for metric in history}
    assert values == pytest.approx(own.history().set_index("epoch")["validation.rmsle"].to_dict())
    assert found.data.metrics["test.rmse"] == pytest.approx(own.metrics()["test"]["rmse"])
    there = tmp_path / "downloaded"
    there.mkdir()
    client.download_artifacts(found.info.run_id, "run", str(there))
    assert (there / "run" / "report" / "index.html").is_file() and not (there / "run" / "checkpoints").exists()
    row = '{"Area (m2)": 100, "age": 10, "district": "north"}'
    predicted = [invoke("predict", folder, row, "--json").output for folder in (tmp_path / "run", there / "run")]
    assert predicted[0] == predicted[1] and "price" in predicted[0]


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_its_run_and_a_failed_one_is_marked(server, csv, tmp_path):
    settings = ["tracking.experiment=resumed"]
    assert invoke("train", CONFIG, *tracked(csv, server, *settings), "--run-dir", tmp_path / "run").exit_code == 0
    longer = tracked(csv, server, *settings, "training.epochs=6", "training.patience=6")
    assert invoke("train", CONFIG, *longer, "--run-dir", tmp_path / "run", "--resume").exit_code == 0
    client, (found,) = runs_of(server, "resumed")
    assert [m.step for m in client.get_metric_history(found.info.run_id, "loss")] == [1, 2, 3, 4, 5, 6]
    broken = tracked(csv, server, "tracking.experiment=broken", "optimizer.learning_rate=1.0e+30")
    assert invoke("train", CONFIG, *broken, "--run-dir", tmp_path / "broken").exit_code == 1
    _, (failed,) = runs_of(server, "broken")
    assert failed.info.status == "FAILED"


@pytest.mark.slow
def test_each_trial_of_a_search_is_a_run_below_it(server, csv, tmp_path):
    search = "tuning={name: random, max_trials: 2, objective: validation.rmse, keep: 1, max_failures: 3}"
    arguments = tracked(csv, server, "tracking.experiment=search", search)
    assert invoke("tune", CONFIG, *arguments, "--search-dir", tmp_path / "s").exit_code == 0
    _, found = runs_of(server, "search")
    children = [each for each in found if "mlflow.parentRunId" in each.data.tags]
    (parent,) = [each for each in found if each not in children]
    assert {each.data.tags["mlflow.parentRunId"] for each in children} == {parent.info.run_id}
    scores = [each.data.metrics["best.validation.rmse"] for each in children]
    assert len(scores) == 2 and parent.data.metrics["validation.rmse"] == min(scores)
    assert all("optimizer.learning_rate" in each.data.params for each in children)
    again = invoke("tune", CONFIG, *arguments, "--search-dir", tmp_path / "s", "--resume")
    assert again.exit_code == 0 and len(runs_of(server, "search")[1]) == 3
    assert set(json.loads((tmp_path / "s" / "tracking.json").read_text())) == {"run_id", "trials"}
