"""Traces of requests by OpenTelemetry: spans of a request, of its wait in the queue and of the call of the model.

https://www.w3.org/TR/trace-context, https://opentelemetry.io/docs/specs/semconv/http/http-spans
"""

import asyncio
import os
import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from pipelines.errors import UserError

SERVICE = "model-server"  # unless OTEL_SERVICE_NAME says otherwise
CARRIED = ("traceparent", "tracestate")  # headers, or metadata of gRPC
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class Tracing:
    """The spans of a process, sent in batches from a thread; the variables OTEL_* say where to and how many."""

    def __init__(self):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": SERVICE}
        self._provider = TracerProvider(resource=Resource.create(named))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("pipelines.serving")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, headers: Mapping[str, str]) -> "Trace":
        """Begin the span of a request, within the trace that its headers name."""
        from opentelemetry.trace import SpanKind

        parent = self._propagator.extract({name: headers[name] for name in CARRIED if name in headers})
        return Trace(self._tracer, self._tracer.start_span("request", parent, SpanKind.SERVER))

    def close(self) -> None:
        """Send the spans that wait."""
        self._provider.shutdown()


class Trace:
    """The trace of a request."""

    def __init__(self, tracer: Any, span: Any):
        self._tracer, self._span = tracer, span

    @property
    def id(self) -> str:
        """Return the id of the trace, as in the header `traceparent`."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def inferred(self, since: float, began: float, ended: float, rows: int, batch_rows: int) -> None:
        """Add a wait in the queue and a call of the model; the times are those of the event loop."""
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(self._span)
        zero = time.time_ns() - round(1e9 * asyncio.get_running_loop().time())
        for name, start, end in (("queue", since, began), ("model", began, ended)):
            about = {"rows": rows} if name == "queue" else {"rows": rows, "batch_rows": batch_rows}
            span = self._tracer.start_span(name, context, attributes=about, start_time=zero + round(1e9 * start))
            span.end(zero + round(1e9 * end))

    def end(self, name: str, failed: bool, attributes: Mapping[str, str | int]) -> None:
        """End the span of the request."""
        from opentelemetry.trace import StatusCode

        self._span.update_name(name)
        self._span.set_attributes({key: value for key, value in attributes.items() if value != ""})
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def check_tracing() -> None:
    """Check that the packages for traces are there.

    Raises:
        UserError: If one is missing.
    """
    for package in PACKAGES:
        try:
            found = find_spec(package)
        except ModuleNotFoundError:  # of a package that it is in
            found = None
        if found is None:
            install = "pip install '.[otel]' in the clone"
            raise UserError("--tracing", f"'{package}' is missing; install it with: {install}")
