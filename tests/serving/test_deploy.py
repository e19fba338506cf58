"""What `deploy/` holds is what the servers that it is for can read."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading

import httpx
import pytest
from google.protobuf import text_format
from packaging.requirements import Requirement
from ruamel.yaml import YAML
from serving.servers import ROOT, free_port, until
from tensorflow_serving.config import model_server_config_pb2

from pipelines.cli import main

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


def test_the_runtime_of_kserve_serves_the_mounted_model_under_the_name_of_the_service(toy_exports, started):
    runtime, service = YAML(typ="safe").load_all((DEPLOY / "kserve_runtime.yaml").read_text())
    (container,) = runtime["spec"]["containers"]
    (served,) = runtime["spec"]["supportedModelFormats"]
    model = service["spec"]["predictor"]["model"]
    assert (model["runtime"], model["modelFormat"]["name"]) == (runtime["metadata"]["name"], served["name"])
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    places = {"{{.Name}}": service["metadata"]["name"], "/mnt/models": str(toy_exports / "adder")}
    arguments = container["args"]
    for place, content in places.items():
        arguments = [each.replace(place, content) for each in arguments]
    server = started(command=("cli.py", "serve", *arguments))
    answer = server.post("/v1/models/house-prices:predict", {"instances": [1]})
    assert answer.status_code == 200
    for probe in ("readinessProbe", "livenessProbe"):
        assert server.get(container[probe]["httpGet"]["path"]).status_code == 200


CHART = DEPLOY / "helm" / "model-server"
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def rendered(*options: str) -> dict[str, dict]:
    """Render the chart; return its resources by kind."""
    command = ["helm", "template", "models", CHART, *(part for option in options for part in ("--set", option))]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = re.sub("defaultMode: 0", "defaultMode: 0o", text)  # Kubernetes reads octal numbers as YAML 1.1 has them
    return {resource["kind"]: resource for resource in YAML(typ="safe").load_all(text) if resource}


@needs_helm
def test_the_chart_is_sound():
    done = subprocess.run(["helm", "lint", "--strict", CHART], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert set(rendered()) == {"ConfigMap", "Deployment", "Service"}
    options = ("ingress.enabled=true", "autoscaling.enabled=true")
    found = rendered(*options)
    assert set(found) == {"ConfigMap", "Deployment", "Service", "Ingress", "HorizontalPodAutoscaler"}
    assert "replicas" not in found["Deployment"]["spec"], "the autoscaler sets them"


@needs_helm
def test_the_chart_starts_a_server_that_can_read_its_tokens(toy_exports, started, tmp_path):
    found = rendered("tokens.secret=tokens")
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folders = {mount["name"]: tmp_path / mount["name"] for mount in container["volumeMounts"]}
    for folder in folders.values():
        folder.mkdir()
    (secret,) = (volume["secret"] for volume in pod["volumes"] if volume["name"] == "tokens")
    tokens = folders["tokens"] / "tokens"
    tokens.write_text("billing: 6f1c0b2a9d")
    tokens.chmod(secret["defaultMode"])
    text = found["ConfigMap"]["data"]["serve.yaml"].replace("/exports/house_prices", str(toy_exports / "adder"))
    (folders["config"] / "serve.yaml").write_text(text)
    places = {mount["mountPath"]: str(folders[mount["name"]]) for mount in container["volumeMounts"]}
    arguments = [re.sub("=(/.*)(/.*)", lambda path: f"={places[path[1]]}{path[2]}", each) for each in container["args"]]
    server = started(command=("cli.py", "serve", *arguments))
    place = "/v1/models/house_prices"
    assert secret["defaultMode"] == 0o440 and server.get(place).status_code == 401
    assert server.get(place, headers={"Authorization": "Bearer 6f1c0b2a9d"}).status_code == 200
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server.get(container[probe]["httpGet"]["path"]).status_code == 200


@needs_helm
def test_the_chart_serves_tls_and_asks_over_it():
    (container,) = rendered("tls.secret=tls")["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {container[probe]["httpGet"]["scheme"] for probe in container if probe.endswith("Probe")} == {"HTTPS"}
    assert "--tls-key=/etc/model-server-tls/tls.key" in container["args"]


def test_the_values_of_the_chart_are_those_that_it_uses():
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([\w.]+)", templates))
    values = YAML(typ="safe").load((CHART / "values.yaml").read_text())
    whole = {"config", "exports", "resources", "podAnnotations", "nodeSelector", "affinity"}  # passed on as they are
    given = set()
    for name, value in values.items():
        nested = isinstance(value, dict) and name not in whole
        given |= {f"{name}.{key}" for key in value} if nested else {name}
    assert used == given
    assert templates.count("secretName: {{ . }}, defaultMode: 0440") == 2
    assert YAML(typ="safe").load((CHART / "Chart.yaml").read_text())["apiVersion"] == "v2"


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


def understood(arguments: list[str]) -> dict:
    """The parsed arguments of a command of the command line."""
    verb, *rest = arguments
    return main.commands[verb].make_context(verb, rest).params


def test_the_pods_of_the_training_job_find_each_other():
    service, job = YAML(typ="safe").load_all((DEPLOY / "train-job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    program, *arguments = container["command"]
    wanted = understood(arguments)
    (mount,) = container["volumeMounts"]
    assert program == "pipelines" and wanted["resume"]
    assert all(wanted[name].startswith(mount["mountPath"]) for name in ("config", "run_dir"))
    name, count = job["metadata"]["name"], job["spec"]["completions"]
    assert service["spec"]["selector"] == {"job-name": name} and job["spec"]["parallelism"] == count
    host = job["spec"]["template"]["spec"]["subdomain"]
    assert (host, service["spec"]["clusterIP"]) == (service["metadata"]["name"], "None")
    settings = {each["name"]: each.get("value") for each in container["env"]}
    for index in range(count):
        config = json.loads(settings["TF_CONFIG"].replace("$(INDEX)", str(index)))
        port = container["ports"][0]["containerPort"]
        assert config["cluster"] == {"worker": [f"{name}-{pod}.{host}:{port}" for pod in range(count)]}
        assert config["task"] == {"type": "worker", "index": index}


def test_the_ray_job_has_a_worker_for_each_process_and_all_see_the_files():
    job = YAML(typ="safe").load((DEPLOY / "train-ray-job.yaml").read_text())["spec"]
    program, *arguments = job["entrypoint"].split()
    wanted = understood(arguments)
    cluster = job["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert (program, wanted["resume"], wanted["ray"], wanted["processes"]) == ("pipelines", True, "auto", 2)
    assert {workers[name] for name in ("replicas", "minReplicas", "maxReplicas")} == {wanted["processes"]}
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,), (volume,) = pod["containers"], pod["volumes"]
        (mount,) = container["volumeMounts"]
        assert mount["name"] == volume["name"]
        assert all(wanted[name].startswith(mount["mountPath"]) for name in ("config", "run_dir"))


@pytest.mark.parametrize(("code", "restarts", "requeued"), [(0, 0, False), (1, 0, True), (1, 3, False)])
def test_the_slurm_script_trains_and_is_queued_again_if_a_task_fails(code, restarts, requeued, tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    for name, ends in (("srun", code), ("scontrol", 0)):
        program = tmp_path / name
        program.write_text(f'#!/bin/bash\necho "$@" > {name}.txt\nexit {ends}\n')
        program.chmod(0o755)
    slurm = {"SLURM_RESTART_COUNT": str(restarts), "SLURM_JOB_ID": "7", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ["bash", DEPLOY / "train.slurm", "my.yaml", "runs/big"]
    done = subprocess.run(script, cwd=tmp_path, env=slurm, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    option, program, *arguments = (tmp_path / "srun.txt").read_text().split()
    assert (option, program) == ("--kill-on-bad-exit=1", "pipelines")
    wanted = understood(arguments)
    assert (wanted["config"], wanted["run_dir"], wanted["resume"]) == ("my.yaml", "runs/big", True)
    queue = tmp_path / "scontrol.txt"
    assert (queue.exists() and queue.read_text() == "requeue 7\n") == requeued


def test_a_replica_starts_only_when_its_models_are_loaded(toy_exports, monkeypatch):
    from pipelines.serving.http.app import create_app
    from pipelines.serving.models import catalogue
    from pipelines.serving.settings import ModelSettings, Settings

    loads, goes_on, load = threading.Event(), threading.Event(), catalogue._loaded

    def load_slowly(folder):
        loads.set()
        goes_on.wait()
        return load(folder)

    monkeypatch.setattr(catalogue, "_loaded", load_slowly)

    async def scenario():
        app = create_app(Settings({"adder": ModelSettings(toy_exports / "adder")}), with_grpc=False, starts_ready=True)
        asked, told = asyncio.Queue(), asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        running = asyncio.create_task(app(scope, asked.get, told.put))
        await asked.put({"type": "lifespan.startup"})
        await asyncio.to_thread(loads.wait)
        try:
            for _ in range(50):  # as long as the model loads
                await asyncio.sleep(0.01)
                assert told.empty()
        finally:
            goes_on.set()
        assert (await told.get())["type"] == "lifespan.startup.complete"
        assert scope["state"]["service"].ready
        await asked.put({"type": "lifespan.shutdown"})
        await running

    asyncio.run(scenario())


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
