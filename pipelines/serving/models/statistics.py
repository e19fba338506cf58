"""Counts and durations of the inferences of a version, as the Open Inference Protocol has them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Duration:
    """A number of events, and how long they took together, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Add events that took so long together."""
        self.count, self.ns = self.count + count, self.ns + round(1e9 * seconds)


@dataclass
class Statistics:
    """What happened since a version was loaded, in this process."""

    last_inference: int = 0  # milliseconds since 1970
    inference_count: int = 0  # rows
    execution_count: int = 0  # batches
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request, which the context answers."""
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self.fail.add(time.monotonic() - began)
            raise
        self.success.add(time.monotonic() - began)

    def batch(self, rows: int, requests: int, queued: float, seconds: float) -> None:
        """Count a batch that ran; the times, in seconds, are those of all its requests together."""
        self.last_inference = time.time_ns() // 1_000_000
        self.inference_count, self.execution_count = self.inference_count + rows, self.execution_count + 1
        self.queue.add(queued, requests)
        self.compute_infer.add(seconds * requests, requests)

    def record(self, name: str, version: int) -> dict[str, Any]:
        """Return everything in the form of the protocol."""
        counts = {key: getattr(self, key) for key in ("last_inference", "inference_count", "execution_count")}
        times = {key: vars(getattr(self, key)) for key in ("success", "fail", "queue", "compute_infer")}
        return {"name": name, "version": str(version), **counts, "inference_stats": times}
