"""JSON parsing and responses for all HTTP protocols."""

from typing import Any

import pydantic_core
from fastapi import Response

from pipelines.serving.conversion import parse_json
from pipelines.serving.request_errors import RequestError, invalid
from pipelines.serving.service import Service

JSON = "application/json"
ROWS = 64  # of a list that are written at a time


async def read_object(service: Service, content: bytes) -> dict[str, Any]:
    """Parse a JSON object; NaN and Infinity are valid numbers, as in TensorFlow Serving.

    Raises:
        RequestError: If `content` is not a JSON object, or has too many values.
    """
    body = await service.conversions.run(len(content), parse_json, content, service.settings.max_values)
    if not isinstance(body, dict):
        raise invalid("JSON Parse error: the body is not a JSON object")
    return body


def written(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return `body` as a JSON response."""
    return Response(to_bytes(body), status, headers, JSON)


def to_bytes(body: Any) -> bytes:
    """Write JSON; long lists in parts, between which other threads run."""
    if isinstance(body, dict):
        return b"{%b}" % b",".join(b"%b:%b" % (to_bytes(name), to_bytes(value)) for name, value in body.items())
    if isinstance(body, list) and len(body) > ROWS:
        parts = (body[start : start + ROWS] for start in range(0, len(body), ROWS))
        return b"[%b]" % b",".join(pydantic_core.to_json(part, inf_nan_mode="constants")[1:-1] for part in parts)
    return pydantic_core.to_json(body, inf_nan_mode="constants")


def error_response(error: RequestError) -> Response:
    """Return a JSON error response in the format that both HTTP protocols share."""
    return written({"error": error.reason}, error.kind.http, error.headers)


def text_of(body: dict[str, Any], name: str) -> str:
    """Return a string field of a JSON object, or an empty string if it is missing.

    Raises:
        RequestError: If the value is not a string.
    """
    value = body.get(name, "")
    if not isinstance(value, str):
        raise invalid(f"'{name}' must be a string")
    return value
