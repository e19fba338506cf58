"""New versions, broken ones, labels, and what becomes of the old."""

import asyncio
import json

import grpc
import numpy as np
import tensorflow as tf
from conftest import invoke
from prometheus_client.parser import text_string_to_metric_families
from serving import toys
from serving.servers import until
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from pipelines.serving.folders import checked_folders
from pipelines.serving.settings import ModelSettings


def version(server, place: str = "adder") -> int | str:
    answer = server.post(f"/v1/models/{place}:predict", {"instances": [1]}).json()
    return answer["predictions"][0]["version"] if "predictions" in answer else answer["error"]


def states(server) -> dict[str, str]:
    listed = server.get("/v1/models/adder").json()["model_version_status"]
    return {state["version"]: state["state"] for state in listed}


def test_versions_come_and_go(started, tmp_path):
    folder = tmp_path / "adder"
    toys.write_adder(folder, 1)
    server = started(folder)
    for number in (2, 3):
        toys.write_adder(folder, number)
        until(lambda number=number: version(server) == number)
    until(lambda: states(server) == {"1": "END", "2": "END", "3": "AVAILABLE"})

    toys.break_version(folder / "3", 4)  # it never replaces a good one, and is not tried again and again
    until(lambda: states(server).get("4") == "END")
    assert version(server) == 3 and server.get("/ready").status_code == 200
    toys.write_adder(folder, 5)
    until(lambda: version(server) == 5)
    events = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [event["version"] for event in events if event["event"] == "version not loaded"] == [4]
    assert version(server, "adder/versions/1").startswith("Servable not found")


def test_a_fault_without_a_word_leaves_its_version_out_too(tmp_path, monkeypatch):
    from pipelines.serving.models import catalogue

    def fail(folder):
        raise MemoryError

    monkeypatch.setattr(catalogue, "_loaded", fail)
    toys.write_adder(tmp_path / "adder", 1)

    async def refreshed():
        model = catalogue.ServedModel("adder", ModelSettings(tmp_path / "adder"), lambda: None)
        await model.refresh()
        return model.states

    assert asyncio.run(refreshed())[1].error == "MemoryError: "


def test_labels_keep_versions_and_say_who_answers(started, tmp_path):
    folder = tmp_path / "adder"
    for number in (1, 2):
        toys.write_adder(folder, number)
    server = started(folder, "--label", "adder:stable=1")
    assert version(server) == version(server, "adder/labels/stable") == 1
    (folder / "labels.json").write_text('{"stable": 2, "canary": 1}')
    until(lambda: version(server) == 2)
    assert version(server, "adder/labels/canary") == version(server, "adder/versions/1") == 1
    (folder / "labels.json").write_text("no JSON")
    toys.write_adder(folder, 3)
    until(lambda: version(server, "adder/versions/3") == 3)
    assert (version(server), version(server, "adder/labels/canary")) == (2, 1)
    (folder / "labels.json").write_text('{"stable": 3}')
    until(lambda: version(server) == 3)
    until(lambda: set(states(server).values()) == {"AVAILABLE", "END"} and states(server)["3"] == "AVAILABLE")


def test_recorded_requests_warm_a_version_up_and_one_that_fails_them_is_left_out(tmp_path):
    import numpy as np
    import pytest
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from pipelines.serving.models.versions import Version
    from pipelines.serving.request_errors import RequestError

    folder = toys.write_adder(tmp_path / "adder", 1)
    assert Version(folder).warm_up() == 1, "one made up for its one signature"
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "adder"
    for values, count in (([1.0, 2.0], 3), ([[1.0, 2.0]], None)):
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32(values)))
        (folder / "assets.extra").mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as file:
            for _ in range(count or 1):
                file.write(log.SerializeToString())
        if count:
            version = Version(folder)
            assert version.warm_up() == count
            assert version.examples["serving_default"]["x"].tolist() == [1, 2]
        else:
            with pytest.raises(RequestError):
                Version(folder).warm_up()


def test_requests_are_counted_by_version(started, tmp_path):
    for number in (1, 2):
        toys.write_adder(tmp_path / "adder", number)
    server = started(tmp_path / "adder", "--label", "adder:stable=1")
    for place in ("adder", "adder/versions/2", "adder/versions/2", "adder/versions/3", "none"):
        version(server, place)
    assert server.post("/v1/models/adder/versions/2:predict", {"instances": ["x"]}).status_code == 400
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adder"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 60)
    families = {family.name: family for family in text_string_to_metric_families(server.get("/metrics").text)}
    labels = ("protocol", "model", "version", "code")
    counts = {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in families["pipelines_requests"].samples
        if sample.name.endswith("_total") and sample.labels["protocol"] != "http"
    }
    assert counts == {
        ("rest", "adder", "1", "200"): 1,
        ("rest", "adder", "2", "200"): 2,
        ("rest", "adder", "2", "400"): 1,
        ("rest", "adder", "", "404"): 1,
        ("rest", "", "", "404"): 1,
        ("grpc", "adder", "1", "OK"): 1,
    }
    timed = families["pipelines_request_seconds"].samples
    assert {"1", "2"} <= {sample.labels["version"] for sample in timed if sample.name.endswith("_count")}
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line["version"] for line in lines if line.get("model") == "adder" and line["event"] == "request"] == ["1"]


def test_a_model_may_have_another_name_than_its_folder(started, tmp_path):
    for number, place in ((1, "old"), (2, "new")):
        toys.write_adder(tmp_path / place / "adder", number)
    server = started(tmp_path / "old" / "adder", f"sum={tmp_path}/new/adder", "--label", "sum:stable=2")
    assert (version(server), version(server, "sum"), version(server, "sum/labels/stable")) == (1, 2, 2)
    assert set(server.get("/ready").json()["models"]) == {"adder", "sum"}


def test_names_that_cannot_be_served_are_refused(tmp_path):
    folder = tmp_path / "a=b" / "adder"  # an equals sign in a path that is there is part of it
    toys.write_adder(folder, 1)
    assert checked_folders([str(folder)]) == {"adder": folder}
    for exports, reason in (
        ([folder, f"adder={folder}"], "two models are named adder"),
        ([f"={folder}"], "cannot be empty"),
        ([f"a/b={folder}"], "or contain '/' or ':'"),
        ([f"a:b={folder}"], "or contain '/' or ':'"),
        (["a=nowhere"], "no such folder"),
    ):
        result = invoke("serve", *exports)
        assert result.exit_code == 1 and reason in result.output and str(exports[-1]) in result.output
