"""The settings of a server, with all default values and limits."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipelines.errors import UserError

TOKEN_VARIABLE = "PIPELINES_TOKEN"
LOOPBACK = ("127.", "localhost", "::1")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+")


@dataclass(frozen=True)
class Settings:
    """The options of `serve`; times are in seconds unless the name has another unit."""

    folders: Mapping[str, Path]  # model -> the folder of its versions
    host: str = "127.0.0.1"
    port: int = 8501  # both ports are the defaults of TensorFlow Serving
    grpc_port: int = 8500
    grpc_socket: Path | None = None  # a Unix socket for gRPC beside the port
    repository_control: bool = False  # clients may load and unload the models
    token: str | None = field(default=None, repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # of clients with a name
    requests_per_second: float | None = None  # of each token, in each worker
    cors_origins: tuple[str, ...] = ()  # web pages that may call the server; `*` stands for all
    tls_cert: Path | None = None
    tls_key: Path | None = None
    workers: int = 1
    max_batch_size: int = 64  # rows per batch; a larger request runs alone
    batch_timeout_ms: float = 0.0  # how long a partial batch waits for more rows
    max_queue: int = 1024  # rows in the queue, per signature
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # model -> label -> version
    poll_seconds: float = 5.0
    max_rows: int = 1024  # per request
    max_header_bytes: int = 256 << 10  # approximate: the last read may include the start of the body
    max_body_bytes: int = 32 << 20
    max_values: int = 1 << 20  # numbers, texts, lists and objects in a request; binary tensors count as one
    max_bodies_bytes: int = 256 << 20  # all requests in progress together
    max_connections: int = 1000
    max_image_pixels: int = 25_000_000  # per request and per batch
    max_text_bytes: int = 100_000
    max_stream_steps: int = 10_000  # the maximum that a config allows
    max_streams: int = 32
    read_seconds: float = 30.0  # timeout for the headers, and again for the body
    inference_seconds: float = 60.0  # for a batch, or a step of a stream
    drain_seconds: float = 1.0  # not ready before refusing connections; then again for open ones to close
    drift: bool = False  # compare inputs with the training data
    drift_seconds: float = 30.0  # between comparisons
    stop_seconds: float = 60.0  # after that, for requests in progress

    def __post_init__(self):
        """Check the token and the workers.

        Raises:
            UserError: If the token is empty or has white space at its ends, which no client could send, clients may
                load models in one of several workers only, or an origin is one that no browser sends; or if the
                requests of tokens are limited, but there are none.
        """
        if self.repository_control and self.workers > 1:
            raise UserError("--repository-control", "a request would reach one worker of several; use --workers 1")
        if self.token is not None and (not self.token.strip() or self.token != self.token.strip()):
            raise UserError(
                "token",
                f"is empty or begins or ends with white space; set {TOKEN_VARIABLE} to a token, or unset it to serve"
                " without one",
            )
        if self.requests_per_second and not self.all_tokens:
            raise UserError("--requests-per-second", "is a limit for each token; set --tokens or --token")
        for origin in self.cors_origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise UserError(
                    f"--cors-origin {origin}", "should be as browsers send it, such as https://example.org:8080, or '*'"
                )

    @property
    def is_open(self) -> bool:
        """Return whether other machines may use the server without a token."""
        return not self.all_tokens and not self.host.startswith(LOOPBACK)

    @property
    def all_tokens(self) -> dict[str, str]:
        """Return the tokens of all clients by name; the one of `token` has the name ""."""
        return {**self.tokens, **({} if self.token is None else {"": self.token})}

    @cached_property
    def threads(self) -> int:
        """Return the number of threads per operation; it is low because parallel batches use the cores better."""
        return max(1, (os.cpu_count() or 1) // 4)

    @cached_property
    def runners(self) -> int:
        """Return the maximum number of parallel batches per signature and worker."""
        return max(1, (os.cpu_count() or 1) // (self.threads * self.workers))
