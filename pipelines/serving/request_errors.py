"""Request errors with a message for the client and a status for each protocol."""

from enum import Enum


class Kind(Enum):
    """A kind of error: its HTTP status and the name of its gRPC code."""

    INVALID = (400, "INVALID_ARGUMENT")
    UNAUTHENTICATED = (401, "UNAUTHENTICATED")
    FORBIDDEN = (403, "PERMISSION_DENIED")
    NOT_FOUND = (404, "NOT_FOUND")
    SLOW = (408, "DEADLINE_EXCEEDED")
    TOO_LARGE = (413, "RESOURCE_EXHAUSTED")
    UNSUPPORTED = (415, "INVALID_ARGUMENT")
    BUSY = (429, "RESOURCE_EXHAUSTED")
    FAILED = (500, "INTERNAL")
    LATE = (503, "DEADLINE_EXCEEDED")
    UNAVAILABLE = (503, "UNAVAILABLE")

    @property
    def http(self) -> int:
        """Return the HTTP status."""
        return self.value[0]

    @property
    def grpc(self) -> str:
        """Return the name of the gRPC code."""
        return self.value[1]


class RequestError(Exception):
    """A request that fails.

    `reason` is the message for the client, `parameter` what of the request it is about, and `retry_seconds` when it
    may be sent again, if its kind allows that.
    """

    def __init__(self, kind: Kind, reason: str, parameter: str | None = None, retry_seconds: int = 1):
        self.kind = kind
        self.reason = reason
        self.parameter = parameter
        self.retry_seconds = retry_seconds
        super().__init__(reason)

    @property
    def headers(self) -> dict[str, str]:
        """Return the response headers that belong to the HTTP status."""
        if self.kind in (Kind.BUSY, Kind.LATE, Kind.UNAVAILABLE):
            return {"Retry-After": str(self.retry_seconds)}
        return {"WWW-Authenticate": "Bearer"} if self.kind is Kind.UNAUTHENTICATED else {}


def invalid(reason: str, parameter: str | None = None) -> RequestError:
    """Return the error for an invalid request."""
    return RequestError(Kind.INVALID, reason, parameter)


def unknown(reason: str) -> RequestError:
    """Return the error for something that does not exist."""
    return RequestError(Kind.NOT_FOUND, reason)
