"""What `deploy/` holds is what the servers that it is for can read."""

import httpx
import pytest
from google.protobuf import text_format
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


@pytest.mark.slow
def test_two_replicas_answer_on_ray_serve(toy_exports, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray import serve

    monkeypatch.syspath_prepend(str(ROOT))
    from deploy.ray_serve import application
    from pipelines.serving.settings import Settings

    port = free_port()
    ray.init(num_cpus=4, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    try:
        serve.start(http_options={"port": port})
        serve.run(
            application(Settings({name: toy_exports / name for name in ("adder", "speller")}), replicas=2),
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
