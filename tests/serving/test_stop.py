"""SIGTERM under load cuts no request off."""

import signal
import threading

import grpc
import httpx
import numpy as np
import tensorflow as tf
from serving import toys
from serving.servers import until
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def test_requests_under_way_are_finished(started, tmp_path):
    toys.write_slow(tmp_path / "slow")
    server = started(tmp_path / "slow", "--max-batch-size", 2)
    answered, cut_off, gone = [], [], threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while not gone.is_set():
                try:
                    answer = client.post(f"{server.url}/v1/models/slow:predict", json={"instances": [2.0]})
                    answered.append((answer.status_code, answer.json()))
                except httpx.ConnectError:
                    gone.set()
                except httpx.TransportError as error:
                    cut_off.append(error)
                    gone.set()

    clients = [threading.Thread(target=ask) for _ in range(6)]
    for client in clients:
        client.start()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "slow"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([3])))
    until(lambda: len(answered) > 4)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request, 60)
        server.process.send_signal(signal.SIGTERM)
        assert tf.make_ndarray(call.result().outputs["y"]).tolist() == [3]
    for client in clients:
        client.join()
    assert server.process.wait(30) == 0
    assert not cut_off
    assert all(answer == (200, {"predictions": [2.0]}) for answer in answered)


def test_two_workers_share_a_port_and_their_figures(started, tmp_path):
    toys.write_adder(tmp_path / "adder", 1)
    server = started(tmp_path / "adder", "--workers", 2)
    for _ in range(20):  # each on a connection of its own
        until(lambda: server.post("/v1/models/adder:predict", {"instances": [1]}).status_code == 200)
    figures = server.get("/metrics").text
    counted = [
        line for line in figures.splitlines() if 'requests_total{code="200",model="adder",protocol="rest"}' in line
    ]
    assert float(counted[0].split()[1]) >= 20
    assert server.stop() == 0
