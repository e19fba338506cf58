"""A server with its settings in a file, and of each model."""

import json
from dataclasses import replace

import pytest
from conftest import invoke
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from serving import toys
from serving.servers import ROOT

from pipelines.cli import main
from pipelines.commands.serve import read_settings
from pipelines.serving.config import config_schema
from pipelines.serving.settings import LogSettings, Settings

EXAMPLE = ROOT / "configs" / "server" / "serve.yaml"
SCHEMA = ROOT / "configs" / "schemas" / "serve.json"


def write(folder, text: str):
    path = folder / "serve.yaml"
    path.write_text(text)
    return path


def plus(server, place: str) -> float:
    return server.post(f"/v1/models/{place}:predict", {"instances": [0]}).json()["predictions"][0]["y"]


def test_a_server_has_the_settings_of_its_file_and_of_its_arguments(started, tmp_path):
    for number in (1, 2, 3):
        toys.write_adder(tmp_path / "adder", number, plus=number)
        toys.write_adder(tmp_path / "further", number, plus=10 * number)
    text = f"""
models:
  sums: {{folder: {tmp_path}/adder, labels: {{stable: 1, canary: 2}}}}
  kept: {{folder: {tmp_path}/adder, versions: [1, 2]}}
  pinned: {{folder: {tmp_path}/adder, versions: [1, 2], labels: {{canary: 3}}}}
  moved: {{folder: {tmp_path}/adder, labels: {{stable: 1}}}}
max_body_bytes: 200
max_text_bytes: 10
token_variable: MODELS_TOKEN
"""
    moved, canary = f"moved={tmp_path}/further", "sums:canary=3"
    arguments = ("--config", write(tmp_path, text), moved, f"new={tmp_path}/further", "--label", canary)
    server = started(*arguments, "--max-body-bytes", 300, MODELS_TOKEN="6f1c0b2a9d", PIPELINES_TOKEN="another")
    assert server.get("/v1/models/sums", headers={"Authorization": "Bearer another"}).status_code == 401
    asked = {"headers": {"Authorization": "Bearer 6f1c0b2a9d"}}
    found = {}
    for place in ("sums", "sums/labels/canary", "kept", "kept/versions/1", "kept/versions/3", "pinned", "moved", "new"):
        answer = server.post(f"/v1/models/{place}:predict", {"instances": [0]}, **asked).json()
        found[place] = answer["predictions"][0]["y"] if "predictions" in answer else None
    assert found == {
        "sums": 1,
        "sums/labels/canary": 3,
        "kept": 2,
        "kept/versions/1": 1,
        "kept/versions/3": None,
        "pinned": 2,
        "moved": 10,
        "new": 30,
    }
    for count, status in ((100, 200), (150, 413)):  # 250 and 350 bytes
        assert server.post("/v1/models/sums:predict", {"instances": [1] * count}, **asked).status_code == status


