"""JSON in and out, for every protocol over HTTP."""

from typing import Any

import pydantic_core
from fastapi import Request, Response

from pipelines.serving.request_errors import RequestError, invalid

JSON = "application/json"


async def read_object(request: Request) -> dict[str, Any]:
    """Read a request's body as a JSON object; NaN and Infinity are numbers too, as in TensorFlow Serving.

    Raises:
        RequestError: where it is something else.
    """
    return parsed_object(await request.body())


def parsed_object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        RequestError: where it is something else.
    """
    try:
        body = pydantic_core.from_json(content)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(body, dict):
        raise invalid("JSON Parse error: the body is no object")
    return body


def written(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Write a response."""
    return Response(pydantic_core.to_json(body, inf_nan_mode="constants"), status, headers, JSON)


def error_response(error: RequestError) -> Response:
    """Write why a request is not answered, in the form that both protocols over HTTP share."""
    return written({"error": error.reason}, error.kind.http, error.headers)


def text_of(body: dict[str, Any], name: str) -> str:
    """Give a text of a JSON object, empty where it is left out.

    Raises:
        RequestError: where it is no text.
    """
    value = body.get(name, "")
    if not isinstance(value, str):
        raise invalid(f"'{name}' takes a string")
    return value
