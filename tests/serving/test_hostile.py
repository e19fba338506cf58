"""Small requests that mean much work are refused before the work, over every protocol."""

import base64
import gzip
import json
import re
import socket

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving.servers import until
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2

from pipelines.serving.conversion import CHUNK, parse_json, parse_message
from pipelines.serving.grpc.inference_messages import message
from pipelines.serving.request_errors import RequestError

MANY = 3 << 20
MOST = 1 << 20


def listed(value: bytes, count: int = MANY) -> bytes:
    return (value + b",") * (count - 1) + value


BODIES = {
    "nulls": ("/v1/models/adder:predict", b'{"instances":[%b]}' % listed(b"null")),
    "nulls by columns": ("/v1/models/adder:predict", b'{"inputs":{"x":[%b]}}' % listed(b"null")),
    "objects": ("/v1/models/adder:predict", b'{"instances":[%b]}' % listed(b"{}")),
    "nested lists": ("/v1/models/words:predict", b'{"inputs":[%b]}' % listed(b"[[]]")),
    "texts": ("/v1/models/words:predict", b'{"instances":[%b]}' % listed(b'""')),
    "empty lists": (
        "/v2/models/adder/infer",
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[%b]}]}' % listed(b"[]"),
    ),
    "empty examples": ("/v1/models/judge:classify", b'{"examples":[%b]}' % listed(b"{}")),
    "keys": ("/v1/models/adder:predict", b"{%b}" % listed(b'"a":1')),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_small_body_of_many_values_is_refused_before_it_is_converted(name, toys_server):
    path, body = BODIES[name]
    before = toys_server.memory()
    answer = httpx.post(
        toys_server.url + path, content=gzip.compress(body, 1), headers={"Content-Encoding": "gzip"}, timeout=60
    )
    assert answer.status_code == 400
    assert "more than 1,048,576 values" in answer.json()["error"]
    assert toys_server.memory() - before < 200 << 20


ROWS = {
    "rows": ("/v1/models/adder:predict", b'{"instances":[%b]}' % listed(b"null", 1 << 19)),
    "columns": ("/v1/models/adder:predict", b'{"inputs":{"x":[%b]}}' % listed(b"1", 1 << 19)),
    "examples": ("/v1/models/judge:classify", b'{"examples":[%b]}' % listed(b"{}", 1 << 17)),
    "tensors": (
        "/v2/models/adder/infer",
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[524288],"data":[%b]}]}' % listed(b"1", 1 << 19),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_counted_before_they_are_converted(name, toys_server):
    path, body = ROWS[name]
    answer = httpx.post(toys_server.url + path, content=body, timeout=60)
    assert answer.status_code == 400 and "rows; at most 1,024" in answer.json()["error"]


def test_texts_of_no_bytes_in_binary_form_are_counted(toys_server):
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, MANY], "parameters": {"binary_data_size": 4 * MANY}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    path = f"{toys_server.url}/v2/models/words/infer"
    answer = httpx.post(path, content=head + bytes(4 * MANY), headers=headers, timeout=60)
    assert answer.status_code == 400 and "texts; at most 1,048,576" in answer.json()["error"]


