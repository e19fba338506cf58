"""The Open Inference Protocol, asked with Triton's client."""

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def client(server):
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=60, connection_timeout=60)
    yield client
    client.close()


def tensor(name: str, values, datatype: str, binary: bool = True) -> triton.InferInput:
    array = np.array(values, object if datatype == "BYTES" else "float32")
    made = triton.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("adder", "1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    about = client.get_model_metadata("houses")
    assert about["platform"] == "tensorflow_savedmodel" and about["versions"] == ["1"]
    assert {"name": "district", "datatype": "BYTES", "shape": [-1]} in about["inputs"]
    prices = [{"name": name, "datatype": "FP32", "shape": [-1]} for name in ("price", "price_high", "price_low")]
    assert sorted(about["outputs"], key=lambda output: output["name"]) == prices


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_are_answered_as_json_rows_are(binary, client, server):
    inputs = [
        tensor("Area__m2_", [100, 50], "FP32", binary),
        tensor("age", [10, 20], "FP32", binary),
        tensor("district", ["old town", "none"], "BYTES", binary),
    ]
    outputs = [triton.InferRequestedOutput("price", binary_data=binary)]
    answer = client.infer("houses", inputs, outputs=outputs, request_id="7")
    body = {"inputs": {"Area__m2_": [100, 50], "age": [10, 20], "district": ["old town", "none"]}}
    expected = server.post("/v1/models/houses:predict", body).json()["outputs"]["price"]
    assert answer.as_numpy("price").tolist() == pytest.approx(expected, rel=1e-5)
    assert (answer.get_response()["id"], answer.get_response()["model_version"]) == ("7", "1")


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_texts_of_all_outputs_come_as_bytes_unless_asked_otherwise(compression, client):
    options = {"request_compression_algorithm": compression, "response_compression_algorithm": compression}
    answer = client.infer("words", [tensor("text", ["a bc", "d"], "BYTES")], model_version="1", **options)
    assert answer.as_numpy("words").tolist() == [[b"a", b"bc"], [b"d", b""]]
    assert answer.as_numpy("lengths").tolist() == [[1, 2], [1, 0]]


def test_another_signature_by_a_parameter(client):
    inputs = [tensor("numbers", [[1, 2], [3, 4]], "FP32")]
    answer = client.infer("words", inputs, parameters={"signature_name": "sums"})
    assert answer.as_numpy("sum").tolist() == [3, 7]


def test_mistakes_reach_the_client_as_its_exceptions(client):
    x = tensor("x", [1], "FP32")
    for model, inputs, status, reason in (
        ("none", [x], "404", "Latest(none)"),
        ("adder", [tensor("z", [1], "FP32")], "400", "Missing but required: {x}"),
        ("adder", [tensor("x", ["a"], "BYTES")], "400", "datatype FP32, not BYTES"),
        ("adder", [tensor("x", [[1, 2]], "FP32")], "400", "must have the shape (any), not (1, 2)"),
    ):
        with pytest.raises(InferenceServerException) as error:
            client.infer(model, inputs)
        assert (error.value.status(), reason in error.value.message()) == (status, True), error.value.message()


BODIES = {
    "no inputs": ({}, "must be a list of tensors"),
    "no shape": ({"inputs": [{"name": "x", "datatype": "FP32", "data": [1]}]}, "the shape of input 'x' must be a list"),
    "too few values": (
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1]}]},
        "must have 2 values",
    ),
    "many dimensions": (
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1] * 70, "data": [1]}]},
        "cannot have the shape",
    ),
    "a long dimension": (
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [0, 1 << 70], "data": []}]},
        "cannot have the shape",
    ),
    "bytes that are not there": (
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]},
        "binary_data_size",
    ),
    "an unknown output": (
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}], "outputs": [{"name": "z"}]},
        "no output 'z'",
    ),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_mistake_gets_its_reason(body, server):
    content, reason = BODIES[body]
    answer = server.post("/v2/models/adder/infer", content)
    assert answer.status_code == 400 and reason in answer.json()["error"]


def test_a_wrong_length_of_the_json_part_is_refused(server):
    for length in ("-1", "x", "999"):
        answer = server.post("/v2/models/adder/infer", {}, headers={"Inference-Header-Content-Length": length})
        assert answer.status_code == 400 and "Inference-Header-Content-Length" in answer.json()["error"]
