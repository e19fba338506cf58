"""The Open Inference Protocol over gRPC, asked with Triton's client, and what else of it HTTP answers."""

import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from serving import toys
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from pipelines.serving.grpc.inference_messages import MESSAGES, inference_service, message


@pytest.fixture(scope="module")
def client(toys_server):
    with triton.InferenceServerClient(f"127.0.0.1:{toys_server.grpc_port}") as client:
        yield client


@pytest.fixture(scope="module")
def stub(toys_server):
    with grpc.insecure_channel(f"127.0.0.1:{toys_server.grpc_port}") as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensor(name: str, values, datatype: str) -> triton.InferInput:
    array = np.array(values)
    given = triton.InferInput(name, array.shape, datatype)
    given.set_data_from_numpy(array)
    return given


def test_the_messages_are_those_that_clients_use():
    published = {method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert {method.name for method in inference_service().methods} <= published

    def all_of(messages):
        for each in messages:
            yield each.name, each
            yield from all_of(each.nested_types)

    theirs = dict(all_of(service_pb2.DESCRIPTOR.message_types_by_name.values()))
    for name in MESSAGES:
        fields = {field.number: field for field in theirs[name].fields}
        for field in message(name).DESCRIPTOR.fields:
            other = fields[field.number]
            assert (field.name, field.type, field.is_repeated) == (other.name, other.type, other.is_repeated), name


def test_server_and_models_are_described(client, toys_server):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("adder") and client.is_model_ready("adder", "1")
    assert not client.is_model_ready("none") and not client.is_model_ready("adder", "7")
    assert client.get_server_metadata().name == "keras-task-pipelines"
    described = client.get_model_metadata("adder", as_json=True)
    assert described["versions"] == ["1"] and described["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": ["-1"]}
    ]
    listed = toys_server.get("/v2/models").json()["models"]
    assert {"name": "adder", "version": "1", "state": "READY", "reason": ""} in listed


def test_tensors_are_raw_or_typed_as_they_came(client, stub):
    answer = client.infer("adder", [tensor("x", np.float32([1, 2]), "FP32")], request_id="7")
    assert answer.as_numpy("y").tolist() == [2, 3] and answer.get_response().id == "7"
    request = service_pb2.ModelInferRequest(model_name="adder", model_version="1")
    request.inputs.add(name="x", datatype="FP32", shape=[2, 1]).contents.fp32_contents.extend([1, 2])
    request.outputs.add(name="y")
    answer = stub.ModelInfer(request)
    (output,) = answer.outputs
    assert list(output.contents.fp32_contents) == [2, 3] and not answer.raw_output_contents
    answer = client.infer("words", [tensor("text", np.array([b"a bc"], object), "BYTES")])
    assert answer.as_numpy("words").tolist() == [[b"a", b"bc"]] and answer.as_numpy("length").tolist() == [4]
    request = service_pb2.ModelInferRequest(model_name="words")
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"a bc")
    outputs = {output.name: output.contents for output in stub.ModelInfer(request).outputs}
    assert list(outputs["words"].bytes_contents) == [b"a", b"bc"]
    echoed = client.infer("words", [tensor("numbers", np.int32([[1]]), "INT32")], parameters={"signature_name": "echo"})
    assert echoed.as_numpy("numbers").tolist() == [[1]]


def request_of(model: str = "adder", *, shape=(1,), datatype: str = "FP32", values=(1.0,), name: str = "x", raw=()):
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=raw)
    given = request.inputs.add(name=name, datatype=datatype, shape=shape)
    given.contents.fp32_contents.extend(values)
    return request


def shared(request):
    request.inputs[0].parameters["shared_memory_region"].string_param = "a"
    return request


