"""Calls that take too long, that nobody waits for, or that run when the server stops."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving import toys
from serving.servers import until
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from pipelines.serving.models.runs import Runs
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import Kind, RequestError

ENDLESS = 3600.0  # seconds


@pytest.fixture(scope="module")
def endless(tmp_path_factory) -> Path:
    """A model whose answer nobody can wait for; a warm-up request that fails would leave it out, so it has none."""
    return toys.write_endless(tmp_path_factory.mktemp("endless") / "endless").parent


def test_a_late_answer_is_refused_and_hinders_no_other_model(endless, toy_exports, started):
    server = started(endless, toy_exports / "adder", "--inference-seconds", 3)
    answers = []
    asked = [threading.Thread(target=lambda: answers.append(ask(server))) for _ in range(20)]
    for one in asked:
        one.start()
    until(lambda: "pipelines_requests_under_way 2" in server.get("/metrics").text)
    for _ in range(5):
        assert server.post("/v1/models/adder:predict", {"instances": [1]}).status_code == 200
    assert not answers, "the others were answered meanwhile"
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "endless"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, pytest.raises(grpc.RpcError) as error:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 60)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "within 3 s" in error.value.details()
    for one in asked:
        one.join()
    for answer in answers:
        assert answer.status_code == 503 and "did not answer within 3 s" in answer.json()["error"]
    assert server.post("/v1/models/endless:predict", {"instances": [-1]}).json() == {"predictions": [-1]}


def ask(server):
    return server.post("/v1/models/endless:predict", {"instances": [1]})


def test_a_server_stops_although_a_call_runs(endless, started):
    server = started(endless, "--stop-seconds", 1)
    asked = threading.Thread(target=lambda: ask_in_vain(server))
    asked.start()
    until(lambda: "pipelines_requests_under_way 2" in server.get("/metrics").text)
    assert server.stop() == 0
    asked.join()
    assert "Traceback" not in server.log.read_text()


def ask_in_vain(server) -> None:
    try:
        ask(server)
    except Exception as error:
        assert "disconnected" in str(error) or "reset" in str(error)


def test_a_call_ends_when_nobody_waits_for_it(endless):
    signature = Version(endless / "1").signatures["serving_default"]

    async def scenario():
        runs = Runs()
        call = asyncio.create_task(runs.call(ENDLESS, ThreadPoolExecutor(1), signature.call, {"x": np.float32([1])}))
        while not runs.active:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        while runs.active:  # forever, were it not cancelled
            await asyncio.sleep(0.01)
        with pytest.raises(RequestError) as error:
            await Runs().call(0.2, ThreadPoolExecutor(1), signature.call, {"x": np.float32([1])})
        assert error.value.kind is Kind.LATE
        with pytest.raises(RequestError):  # also one that TensorFlow cannot interrupt
            await Runs().call(0.1, ThreadPoolExecutor(1), time.sleep, 0.5)

    asyncio.run(scenario())


def test_the_end_of_one_call_does_not_cancel_another(endless):
    signature = Version(endless / "1").signatures["serving_default"]
    entered, ended = threading.Event(), threading.Event()

    def waiting() -> dict:
        entered.set()
        ended.wait()
        return signature.call({"x": np.float32([-1])})

    async def scenario():
        runs, pool = Runs(), ThreadPoolExecutor(2)
        call = asyncio.create_task(runs.call(ENDLESS, pool, waiting))
        await asyncio.to_thread(entered.wait)
        with pytest.raises(RequestError):
            await runs.call(0.1, pool, time.sleep, 1.0)
        ended.set()  # while the thread of the call that was too late still sleeps
        assert (await call)["y"].tolist() == [-1]

    asyncio.run(scenario())
