"""What clients of other servers send, and what they read from the answers."""

import base64
import json

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from conftest import invoke
from serving import toys
from serving.servers import until
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from pipelines.serving.models.protos import from_proto, put_proto
from pipelines.serving.models.tensors import Spec

INFER = "/v2/models/{}/infer"
TYPES = "half bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool string complex64"


@pytest.fixture(scope="module")
def odd_exports(tmp_path_factory):
    """Exports of shapes and types that are less usual."""
    folder = tmp_path_factory.mktemp("odd")
    any_rank, column = tf.TensorSpec(None, tf.float32, "x"), tf.TensorSpec([None, 1], tf.float32, "x")

    @tf.function(input_signature=[any_rank])
    def serve(x):
        return {"least": tf.reduce_min(x), "most": tf.reduce_max(x)}

    @tf.function(input_signature=[any_rank])
    def ragged(x):
        return {"parts": tf.RaggedTensor.from_row_lengths(tf.reshape(x, [-1]), [tf.size(x)])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def odd_numbers(x):
        return {"y": tf.math.log(x), "bytes": tf.fill(tf.shape(x), tf.constant(b"\xff\xfe"))}

    @tf.function(input_signature=[column])
    def column_plus_two(x):
        return {"y": x / 2 + 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def echo(text):
        return {"text": tf.strings.join([text, ""])}

    toys.write_version(
        folder / "odd", 1, serve=serve, ragged=ragged, numbers=odd_numbers, column=column_plus_two, echo=echo
    )
    one = [tf.TensorSpec([None], tf.string, "inputs")]

    def x_of(examples):
        return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]

    @tf.function(input_signature=one)
    def classify(inputs):
        return {"scores": x_of(inputs) + 1}

    @tf.function(input_signature=one)
    def regress(inputs):
        return {"outputs": x_of(inputs) * 2}

    toys.write_version(folder / "judge2", 1, classify_x=classify, regress_x=regress)  # TensorFlow 2: no method names
    toys.write_adder(folder / "adder", 1)
    (folder / "adder" / "\u00b2").mkdir()
    (folder / "adder" / "\u00b2" / "saved_model.pb").write_bytes(b"")
    (folder / "adder" / str(1 << 63)).mkdir()
    (folder / "adder" / str(1 << 63) / "saved_model.pb").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def odd(odd_exports, tmp_path_factory):
    from serving.servers import Server

    folder = tmp_path_factory.mktemp("odd_server")
    running = Server(folder / "log.jsonl", *sorted(odd_exports.iterdir()), "--grpc-socket", folder / "socket")
    running.socket = folder / "socket"
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def stub(odd):
    with grpc.insecure_channel(f"unix:{odd.socket}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.mark.parametrize("name", TYPES.split())
def test_tensors_are_answered_in_the_field_of_their_type(name):
    dtype = tf.as_dtype(name)
    kind = dtype.as_numpy_dtype
    array = np.array([[b"a"], [b"\xff"]], object) if name == "string" else np.array([[0], [1]]).astype(kind)
    proto = tf.make_tensor_proto(0)
    proto.Clear()
    put_proto(proto, array, dtype)
    assert not proto.tensor_content
    assert tf.make_ndarray(proto).tolist() == array.tolist()
    if not dtype.is_complex:
        assert from_proto(proto, Spec("x", dtype, (None, 1))).tolist() == array.tolist()


def predict(stub, model: str, signature: str, value):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(value))
    return stub.Predict(request, 60)


def test_answers_over_grpc_are_read_as_those_of_tensorflow_serving(stub):
    answer = predict(stub, "adder", "", np.float32([1, 2]))
    assert list(answer.outputs["y"].float_val) == [2, 3] and list(answer.outputs["version"].int_val) == [1, 1]


def test_a_scalar_stands_for_a_tensor_of_one_value(stub):
    assert list(predict(stub, "odd", "column", np.float32(2)).outputs["y"].float_val) == [3]
    assert list(predict(stub, "odd", "column", np.float32([2, 4])).outputs["y"].float_val) == [3, 4]


def test_a_flat_list_stands_for_a_column_and_is_answered_flat(odd):
    place, signature = "/v1/models/odd:predict", {"signature_name": "column"}
    assert odd.post(place, {**signature, "inputs": [2, 3.0, 4]}).json() == {"outputs": [3, 3.5, 4]}
    assert odd.post(place, {**signature, "instances": [2, 3.0]}).json() == {"predictions": [3, 3.5]}
    assert odd.post(place, {**signature, "instances": [[2], [3]]}).json() == {"predictions": [[3], [3.5]]}
    assert odd.post(place, {**signature, "instances": [{"x": [2]}]}).json() == {"predictions": [[3]]}
    assert odd.post(place, {**signature, "inputs": [[2, 3]]}).status_code == 400


def test_models_of_tensorflow_2_classify_and_regress_without_method_names(stub, odd):
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(2)
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "judge2", "classify_x"
    request.input.example_list.examples.append(example)
    assert stub.Classify(request, 60).result.classifications[0].classes[0].score == 3
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "judge2", "regress_x"
    request.input.example_list.examples.append(example)
    assert stub.Regress(request, 60).result.regressions[0].value == 4
    both = inference_pb2.MultiInferenceRequest()
    for name in ("classify", "regress"):
        task = both.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name, task.model_spec.signature_name = "judge2", f"{name}_x"
    both.input.example_list.examples.append(example)
    first, second = stub.MultiInference(both, 60).results
    assert first.classification_result.classifications[0].classes[0].score == 3
    assert second.regression_result.regressions[0].value == 4
    body = {"signature_name": "regress_x", "examples": [{"x": 2.0}]}
    assert odd.post("/v1/models/judge2:regress", body).json() == {"results": [4]}


def test_outputs_without_rows_are_no_error_of_the_server(odd):
    answer = odd.post("/v1/models/odd:predict", {"instances": [1, 2]})
    assert answer.status_code == 400 and "use 'inputs'" in answer.json()["error"]
    assert odd.post("/v1/models/odd:predict", {"inputs": [1, 2]}).json() == {"outputs": {"least": 1, "most": 2}}


def test_a_ragged_output_takes_away_its_signature_only(odd):
    answer = odd.post("/v1/models/odd:predict", {"signature_name": "ragged", "instances": [1]})
    assert answer.status_code == 400 and "not found" in answer.json()["error"]
    assert '"signature":"ragged"' in odd.log.read_text()


def test_folders_whose_names_are_no_int64_are_no_versions(odd, odd_exports):
    assert odd.get("/ready").json()["models"]["adder"] == [1]
    toys.write_adder(odd_exports / "adder", 2)
    until(lambda: odd.get("/ready").json()["models"]["adder"] == [2])


def infer(server, model: str, signature: str, tensor: dict, **fields) -> httpx.Response:
    body = {"inputs": [tensor], "parameters": {"signature_name": signature} if signature else None, **fields}
    return server.post(INFER.format(model), body)


def test_a_column_of_one_value_per_row_and_nulls_are_taken(odd):
    tensor = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [[1], [2]], "parameters": None}
    answer = infer(odd, "adder", "", tensor, id=None, outputs=None)
    assert answer.status_code == 200, answer.text
    assert "id" not in answer.json()
    assert [tensor["data"] for tensor in answer.json()["outputs"] if tensor["name"] == "y"] == [[2, 3]]


