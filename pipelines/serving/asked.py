"""What is known of the request that the current task answers, beside its content."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.serving.tracing import Trace

ROUTING_KEY = "x-routing-key"  # header, or metadata of gRPC, whose value keeps a client at one version


@dataclass
class Asked:
    """A request."""

    request_id: str = ""
    routing_key: str = ""
    trace: "Trace | None" = None
    version: str = ""  # the one that it found, for its log line and metrics


ASKED: ContextVar[Asked] = ContextVar("asked")
