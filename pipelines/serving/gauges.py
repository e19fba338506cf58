"""Prometheus metrics of the model server."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DIFFERENCES = (0.0, 1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Gauges:
    """The metrics of one server process; with several workers, `written` returns them for all workers together."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "pipelines_requests", "Number of requests.", ["protocol", "model", "version", "code"], registry=registry
        )
        self.seconds = Histogram(
            "pipelines_request_seconds",
            "Duration of a request.",
            ["protocol", "model", "version"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batches = Histogram(
            "pipelines_batch_rows", "Number of rows in a batch.", ["model"], buckets=ROWS, registry=registry
        )
        self.queue = Gauge(
            "pipelines_queue_rows",
            "Number of rows in the queue.",
            ["model"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.under_way = Gauge(
            "pipelines_requests_under_way",
            "Number of requests in progress.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.loaded = Gauge(
            "pipelines_versions_loaded",
            "Number of loaded versions.",
            ["model"],
            multiprocess_mode="max",
            registry=registry,
        )
        self.drift = Gauge(
            "pipelines_input_drift",
            "Difference of an input from the training data, from 0 to 1.",
            ["model", "input"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.drift_rows = Gauge(
            "pipelines_input_drift_rows",
            "Number of rows that drift was measured on.",
            ["model"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.logged_requests = Counter(
            "pipelines_logged_requests",
            "Number of requests in the sample of the log: written, dropped or failed.",
            ["model", "result"],
            registry=registry,
        )
        self.shadow_requests = Counter(
            "pipelines_shadow_requests",
            "Number of copies of requests to a shadow: same, different, error or dropped.",
            ["model", "version", "result"],
            registry=registry,
        )
        self.shadow_difference = Histogram(
            "pipelines_shadow_difference",
            "Difference of an answer of a shadow from that of the client, from 0 to 1.",
            ["model", "version", "output"],
            buckets=DIFFERENCES,
            registry=registry,
        )
        self.shadow_seconds = Histogram(
            "pipelines_shadow_seconds",
            "Duration of an inference with its wait, of a shadow and of the versions that it is compared with.",
            ["model", "version"],
            buckets=SECONDS,
            registry=registry,
        )
        self._labelled: dict[tuple[str, str, str, str], tuple[Counter, Histogram]] = {}

    def answered(self, protocol: str, model: str, version: str, code: str, seconds: float) -> None:
        """Record a finished request and its duration in seconds."""
        key = (protocol, model, version, code)
        if key not in self._labelled:
            self._labelled[key] = self.requests.labels(*key), self.seconds.labels(protocol, model, version)
        requests, times = self._labelled[key]
        requests.inc()
        times.observe(seconds)

    def written(self) -> tuple[bytes, str]:
        """Return the metrics in the Prometheus text format, and their content type."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST
