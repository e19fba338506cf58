"""What must hold under load: new versions while 64 clients ask, and an end that cuts none of them off."""

import json
import signal
import struct
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving import toys
from serving.load import PREDICT as PREDICT_CALL
from serving.load import Load, post, until_answered
from serving.servers import until
from tensorflow_serving.apis import predict_pb2

PREDICT = "/v1/models/adder:predict"


def rest() -> bytes:
    return post(PREDICT, b'{"instances": [1.0]}')


def binary() -> bytes:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    return post("/v2/models/adder/infer", head + struct.pack("<f", 1.0), **length)


def message(model: str = "adder") -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    return request.SerializeToString()


@pytest.mark.parametrize(("seconds", "every"), [(4, 0.8), pytest.param(60, 5, marks=pytest.mark.slow)])
def test_new_versions_under_load_fail_no_request(seconds, every, started, tmp_path):
    folder = tmp_path / "adder"
    toys.write_adder(folder, 1)
    server = started(folder)
    load = Load(server.port, [rest()] * 32 + [binary()] * 24, server.grpc_port, [message()] * 8)
    until_answered(load, 500, until)
    before, end, number = server.memory(), time.monotonic() + seconds, 1
    while time.monotonic() < end:
        number += 1
        toys.write_adder(folder, number)
        time.sleep(every)
        served = server.post(PREDICT, {"instances": [1.0]}).json()["predictions"]
        assert served[0]["y"] == 2 and served[0]["version"] in (number, number - 1)
        assert not load.failures, load.failures[:3]
    until(lambda: server.post(PREDICT, {"instances": [1]}).json()["predictions"][0]["version"] == number)
    load.stop()
    assert not load.failures, load.failures[:3]
    assert set(load.answers) == {b"200", b"grpc"} and min(load.answers.values()) > 50
    assert server.memory() - before < 200 << 20
    listed = server.get("/v1/models/adder").json()["model_version_status"]
    assert {state["version"]: state["state"] for state in listed}[str(number)] == "AVAILABLE"
    assert sum(state["state"] == "AVAILABLE" for state in listed) == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["adder", "slow"])
def test_sigterm_under_load_cuts_no_request_off(model, started, tmp_path):
    write = {"adder": lambda folder: toys.write_adder(folder, 1), "slow": lambda folder: toys.write_slow(folder, 0.1)}
    write[model](tmp_path / model)
    server = started(tmp_path / model)
    load = Load(server.port, [post(f"/v1/models/{model}:predict", b'{"instances": [1.0]}')] * 64)
    until_answered(load, 100, until)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(PREDICT_CALL).future(message(model), timeout=60)
        server.process.send_signal(signal.SIGTERM)
        answer = predict_pb2.PredictResponse.FromString(call.result())
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [{"adder": 2, "slow": 1}[model]]
    assert server.process.wait(30) == 0
    load.stop()
    assert not load.failures and set(load.answers) == {b"200"}
    assert load.answers[b"200"] > 100


def test_two_workers_share_a_port_and_their_figures(started, tmp_path):
    toys.write_adder(tmp_path / "adder", 1)
    server = started(tmp_path / "adder", "--workers", 2)
    for _ in range(20):  # each on a connection of its own
        until(lambda: server.post("/v1/models/adder:predict", {"instances": [1]}).status_code == 200)
    figures = server.get("/metrics").text
    counted = [
        line
        for line in figures.splitlines()
        if 'requests_total{code="200",model="adder",protocol="rest",version="1"}' in line
    ]
    assert float(counted[0].split()[1]) >= 20
    assert server.stop() == 0
