"""Canaries, which get a share of the requests, and shadows, which get copies of them."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from prometheus_client.parser import text_string_to_metric_families
from serving import toys
from serving.servers import Server, until
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tritonclient import grpc as triton

from pipelines.serving.models.catalogue import ServedModel
from pipelines.serving.settings import ModelSettings
from pipelines.serving.shadow import MOST, differences

PREDICT = "/v1/models/adder:predict"


def write_config(folder, model: str):
    path = folder / "serve.yaml"
    path.write_text(f"models: {{adder: {{folder: {folder}/adder, {model}}}}}")
    return path


def wait_for(server: Server, *versions: int) -> Server:
    """Wait until all these versions are loaded; a server is ready with the first."""
    until(lambda: server.get("/ready").json()["models"]["adder"] == [*versions])
    return server


def samples(server: Server, name: str) -> dict[tuple[str, ...], float]:
    """Read a metric by the values of its labels, but the model, in the order of their names."""
    found = {}
    for family in text_string_to_metric_families(server.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name:
                found[tuple(sample.labels[label] for label in sorted(sample.labels) if label != "model")] = sample.value
    return found


def rest(server: Server, **headers: str) -> int:
    answer = server.post(PREDICT, {"instances": [1]}, headers=headers)
    return answer.json()["predictions"][0]["version"]


def open_inference(server: Server, key: str) -> int:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    answer = server.post("/v2/models/adder/infer", {"inputs": [tensor]}, headers={"X-Routing-Key": key})
    return int(answer.json()["model_version"])


def tensorflow_grpc(server: Server, key: str, label: str = "") -> int:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adder"
    if label:
        request.model_spec.version_label = label
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(request, 60, metadata=[("x-routing-key", key)]).model_spec.version.value


def triton_grpc(server: Server, key: str) -> int:
    tensor = triton.InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(np.float32([1]))
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        answer = client.infer("adder", [tensor], headers={"x-routing-key": key})
    return int(answer.get_response().model_version)


def test_requests_are_divided_by_weight_and_copied_to_the_shadow_over_every_protocol(started, tmp_path):
    for number in (1, 2, 3, 4):
        toys.write_adder(tmp_path / "adder", number, plus=min(number, 3))
    config = write_config(tmp_path, "labels: {stable: 1, canary: 2}, traffic: {stable: 75, canary: 25}, shadow: 4")
    server = wait_for(started("--config", config), 1, 2, 4)
    drawn = [rest(server, **{"X-Request-ID": f"request-{number}"}) for number in range(100)]
    assert set(drawn) == {1, 2} and 10 <= drawn.count(2) <= 40
    keys = [f"user-{number}" for number in range(12)]
    kept = [rest(server, **{"X-Routing-Key": key}) for key in keys]
    assert set(kept) == {1, 2}
    for ask in (open_inference, tensorflow_grpc, triton_grpc):
        assert [ask(server, key) for key in keys] == kept
    copied = 100 + 4 * len(keys)
    until(lambda: sum(samples(server, "pipelines_shadow_requests_total").values()) == copied)
    for _ in range(5):  # requests that name a version are neither divided nor copied
        assert tensorflow_grpc(server, "user-0", "canary") == 2
        assert server.get("/v1/models/adder/labels/stable").status_code == 200
    assert samples(server, "pipelines_shadow_requests_total") == {("different", "4"): copied}
    assert samples(server, "pipelines_shadow_difference_count") == {("y", "4"): copied, ("version", "4"): copied}
    timed = samples(server, "pipelines_shadow_seconds_count")
    assert timed["4",] == copied == timed["1",] + timed["2",]
    asked = samples(server, "pipelines_requests_total")
    assert sum(value for (_, _, version), value in asked.items() if version == "4") == 0
    assert "shadow failed" not in server.log.read_text()


def test_a_faulty_or_endless_shadow_changes_nothing_for_clients(started, tmp_path):
    toys.write_adder(tmp_path / "adder", 1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "other")])
    def serve(other):
        return {"y": other}

    toys.write_version(tmp_path / "adder", 2, serve=serve)
    server = wait_for(started("--config", write_config(tmp_path, "labels: {stable: 1}, shadow: 2")), 1, 2)
    assert [rest(server) for _ in range(5)] == [1] * 5
    until(lambda: samples(server, "pipelines_shadow_requests_total") == {("error", "2"): 5})
    assert server.log.read_text().count("shadow failed") == 1, "it is told once"
    server.stop()
    toys.write_endless(tmp_path / "adder", 3)
    server = wait_for(started("--config", write_config(tmp_path, "labels: {stable: 1}, shadow: 3")), 1, 3)
    assert [rest(server) for _ in range(MOST + 10)] == [1] * (MOST + 10)
    assert samples(server, "pipelines_shadow_requests_total") == {("dropped", "3"): 10}
    assert server.stop() == 0


def test_a_shadow_without_effect_and_traffic_without_a_version_are_told(started, tmp_path):
    toys.write_adder(tmp_path / "adder", 1)
    config = write_config(tmp_path, "traffic: {1: 1, canary: 1}, shadow: next")
    server = started("--config", config)
    assert {rest(server) for _ in range(10)} == {1}
    log = server.log.read_text()
    assert log.count("traffic or shadow not used") == 2 and "no such version is served" in log
    server.stop()
    server = started("--config", write_config(tmp_path, "shadow: 1"))
    assert "it answers the clients itself" in server.log.read_text() and rest(server) == 1


def routed(traffic: dict[str, float], versions: dict[int, str], labels: dict[str, int], keys: int = 20_000):
    model = ServedModel("adder", ModelSettings("", traffic=traffic), lambda: None)
    model.versions, model.labels = versions, labels
    return [model.routed(f"key {number}") for number in range(keys)], model


def test_shares_follow_the_weights_and_a_growing_one_keeps_its_clients():
    versions, labels = {1: "one", 2: "two", 3: "three"}, {"stable": 1, "canary": 2}
    few, model = routed({"stable": 95, "canary": 5}, versions, labels)
    assert abs(few.count("two") / len(few) - 0.05) < 0.005 and "three" not in few
    assert {model.routed("") for _ in range(1000)} == {"one", "two"}, "without a key, each is drawn"
    more, _ = routed({"stable": 60, "canary": 40}, versions, labels)
    assert abs(more.count("two") / len(more) - 0.4) < 0.02
    assert all(later == "two" for before, later in zip(few, more, strict=True) if before == "two")
    by_number, _ = routed({"1": 60, "2": 40}, versions, {})
    assert by_number == more
    alone, _ = routed({"stable": 95, "canary": 5}, versions, {"stable": 1})
    assert set(alone) == {"one"}, "the share of a version that is not served goes to the others"
    none, _ = routed({"canary": 5}, versions, {"stable": 1})
    assert set(none) == {"one"}
    switched_off, _ = routed({"stable": 1, "canary": 0}, versions, labels)
    assert set(switched_off) == {"one"}


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0),
        ([1.0, 2.0], [1.0, 1.0], 0.25),
        ([1.0, 0.0], [1.0, 0.0], 0),
        ([1.0, 0.0], [1.0, 5.0], 0.5),
        ([1.0], [-1.0], 1),
        ([float("nan"), float("inf")], [float("nan"), float("inf")], 0),
        ([float("nan"), 1.0], [1.0, 1.0], 0.5),
        ([1.0], [1.0, 2.0], 1),
        ([3, 4], [3, 2], 0.25),
        ([True, False], [True, True], 0.5),
        ([b"cat", b"dog"], [b"cat", b"cow"], 0.5),
        ([], [], 0),
    ],
)
def test_the_difference_of_two_answers(one, other, difference):
    arrays = [np.array(values, object if values and isinstance(values[0], bytes) else None) for values in (one, other)]
    assert differences({"y": arrays[0], "z": arrays[0]}, {"y": arrays[1]}) == {"y": difference}
