"""Traces of requests, received by a collector as OpenTelemetry's exporter sends them."""

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest
import tensorflow as tf
from conftest import invoke
from serving import toys
from serving.servers import free_port, until
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

trace_service_pb2 = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{PARENT}-01"
PREDICT = "/v1/models/adder:predict"


class Collector:
    """An OTLP receiver over HTTP that keeps the spans."""

    def __init__(self):
        collector = self
        self.spans: list = []
        self.services: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                request = trace_service_pb2.ExportTraceServiceRequest.FromString(content)
                for resource in request.resource_spans:
                    collector.services |= {
                        each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
                    }
                    collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, trace: str) -> list:
        return sorted((span for span in self.spans if span.trace_id.hex() == trace), key=lambda span: span.name)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()


def options(collector: Collector) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def attributes(span) -> dict[str, str | int]:
    values = {each.key: each.value for each in span.attributes}
    return {
        key: value.int_value if value.HasField("int_value") else value.string_value for key, value in values.items()
    }


def test_a_request_has_spans_in_the_trace_of_its_client(started, toy_exports, collector):
    server = started(toy_exports / "adder", "--tracing", **options(collector))
    answer = server.post(PREDICT, {"instances": [1, 2, 3]}, headers={"traceparent": SENT})
    assert answer.status_code == 200
    until(lambda: len(collector.of(TRACE)) == 3)
    request, model, queue = collector.of(TRACE)
    assert (request.name, model.name, queue.name) == (f"POST {PREDICT}", "model", "queue")
    assert request.parent_span_id.hex() == PARENT and request.kind == request.SPAN_KIND_SERVER
    assert {model.parent_span_id, queue.parent_span_id} == {request.span_id}
    times = [request.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano]
    times += [model.start_time_unix_nano, model.end_time_unix_nano, request.end_time_unix_nano]
    slack = 5_000_000  # ns; two clocks tell the times
    assert all(later - earlier > -slack for earlier, later in itertools.pairwise(times))
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.path": PREDICT,
        "pipelines.model": "adder",
        "pipelines.version": "1",
    }
    assert attributes(model) == {"rows": 3, "batch_rows": 3} and attributes(queue) == {"rows": 3}
    assert collector.services == {"model-server"}
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line["trace_id"] for line in lines if line.get("path") == PREDICT] == [TRACE]


def test_calls_of_grpc_faults_and_requests_without_a_trace_have_spans_too(started, toy_exports, collector):
    server = started(toy_exports / "adder", "--tracing", OTEL_SERVICE_NAME="shop", **options(collector))
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adder"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(request, 60, metadata=[("traceparent", SENT)])
    until(lambda: len(collector.of(TRACE)) == 3)
    (call, *_) = collector.of(TRACE)
    assert call.name == "grpc Predict" and call.parent_span_id.hex() == PARENT
    assert attributes(call)["rpc.grpc.status_code"] == 0 and attributes(call)["pipelines.model"] == "adder"
    collector.spans.clear()
    assert server.post("/v1/models/none:predict", {"instances": [1]}).status_code == 404
    assert server.post(PREDICT, {"instances": [1]}, headers={"traceparent": "nonsense"}).status_code == 200
    server.get("/ready")
    server.get("/metrics")
    until(lambda: len(collector.spans) == 4)
    roots = [span for span in collector.spans if not span.parent_span_id]
    assert sorted(span.name for span in roots) == [f"POST {PREDICT}", "POST rest"]
    assert len({span.trace_id for span in collector.spans}) == 2 and collector.services == {"shop"}


def test_a_late_answer_is_a_fault_in_the_trace(started, tmp_path, collector):
    folder = toys.write_endless(tmp_path / "endless").parent
    server = started(folder, "--tracing", "--inference-seconds", "0.3", **options(collector))
    headers = {"traceparent": SENT}
    assert server.post("/v1/models/endless:predict", {"instances": [1]}, headers=headers).status_code == 503
    until(lambda: collector.of(TRACE))
    (request,) = collector.of(TRACE)
    assert request.status.code == request.status.STATUS_CODE_ERROR
    assert attributes(request)["http.response.status_code"] == 503


def test_a_collector_that_is_away_harms_nothing(started, toy_exports):
    place = f"http://127.0.0.1:{free_port()}"
    server = started(toy_exports / "adder", "--tracing", OTEL_EXPORTER_OTLP_ENDPOINT=place)
    for _ in range(5):
        assert server.post(PREDICT, {"instances": [1]}).status_code == 200
    assert server.stop() == 0
    assert all(line.startswith("{") for line in server.log.read_text().splitlines())


def test_the_packages_that_are_missing_are_named(toy_exports, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr("pipelines.serving.tracing.find_spec", lambda name: None if "exporter" in name else found(name))
    result = invoke("serve", toy_exports / "adder", "--tracing", "--port", free_port(), "--grpc-port", free_port())
    assert result.exit_code == 1 and "--tracing: 'opentelemetry.exporter.otlp.proto.http' is missing" in result.output
    assert "pip install '.[otel]'" in result.output
