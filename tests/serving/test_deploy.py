"""What `deploy/` holds is what the servers that it is for can read."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import httpx
import pytest
from google.protobuf import text_format
from packaging.requirements import Requirement
from ruamel.yaml import YAML
from serving.servers import ROOT, free_port, until
from tensorflow_serving.config import model_server_config_pb2

DEPLOY = ROOT / "deploy"


def test_tensorflow_serving_can_read_its_model_config():
    text = (DEPLOY / "tensorflow_serving" / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert [model.name for model in config.model_config_list.config] == ["house_prices", "cat_classifier"]


def test_the_probes_of_kserve_are_places_of_the_server(server):
    services = list(YAML(typ="safe").load_all((DEPLOY / "kserve.yaml").read_text()))
    assert [service["kind"] for service in services] == ["InferenceService"] * 2
    (container,) = services[1]["spec"]["predictor"]["containers"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert server.get(container[probe]["httpGet"]["path"]).status_code == 200


def test_docker_asks_the_server_for_its_health(toys_server):
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    (place,) = re.findall(r"^ENV READY_URL=http://127.0.0.1:8501(/.*)$", text, re.MULTILINE)
    (command,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)
    for url, healthy in ((toys_server.url + place, True), (f"http://127.0.0.1:{free_port()}{place}", False)):
        python, *arguments = json.loads(command)
        code = subprocess.run([sys.executable, *arguments], env={"READY_URL": url}, capture_output=True).returncode
        assert (python, code == 0) == ("python", healthy)


def test_the_image_installs_the_versions_of_the_lock(tmp_path):
    (program,) = re.findall(r"^RUN (sed .*requirements\.lock)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    lines = subprocess.run(
        program, shell=True, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pins = {Requirement(line).name: Requirement(line).specifier for line in lines}
    assert len(pins) > 100 and "2.21.0" in pins["tensorflow"]


def test_the_unit_of_systemd_starts_the_server_with_its_tokens(toy_exports, started, tmp_path):
    unit = (DEPLOY / "model-server.service").read_text()
    tokens = tmp_path / "tokens"
    tokens.write_text("billing: 6f1c0b2a9d")
    tokens.chmod(0o400)  # as systemd gives credentials
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    line = line.replace("${CREDENTIALS_DIRECTORY}", str(tmp_path)).replace("/srv/exports/house_prices", "")
    program, *arguments = shlex.split(line)
    server = started(toy_exports / "adder", command=("cli.py", *arguments))
    assert program.endswith("/bin/pipelines") and server.get("/v1/models/adder").status_code == 401
    assert server.get("/v1/models/adder", headers={"Authorization": "Bearer 6f1c0b2a9d"}).status_code == 200


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path):
    unit = tmp_path / "model-server.service"
    unit.write_text(
        (DEPLOY / "model-server.service").read_text().replace("/opt/model-server/bin/pipelines", "/bin/true")
    )
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
def test_two_replicas_answer_on_ray_serve(toy_exports, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray import serve

    monkeypatch.syspath_prepend(str(ROOT))
    from deploy.ray_serve import application
    from pipelines.serving.settings import ModelSettings, Settings

    port = free_port()
    ray.init(num_cpus=4, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    try:
        serve.start(http_options={"port": port})
        serve.run(
            application(
                Settings({name: ModelSettings(toy_exports / name) for name in ("adder", "speller")}), replicas=2
            ),
            name="models",
        )
        url = f"http://127.0.0.1:{port}"
        until(lambda: httpx.get(f"{url}/ready").status_code == 200, 120)
        deployment = serve.status().applications["models"].deployments["models"]
        assert deployment.replica_states == {"RUNNING": 2}
        for number in range(20):
            answer = httpx.post(f"{url}/v1/models/adder:predict", json={"instances": [number]}, timeout=60)
            assert answer.json()["predictions"][0]["y"] == number + 1
        answer = httpx.post(f"{url}/v1/models/speller:stream", json={"inputs": {"prompt": ["ab"]}}, timeout=60)
        assert answer.text.count("data: ") == 2
    finally:
        serve.shutdown()
        ray.shutdown()
