"""TensorFlow Serving's gRPC services, asked with the stubs that others publish."""

import socket

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving import toys
from serving.servers import Server, until
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

SECONDS = 60


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(name: str, signature: str = "", **inputs) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def example(x: float) -> tf.train.Example:
    return tf.train.Example(
        features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[x]))})
    )


def test_a_host_may_be_one_of_ipv6(toy_exports, tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = Server(tmp_path / "log.jsonl", toy_exports / "adder", "--host", "::1", host="[::1]")
    try:
        with grpc.insecure_channel(f"[::1]:{server.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert stub.Predict(predict_request("adder", x=np.float32([1])), SECONDS).outputs
    finally:
        server.stop()


class Starting(Server):
    """A server that a test does not wait for."""

    def wait(self) -> None:
        """Go on at once."""


def test_predictions_wait_until_the_models_are_loaded(tmp_path):
    for name in ("adder", *(f"other{number}" for number in range(4))):
        toys.write_adder(tmp_path / name, 1)
    server = Starting(tmp_path / "log.jsonl", *sorted(tmp_path.glob("[ao]*")))
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_request("other3", x=np.float32([1]))
            answer = stub.Predict(request, timeout=120, wait_for_ready=True)
            assert tf.make_ndarray(answer.outputs["y"]).tolist() == [2]
    finally:
        assert server.stop() == 0


def test_tensors_are_answered_like_json(server, prediction):
    inputs = {"Area__m2_": np.float32([100, 50]), "age": np.float32([10, np.nan]), "district": ["old town", "none"]}
    answer = prediction.Predict(predict_request("houses", **inputs), SECONDS)
    assert (answer.model_spec.version.value, answer.model_spec.signature_name) == (1, "serving_default")
    body = {"inputs": {**{k: v.tolist() for k, v in inputs.items() if k != "district"}, "district": inputs["district"]}}
    body["inputs"]["age"][1] = None
    expected = server.post("/v1/models/houses:predict", body).json()["outputs"]
    assert set(answer.outputs) == set(expected) == {"price", "price_low", "price_high"}
    for name, values in expected.items():
        assert tf.make_ndarray(answer.outputs[name]).tolist() == pytest.approx(values, rel=1e-5)


def test_texts_and_a_filter_of_outputs(prediction):
    request = predict_request("words", text=["a bc", ""])
    request.output_filter.append("words")
    answer = prediction.Predict(request, SECONDS)
    assert set(answer.outputs) == {"words"}
    assert tf.make_ndarray(answer.outputs["words"]).tolist() == [[b"a", b"bc"], [b"", b""]]


def test_texts_that_are_left_out_are_empty(prediction):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "words"
    tensor = request.inputs["text"]
    tensor.dtype = tf.string.as_datatype_enum
    tensor.tensor_shape.dim.add(size=2)
    assert list(prediction.Predict(request, 60).outputs["length"].int_val) == [0, 0]


def test_examples_are_classified_regressed_and_both(prediction):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "judge"
    request.input.example_list.examples.append(example(0.25))
    classes = prediction.Classify(request, SECONDS).result.classifications[0].classes
    assert [(c.label, c.score) for c in classes] == [("low", 0.75), ("high", 0.25)]

    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "judge", "twice"
    request.input.example_list_with_context.context.CopyFrom(example(0.5))
    request.input.example_list_with_context.examples.append(tf.train.Example())
    assert prediction.Regress(request, SECONDS).result.regressions[0].value == 1.0

    both = inference_pb2.MultiInferenceRequest()
    for signature, method in (("", "classify"), ("twice", "regress")):
        task = both.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "judge", signature
    both.input.example_list.examples.append(example(0.25))
    first, second = prediction.MultiInference(both, SECONDS).results
    assert first.classification_result.classifications[0].classes[1].score == 0.25
    assert second.regression_result.regressions[0].value == 0.5


def test_metadata_and_status(channel, prediction):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "adder"
    answer = prediction.GetModelMetadata(request, SECONDS)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def["serving_default"].outputs) == {"y", "version"}

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "adder"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, SECONDS)
    state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(s.version, s.state) for s in status.model_version_status] == [(1, state)]


def test_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    until(
        lambda: health.Check(health_pb2.HealthCheckRequest(), SECONDS).status == health_pb2.HealthCheckResponse.SERVING
    )


def reload_request(names: list[str], **config) -> model_management_pb2.ReloadConfigRequest:
    request = model_management_pb2.ReloadConfigRequest()
    for name in names:
        request.config.model_config_list.config.add(name=name, **(config if name == "adder" else {}))
    return request


def test_a_reload_sets_labels_and_nothing_else(server, channel, prediction):
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    names = list(server.get("/ready").json()["models"])
    service.HandleReloadConfigRequest(reload_request(names, version_labels={"beta": 1}), SECONDS)
    request = predict_request("adder", x=np.float32([1]))
    request.model_spec.version_label = "beta"
    assert prediction.Predict(request, SECONDS).model_spec.version.value == 1
    for wrong in (
        reload_request(names[:1]),
        reload_request(names, base_path="/tmp"),
        reload_request(names, version_labels={"beta": 9}),
    ):
        with pytest.raises(grpc.RpcError) as error:
            service.HandleReloadConfigRequest(wrong, SECONDS)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def huge() -> predict_pb2.PredictRequest:
    request = predict_request("adder", x=np.float32([1]))
    request.inputs["x"].tensor_shape.dim[0].size = 1 << 40
    return request


MISTAKES = {
    "unknown model": (lambda: predict_request("none"), "NOT_FOUND", "Latest(none)"),
    "no model": (lambda: predict_request(""), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "missing input": (lambda: predict_request("adder"), "INVALID_ARGUMENT", "Missing but required: {x}"),
    "wrong type": (lambda: predict_request("adder", x=[1]), "INVALID_ARGUMENT", "must be float32, not int32"),
    "wrong shape": (
        lambda: predict_request("adder", x=np.float32([[1, 2]])),
        "INVALID_ARGUMENT",
        "must have the shape (any)",
    ),
    "no rows": (lambda: predict_request("adder", x=np.zeros([0], "f4")), "INVALID_ARGUMENT", "empty"),
    "a shape beyond its values": (huge, "INVALID_ARGUMENT", ""),
    "no signature": (lambda: predict_request("adder", "z", x=np.float32([1])), "INVALID_ARGUMENT", "not found"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_its_code_and_reason(mistake, prediction):
    make, code, reason = MISTAKES[mistake]
    with pytest.raises(grpc.RpcError) as error:
        prediction.Predict(make(), SECONDS)
    assert error.value.code() is grpc.StatusCode[code]
    assert reason in error.value.details() and "Traceback" not in error.value.details()
