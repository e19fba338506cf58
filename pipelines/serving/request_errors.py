"""Why a request is not answered, in words for the client and as each protocol's status."""

from enum import Enum


class Kind(Enum):
    """A reason's HTTP status and the name of its gRPC code."""

    INVALID = (400, "INVALID_ARGUMENT")
    UNAUTHENTICATED = (401, "UNAUTHENTICATED")
    NOT_FOUND = (404, "NOT_FOUND")
    SLOW = (408, "DEADLINE_EXCEEDED")
    TOO_LARGE = (413, "RESOURCE_EXHAUSTED")
    UNSUPPORTED = (415, "INVALID_ARGUMENT")
    BUSY = (429, "RESOURCE_EXHAUSTED")
    FAILED = (500, "INTERNAL")
    UNAVAILABLE = (503, "UNAVAILABLE")

    @property
    def http(self) -> int:
        """Give the HTTP status."""
        return self.value[0]

    @property
    def grpc(self) -> str:
        """Give the gRPC code's name."""
        return self.value[1]


class RequestError(Exception):
    """Say why a request is not answered; `reason` is meant for the client."""

    def __init__(self, kind: Kind, reason: str):
        self.kind = kind
        self.reason = reason
        super().__init__(reason)

    @property
    def headers(self) -> dict[str, str]:
        """Give the headers that belong to the HTTP status."""
        if self.kind in (Kind.BUSY, Kind.UNAVAILABLE):
            return {"Retry-After": "1"}
        return {"WWW-Authenticate": "Bearer"} if self.kind is Kind.UNAUTHENTICATED else {}


def invalid(reason: str) -> RequestError:
    """Say what is wrong with a request."""
    return RequestError(Kind.INVALID, reason)


def unknown(reason: str) -> RequestError:
    """Say what a request asks for that is not there."""
    return RequestError(Kind.NOT_FOUND, reason)