MISTAKES = {
    "unknown model": (lambda: request_of("none"), "NOT_FOUND", "none"),
    "a version that is no number": (
        lambda: service_pb2.ModelInferRequest(model_name="adder", model_version="new"),
        "INVALID_ARGUMENT",
        "must be a number",
    ),
    "unknown input": (lambda: request_of(name="z"), "INVALID_ARGUMENT", "Missing but required: {x}"),
    "wrong type": (lambda: request_of(datatype="FP64"), "INVALID_ARGUMENT", "must have the datatype FP32"),
    "too few values": (lambda: request_of(shape=(2,)), "INVALID_ARGUMENT", "must have 2 values in fp32_contents"),
    "too few bytes": (lambda: request_of(raw=[b"123"]), "INVALID_ARGUMENT", "must have 4 bytes"),
    "more raw tensors than inputs": (lambda: request_of(raw=[b"1234"] * 2), "INVALID_ARGUMENT", "has 2 tensors"),
    "a shape below zero": (lambda: request_of(shape=(-1,)), "INVALID_ARGUMENT", "cannot have the shape"),
    "many rows": (lambda: request_of(shape=(2000,)), "INVALID_ARGUMENT", "2,000 rows"),
    "shared memory": (lambda: shared(request_of()), "INVALID_ARGUMENT", "not supported"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_its_code_and_reason(mistake, stub):
    make, code, reason = MISTAKES[mistake]
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(make(), timeout=60)
    assert error.value.code() is grpc.StatusCode[code] and reason in error.value.details()


def test_a_stream_has_a_message_for_each_piece_and_goes_on_after_a_mistake(client):
    answers: queue.Queue = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error or result))
    prompt = tensor("prompt", np.array([b"x"], object), "BYTES")
    parameters = {"signature_name": "stream_start"}
    client.async_stream_infer("writer", [prompt], parameters=parameters, request_id="1")
    client.async_stream_infer("none", [prompt], request_id="2")
    client.async_stream_infer("adder", [tensor("x", np.float32([1]), "FP32")], request_id="3")
    pieces = [answers.get(timeout=60) for _ in range(6)]
    assert [piece.as_numpy("finished").tolist() for piece in pieces] == [[False]] * 5 + [[True]]
    assert len(b"".join(piece.as_numpy("text")[0] for piece in pieces)) == 6
    assert all(piece.get_response().id == "1" for piece in pieces)
    failed, last = answers.get(timeout=60), answers.get(timeout=60)
    assert isinstance(failed, InferenceServerException) and "none" in str(failed)
    assert last.as_numpy("y").tolist() == [2] and last.get_response().id == "3"
    client.stop_stream()


def test_inferences_are_counted(client, toys_server):
    def stats() -> dict:
        return toys_server.get("/v2/models/judge/stats").json()["model_stats"][0]

    before = stats()
    example = np.array([b"", b""], object)
    for signature in ("twice", "none"):
        parameters = {"signature_name": signature}
        with pytest.raises(InferenceServerException):  # an example without its feature, and no such signature
            client.infer("judge", [tensor("examples", example, "BYTES")], parameters=parameters)
    body = {"signature_name": "twice", "examples": [{"x": 0.5}, {"x": 1.0}]}
    assert toys_server.post("/v1/models/judge:regress", body).status_code == 200
    after = stats()
    assert after["inference_count"] - before["inference_count"] == 4
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1
    assert after["inference_stats"]["fail"]["count"] - before["inference_stats"]["fail"]["count"] == 1
    counted = client.get_inference_statistics("judge", as_json=True)["model_stats"][0]
    assert int(counted["inference_count"]) == after["inference_count"]
    assert len(client.get_inference_statistics(as_json=True)["model_stats"]) > 5


def test_clients_load_and_unload_only_where_that_is_allowed(client, toys_server, started, tmp_path):
    with pytest.raises(InferenceServerException, match="--repository-control"):
        client.unload_model("adder")
    assert toys_server.post("/v2/repository/models/adder/unload", {}).status_code == 404
    toys.write_adder(tmp_path / "adder", 1)
    server = started(tmp_path / "adder", "--repository-control", "--poll-seconds", "60")
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as own:
        own.unload_model("adder")
        assert not own.is_model_ready("adder") and own.is_server_ready()
        answer = server.post("/v1/models/adder:predict", {"instances": [1]})
        assert answer.status_code == 503 and "unloaded" in answer.json()["error"]
        toys.write_adder(tmp_path / "adder", 2, plus=5)
        assert server.post("/v2/repository/models/adder/load", {}).status_code == 200
        assert own.is_model_ready("adder", "2")
        assert own.infer("adder", [tensor("x", np.float32([1]), "FP32")]).as_numpy("y").tolist() == [6]
        states = {(model.version, model.state) for model in own.get_model_repository_index().models}
        assert ("2", "READY") in states
        with pytest.raises(InferenceServerException, match="none"):
            own.load_model("none")


def test_version_0_is_the_newest_for_tensorflow_serving_s_clients(toys_server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.version.value = "adder", 0
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(1)
    with grpc.insecure_channel(f"127.0.0.1:{toys_server.grpc_port}") as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 60)
    assert answer.model_spec.version.value == 1 and list(answer.outputs["y"].float_val) == [2]


def test_a_stream_that_the_client_leaves_does_not_end_the_server(started, toy_exports):
    server = started(toy_exports / "writer")
    request = message("ModelInferRequest")(model_name="writer")
    request.parameters["signature_name"].string_param = "stream_start"
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"a")
    request.inputs.add(name="max_tokens", datatype="INT32", shape=[1]).contents.int_contents.append(900)
    sent = request.SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        for _ in range(10):
            calls = [stream(iter([sent] * 2), timeout=0.1) for _ in range(8)]
            for call in calls:
                with pytest.raises(grpc.RpcError) as error:
                    list(call)
                assert error.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL)
    assert server.get("/live").status_code == 200
