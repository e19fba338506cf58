"""The settings of a server, with all default values and limits.

A field with a `Setting` is an option of `serve` and a key of its config: `cli_serve.py` and `config.py` read them here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pipelines.errors import UserError

TOKEN_VARIABLE = "PIPELINES_TOKEN"
LOOPBACK = ("127.", "localhost", "::1")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+")
OWN = (
    "max_batch_size",
    "batch_timeout_ms",
    "parallel_batches",
    "max_queue",
    "inference_seconds",
    "request_log",
)  # of a model


@dataclass(frozen=True)
class Setting:
    """What help and config say of a field, and its limits by their names in pydantic."""

    about: str
    option: str = ""  # on the command line, if it is not the name of the field
    ge: float | None = None
    gt: float | None = None
    le: float | None = None

    @property
    def limits(self) -> dict[str, Any]:
        """Return the limits that there are."""
        return {name: limit for name in ("ge", "gt", "le") if (limit := getattr(self, name)) is not None}


def described(settings: type) -> list[tuple[Field, Any, Setting]]:
    """Return the fields of a dataclass that have a `Setting`, with their types and it."""
    return [(each, *get_args(each.type)) for each in fields(settings) if get_origin(each.type) is Annotated]


@dataclass(frozen=True)
class LogSettings:
    """The settings of the log of requests."""

    folder: Annotated[Path, Setting("Folder in which each model has a folder of files.")]
    share: Annotated[float, Setting("Share of the requests that are logged, such as 0.01.", gt=0, le=1)]
    max_mb: Annotated[float, Setting("Size of the files of a model, in megabytes. The oldest are deleted.", gt=0)]
    signatures: Annotated[tuple[str, ...], Setting("Signatures whose requests are logged.")] = ("serving_default",)


@dataclass(frozen=True)
class ModelSettings:
    """The settings of one model."""

    folder: Annotated[Path, Setting("Folder of the versions, which `export` wrote.")]
    versions: Annotated[tuple[int, ...], Setting("Versions to serve, in place of the newest one.", ge=0)] = ()
    labels: Annotated[Mapping[str, int], Setting("Labels of versions, such as stable: 3.", ge=0)] = field(
        default_factory=dict
    )
    traffic: Annotated[
        Mapping[str, float],
        Setting("Weights by label or version for requests that name neither, such as stable: 95, canary: 5.", ge=0),
    ] = field(default_factory=dict)
    shadow: Annotated[
        str | int | None,
        Setting("Label or version that gets copies of requests that name neither; its answers are only compared."),
    ] = None
    own: Mapping[str, Any] = field(default_factory=dict)  # settings that are not the server's, by name

    @property
    def named(self) -> tuple[str, ...]:
        """Return the labels and versions that `traffic` and `shadow` name, as texts."""
        return (*self.traffic, *([] if self.shadow is None else [str(self.shadow)]))


@dataclass(frozen=True)
class Settings:
    """The options of `serve`; times are in seconds unless the name has another unit."""

    models: Mapping[str, ModelSettings]
    host: Annotated[str, Setting("Address to listen on. Use 0.0.0.0 for all interfaces.")] = "127.0.0.1"
    # Both ports are the defaults of TensorFlow Serving.
    port: Annotated[int, Setting("HTTP port.", ge=1, le=65535)] = 8501
    grpc_port: Annotated[int, Setting("gRPC port.", ge=1, le=65535)] = 8500
    grpc_socket: Annotated[Path | None, Setting("Unix socket for gRPC, beside the port.")] = None
    repository_control: Annotated[bool, Setting("Let clients load and unload the models.")] = False
    token: str | None = field(default=None, repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # of clients with a name
    requests_per_second: Annotated[
        float | None,
        Setting("Maximum number of requests per second of each token and worker. Further ones get HTTP 429.", gt=0),
    ] = None
    cors_origins: Annotated[
        tuple[str, ...],
        Setting(
            "Origin of web pages that may call the server, such as https://example.org. '*' stands for all.",
            option="--cors-origin",
        ),
    ] = ()
    tls_cert: Annotated[Path | None, Setting("PEM certificate for HTTP and gRPC. Needs --tls-key.")] = None
    tls_key: Annotated[Path | None, Setting("Private key of the certificate, in PEM format.")] = None
    workers: Annotated[int, Setting("Number of worker processes.", ge=1)] = 1
    playground_port: int | None = None  # of the worker that has the playground, if it is another one
    max_batch_size: Annotated[int, Setting("Maximum number of rows in a batch of several requests.", ge=1)] = 64
    batch_timeout_ms: Annotated[
        float,
        Setting(
            "How long an idle server waits for more requests to fill a batch. Under load, none has to wait.",
            ge=0,
        ),
    ] = 0.0
    parallel_batches: Annotated[
        int | None,
        Setting(
            "Maximum number of batches of a model that run at the same time, in each worker. Default: by the cores.",
            ge=1,
        ),
    ] = None
    max_queue: Annotated[int, Setting("Maximum number of rows in the queue. Further requests get HTTP 429.", ge=1)] = (
        1024  # per signature
    )
    poll_seconds: Annotated[float, Setting("How often to check for new versions.", gt=0)] = 5.0
    max_rows: int = 1024  # per request
    max_header_bytes: int = 256 << 10  # approximate: the last read may include the start of the body
    max_body_bytes: Annotated[int, Setting("Maximum size of a request body.", ge=1)] = 32 << 20
    max_values: Annotated[
        int,
        Setting("Maximum number of values (numbers, texts, lists) in a request. A binary tensor counts as one.", ge=1),
    ] = 1 << 20
    max_bodies_bytes: int = 256 << 20  # all requests in progress together
    max_connections: int = 1000
    max_image_pixels: Annotated[int, Setting("Maximum pixels in a request.", ge=1)] = 25_000_000  # and per batch
    max_text_bytes: Annotated[int, Setting("Maximum size of one text.", ge=1)] = 100_000
    max_stream_steps: int = 10_000  # the maximum that a config allows
    max_streams: int = 32
    read_seconds: Annotated[
        float, Setting("Timeout for receiving a request's headers, and again for its body.", gt=0)
    ] = 30.0
    inference_seconds: Annotated[
        float,
        Setting(
            "Time limit of a model for a batch, or for a step of a stream. Later, its requests get HTTP 503.", gt=0
        ),
    ] = 60.0
    # Again as long, open connections may close.
    drain_seconds: Annotated[
        float, Setting("How long /ready returns 503 after SIGTERM before the server refuses new connections.", gt=0)
    ] = 1.0
    stop_seconds: Annotated[
        float, Setting("How long requests in progress may go on after SIGTERM, before they are cancelled.", gt=0)
    ] = 60.0
    tracing: Annotated[
        bool, Setting("Send traces of requests by OTLP to the address in OTEL_EXPORTER_OTLP_ENDPOINT.")
    ] = False
    drift: Annotated[bool, Setting("Compare inputs with the training data: a gauge for each in /metrics.")] = False
    drift_seconds: Annotated[float, Setting("How often to compare inputs with the training data.", gt=0)] = 30.0

    request_log: Annotated[LogSettings | None, Setting("Log of requests and answers, for later training.")] = None

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

    def of(self, model: str) -> "Settings":
        """Return the settings with those of one model in place of the server's."""
        return replace(self, **self.models[model].own)

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
        return self.parallel_batches or max(1, (os.cpu_count() or 1) // (self.threads * self.workers))


@dataclass(frozen=True)
class ServeConfig:
    """The settings in the config of a server."""

    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    tokens: Path | None = None  # file
    token_variable: str = TOKEN_VARIABLE
    options: Mapping[str, Any] = field(default_factory=dict)  # the other settings, by name