def predict_message(tensor: bytes) -> bytes:
    """A request for `adder` with this tensor, written by hand, as a client that is no friend does."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adder"
    entry = b"\x0a\x01x\x12" + varint(len(tensor)) + tensor
    return request.SerializeToString() + b"\x12" + varint(len(entry)) + entry


def varint(value: int) -> bytes:
    written = b""
    while value > 127:
        written, value = written + bytes([value & 127 | 128]), value >> 7
    return written + bytes([value])


def classify_message() -> bytes:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "judge"
    examples = b"\x0a\x00" * MANY
    given = b"\x0a" + varint(len(examples)) + examples
    return request.SerializeToString() + b"\x12" + varint(len(given)) + given


MESSAGES = {
    "empty texts": ("Predict", lambda: predict_message(b"\x08\x07" + b"\x42\x00" * MANY)),
    "packed whole numbers": ("Predict", lambda: predict_message(b"\x08\x03\x3a" + varint(MANY) + bytes(MANY))),
    "packed numbers": ("Predict", lambda: predict_message(b"\x08\x01\x2a" + varint(4 * MANY) + bytes(4 * MANY))),
    "empty examples": ("Classify", classify_message),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_of_many_values_is_refused_before_it_is_parsed(name, toys_server):
    method, message = MESSAGES[name]
    before = toys_server.memory()
    with grpc.insecure_channel(f"127.0.0.1:{toys_server.grpc_port}") as channel:
        call = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
        with pytest.raises(grpc.RpcError) as error:
            call(message(), timeout=60)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "more than 1,048,576 values" in error.value.details()
    assert toys_server.memory() - before < 200 << 20


def test_a_message_that_is_none_is_refused(toys_server):
    with grpc.insecure_channel(f"127.0.0.1:{toys_server.grpc_port}") as channel:
        for message in (b"\x00", b"\xff" * 20, b"\x12\x7f", b"\xff" * MANY, b"\x12" + varint(MANY * 2) + bytes(MANY)):
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(message, timeout=60)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, error.value.details()


def test_a_large_tensor_in_binary_form_counts_as_one_value():
    proto = tensor_pb2.TensorProto(tensor_content=bytes(1000), dtype=1)
    assert parse_message(tensor_pb2.TensorProto, proto.SerializeToString(), 10) == proto
    proto = tensor_pb2.TensorProto(float_val=[1.0] * 9)
    assert parse_message(tensor_pb2.TensorProto, proto.SerializeToString(), 10) == proto
    with pytest.raises(RequestError, match="more than 8 values"):
        parse_message(tensor_pb2.TensorProto, proto.SerializeToString(), 8)


ODD = st.text(st.sampled_from('a\\",[{\n\u00e9'), max_size=8)
JSON = st.recursive(ODD | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(ODD, inner))


@given(JSON, st.integers(-3, 3))
def test_json_values_are_counted_outside_strings_only_wherever_the_content_is_cut(value, shift):
    content = json.dumps([value, "x"], ensure_ascii=False).encode()
    padded = content[:1] + b" " * (CHUNK - len(content) // 2 + shift) + content[1:]
    exact = len(re.findall(rb"[,\[{]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", content, flags=re.DOTALL)))
    assert parse_json(padded, exact) == [value, "x"]
    with pytest.raises(RequestError):
        parse_json(padded, exact - 1)


@pytest.mark.parametrize("path", ["/v2/models/adder/versions/{}/ready", "/v1/models/adder/versions/{}"])
@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19, "-1", "x"])
def test_a_version_that_is_no_number_of_64_bits_is_refused(path, number, toys_server):
    answer = toys_server.get(path.format(number))
    assert answer.status_code in (400, 404) and answer.json()["error"]


def test_a_length_and_a_version_of_thousands_of_digits_are_refused(toys_server):
    headers = {"Inference-Header-Content-Length": "9" * 5000}
    answer = toys_server.post("/v2/models/adder/infer", {}, headers=headers)
    assert answer.status_code == 400 and "must be a whole number" in answer.json()["error"]
    request = message("ModelReadyRequest")(name="adder", version="9" * 5000)
    with grpc.insecure_channel(f"127.0.0.1:{toys_server.grpc_port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
        with pytest.raises(grpc.RpcError) as error:
            call(request.SerializeToString(), timeout=60)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("dtype", [0, 3, 7, 20, 21, 99, 101])
def test_a_tensor_of_a_type_that_no_client_can_send_is_refused(dtype, toys_server):
    with grpc.insecure_channel(f"127.0.0.1:{toys_server.grpc_port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as error:
            call(predict_message(b"\x08" + varint(dtype) + b"\x12\x00"), timeout=60)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, error.value.details()
    assert "'x' must be float32" in error.value.details()


def test_an_error_that_quotes_bytes_that_are_no_text_is_one_of_the_client(toys_server):
    body = {"instances": [{"b64": base64.b64encode(b"\xf0\xff" * 9).decode()}]}
    answer = toys_server.post("/v1/models/judge:predict", body)
    assert answer.status_code == 400 and "failed on these inputs" in answer.json()["error"]


@pytest.mark.parametrize("model", ["writer", "mirror"])
def test_more_choices_than_a_server_can_note_are_refused(model, toys_server):
    body = {"model": model, "prompt": "a", "n": 10**20}
    answer = toys_server.post("/v1/completions", body)
    assert answer.status_code == 400 and "the prompts times n" in answer.json()["error"]["message"]


def test_requests_on_one_connection_that_the_client_leaves_are_all_given_up(toys_server):
    body = b'{"inputs":{"prompt":["a"],"max_tokens":[900]}}'
    head = b"POST /v1/models/writer:stream HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", toys_server.port)) as client:
            client.sendall((head + body) * 5)
    until(lambda: "pipelines_requests_under_way 1.0" in toys_server.get("/metrics").text)
    log = toys_server.log.read_text()
    assert "Traceback" not in log and "ASGI callable" not in log


def test_the_playground_refuses_a_body_that_is_no_text(toys_server):
    pytest.importorskip("gradio")
    toys_server.get("/playground/config", follow_redirects=True)
    answer = httpx.post(f"{toys_server.url}/playground/gradio_api/queue/join", content=b"\x80\xff" * 9, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]
    headers = {"Content-Type": f"multipart/form-data; boundary={'x' * 300}"}
    answer = httpx.post(f"{toys_server.url}/playground/gradio_api/upload", content=b"--x", headers=headers, timeout=60)
    assert answer.status_code == 400
    assert toys_server.post("/playground/gradio_api/component_server", {"data": [1]}).status_code == 404
    assert toys_server.get("/playground/gradio_api/call/x/y").status_code == 404
