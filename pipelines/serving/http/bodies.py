"""JSON parsing and responses for all HTTP protocols."""

from typing import Any

import pydantic_core
from fastapi import Request, Response

from pipelines.serving.request_errors import RequestError, invalid

JSON = "application/json"


async def read_object(request: Request) -> dict[str, Any]:
    """Read the request body as a JSON object; NaN and Infinity are valid numbers, as in TensorFlow Serving.

    Raises:
        RequestError: If the body is not a JSON object.
    """
    return parsed_object(await request.body())


def parsed_object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        RequestError: If `content` is not a JSON object.
    """
    try:
        body = pydantic_core.from_json(content)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(body, dict):
        raise invalid("JSON Parse error: the body is not a JSON object")
    return body


def written(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return `body` as a JSON response."""
    return Response(pydantic_core.to_json(body, inf_nan_mode="constants"), status, headers, JSON)


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