def test_texts_may_be_base64_as_in_mlserver(odd):
    tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    answer = infer(odd, "odd", "echo", tensor | {"data": [base64.b64encode(b"\xff").decode()]})
    (output,) = answer.json()["outputs"]
    assert output["parameters"] == {"content_type": "base64"} and base64.b64decode(output["data"][0]) == b"\xff"
    answer = infer(odd, "odd", "echo", tensor | {"data": ["a"], "parameters": {"content_type": "str"}})
    assert answer.json()["outputs"][0]["data"] == ["a"]


def test_the_json_of_numbers_that_are_none_is_json(odd):
    tensor = {"name": "x", "shape": [3], "datatype": "FP32", "data": [0, -1, 1]}
    answer = infer(odd, "odd", "numbers", tensor)

    def refuse(constant):
        raise AssertionError(constant)

    outputs = {output["name"]: output for output in json.loads(answer.text, parse_constant=refuse)["outputs"]}
    assert outputs["y"]["data"] == [None, None, 0]
    assert outputs["bytes"]["parameters"] == {"content_type": "base64"}


def test_shared_memory_is_refused_not_ignored(odd):
    region = {"shared_memory_region": "a", "shared_memory_byte_size": 4}
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    for body in (
        {"inputs": [tensor | {"parameters": region}]},
        {"inputs": [tensor], "outputs": [{"name": "y", "parameters": region}]},
    ):
        answer = odd.post(INFER.format("adder"), body)
        assert answer.status_code == 400 and "shared memory is not supported" in answer.json()["error"]


def test_shapes_in_metadata(odd):
    outputs = odd.get("/v2/models/odd").json()["outputs"]
    assert {output["name"]: output["shape"] for output in outputs} == {"least": [], "most": []}


@pytest.mark.parametrize("place", ["/live", "/ready", "/metrics", "/v2", "/v1/models/adder", "/docs"])
def test_head_is_answered_like_get(odd, place):
    given, wanted = httpx.head(odd.url + place), httpx.get(odd.url + place)
    assert (given.status_code, given.content) == (200, b"")
    assert given.headers["content-type"] == wanted.headers["content-type"]


def test_a_slash_at_the_end_and_the_place_of_metrics_in_tensorflow_serving(odd):
    assert odd.get("/v2/").status_code == odd.get("/v1/models/adder/").status_code == 200
    assert odd.post(f"{INFER.format('adder')}/", {}).status_code == 400
    assert "pipelines_requests_total" in odd.get("/monitoring/prometheus/metrics").text


REFUSED = {
    "an empty token": ([], {"PIPELINES_TOKEN": ""}, "token: is empty"),
    "a token of an empty option": (["--token", ""], {}, "token: is empty"),
    "a token with a line break": ([], {"PIPELINES_TOKEN": "secret\n"}, "white space"),
    "a label of no version": (["--label", "adder:stable=9"], {}, "there is no version 9"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_server_that_would_be_open_or_wrong_does_not_start(case, toy_exports, monkeypatch):
    options, environment, reason = REFUSED[case]
    monkeypatch.delenv("PIPELINES_TOKEN", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = invoke("serve", toy_exports / "adder", *options)
    assert result.exit_code == 1 and reason in result.output


def test_a_server_open_to_the_network_without_a_token_says_so(started, toy_exports, tmp_path):
    toys.write_adder(tmp_path / "adder", 1)
    (tmp_path / "adder" / "labels.json").write_text('{"stable": 7}')
    server = started(tmp_path / "adder", "--host", "0.0.0.0", "--workers", 2)
    events = {line["event"]: line for line in map(json.loads, server.log.read_text().splitlines())}
    assert events["no token"]["level"] == "warning" and "PIPELINES_TOKEN" in events["no token"]["reason"]
    assert events["label of a missing version"]["version"] == 7