def test_a_model_has_settings_of_its_own_and_the_servers_otherwise(tmp_path):
    for name in ("one", "two"):
        toys.write_adder(tmp_path / name, 1)
    log = f"{{folder: {tmp_path}/log, share: 0.5, max_mb: 1}}"
    text = f"""
max_queue: 7
models:
  one: {{folder: {tmp_path}/one, max_batch_size: 3, parallel_batches: 5, inference_seconds: 2, request_log: {log}}}
  two: {{folder: {tmp_path}/two, max_queue: 8}}
"""
    settings = read_settings([], str(write(tmp_path, text)), max_batch_size=4)
    one, two = settings.of("one"), settings.of("two")
    assert one.request_log == LogSettings(tmp_path / "log", 0.5, 1.0) and two.request_log is None
    assert (one.max_batch_size, one.max_queue, one.runners, one.inference_seconds) == (3, 7, 5, 2)
    assert two == replace(settings, max_queue=8) and two.max_batch_size == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modls: {}", ":1: modls: unknown setting; did you mean 'models'?"),
        ("port: 1\nworker: 2", ":2: worker: unknown setting; did you mean 'workers'?"),
        ("models:\n  a:\n    foldr: x", ":3: models.a.foldr: unknown setting; did you mean 'folder'?"),
        ("models:\n  a: {}", ":2: models.a.folder: required setting is missing; `pipelines config serve`"),
        ("models:\n  a: {folder: {}/adder, max_queue: 0}", ":2: models.a.max_queue: should be greater than or equal"),
        ("models:\n  a: {folder: nowhere}", ":2: models.a.folder: no such folder"),
        (
            "models:\n  a:\n    folder: {}/adder\n    labels:\n      stable: 4",
            ":5: models.a.labels.stable: there is no",
        ),
        ("models:\n  a: {folder: {}/adder, versions: [1, 4]}", ":2: models.a.versions.1: there is no version 4"),
        ("models:\n  a: {folder: {}/adder, shadow: 4}", ":2: models.a.shadow: there is no version 4"),
        (
            "models:\n  a:\n    folder: {}/adder\n    traffic: {1: 9, 4: 1}",
            ":4: models.a.traffic.4: there is no version",
        ),
        ("models:\n  a: {folder: {}/adder, traffic: {stable: 0}}", ":2: models.a.traffic: all weights are 0"),
        ("models:\n  a: {folder: {}/adder, traffic: {stable: -1}}", "models.a.traffic.stable: should be greater"),
        (
            "request_log: {folder: x, shar: 1, max_mb: 9}",
            ":1: request_log.shar: unknown setting; did you mean 'share'?",
        ),
        ("request_log:\n  folder: x\n  share: 1.5\n  max_mb: 9", ":3: request_log.share: should be less than or equal"),
        ("models:\n  a:\n    folder: {}/adder\n    request_log: {foldr: x}", "did you mean 'folder'?"),
        ("models:\n  a/b: {folder: {}/adder}", ":2: models.a/b: String should match pattern"),
        ("port: '8501'", ":1: port: should be a valid integer, not '8501'"),
        ("host: 3", ":1: host: should be a valid string"),
        ("token: 6f1c0b2a9d", ":1: token: unknown setting; did you mean 'tokens'?"),
        ("token_variable: NO_SUCH_VARIABLE", ":1: token_variable: the environment has no variable NO_SUCH_VARIABLE"),
        ("port: [", ": not valid YAML"),
        ("- port", ": a config must be a YAML mapping; `pipelines config serve`"),
        ("port: 1", "has no model; name folders that `export` wrote, or give a config with `models`"),
    ],
)
def test_a_mistake_in_a_config_is_told_with_its_place(text, said, tmp_path):
    toys.write_adder(tmp_path / "adder", 1)
    result = invoke("serve", "--config", write(tmp_path, text.replace("{}/", f"{tmp_path}/")))
    assert result.exit_code == 1 and said in result.output and "Traceback" not in result.output
    assert "6f1c0b2a9d" not in result.output


def test_each_option_is_a_key_of_the_config_and_each_key_in_the_example():
    (serve,) = (command for name, command in main.commands.items() if name == "serve")
    options = {option.name for option in serve.params} - {"exports", "config", "verbose", "token", "labels"}
    schema = json.loads(SCHEMA.read_text())
    assert schema == json.loads(json.dumps(config_schema())), "run `make schemas`"
    assert set(schema["properties"]) == options | {"models", "token_variable", "request_log"}
    example = EXAMPLE.read_text()
    Draft202012Validator(schema).validate(YAML(typ="safe").load(example))
    assert all(f"{key}: " in example for key in (schema["properties"].keys() - {"models"}))
    assert all(f"    {key}: " in example for key in schema["$defs"]["model"]["properties"])


def test_the_example_and_its_schema_are_printed():
    printed = invoke("config", "serve").output
    head, _, example = printed.partition("\n")
    assert head == f"# yaml-language-server: $schema={SCHEMA}" and example == EXAMPLE.read_text()
    assert json.loads(invoke("config", "serve", "--schema").output) == json.loads(SCHEMA.read_text())


def test_the_example_has_the_defaults_of_the_server(tmp_path, monkeypatch):
    for name in ("house_prices", "translator"):
        for number in (1, 2):
            toys.write_adder(tmp_path / "exports" / name, number)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINES_TOKEN", raising=False)
    settings = read_settings([], str(EXAMPLE))
    assert settings == Settings(settings.models)
