"""What a server is started with; every number of it stands here once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

TOKEN_VARIABLE = "PIPELINES_TOKEN"


@dataclass(frozen=True)
class Settings:
    """Give the options of `serve`; times are in seconds unless their name says otherwise."""

    folders: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8501  # as TensorFlow Serving has them
    grpc_port: int = 8500
    token: str | None = field(default=None, repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    workers: int = 1
    max_batch_size: int = 64  # rows of several requests that run together
    batch_timeout_ms: float = 0.0  # how long a batch that is not full waits for more while nothing runs
    max_queue: int = 1024  # rows that wait, for each signature
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # model -> label -> version
    poll_seconds: float = 5.0
    max_rows: int = 1024  # of one request
    max_header_bytes: int = 256 << 10  # the last part of them may come with the body's first
    max_body_bytes: int = 32 << 20
    max_bodies_bytes: int = 256 << 20  # of all requests at a time
    max_connections: int = 1000
    max_image_pixels: int = 25_000_000  # of one request, and of what runs together
    max_text_bytes: int = 100_000
    max_stream_steps: int = 10_000  # what a config may ask for
    max_streams: int = 32
    read_seconds: float = 30.0  # a client's time for its headers, and again for its body
    drain_seconds: float = 1.0  # of being not ready before no more connections are taken; again, for each to be closed
    stop_seconds: float = 60.0  # then, for answers under way

    @cached_property
    def threads(self) -> int:
        """Give the cores that one operation of a batch may use: few, since batches side by side use cores better."""
        return max(1, (os.cpu_count() or 1) // 4)

    @cached_property
    def runners(self) -> int:
        """Give the number of batches that run at a time."""
        return max(1, (os.cpu_count() or 1) // (self.threads * self.workers))
