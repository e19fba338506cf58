"""JSON parsing and responses for all HTTP protocols."""

from collections.abc import Mapping
from typing import Any

import pydantic_core
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.types import Scope

from pipelines.serving.conversion import parse_json
from pipelines.serving.request_errors import RequestError, invalid
from pipelines.serving.service import Service

JSON = "application/json"
NAMED = "pipelines.model"  # where the scope of a request has the model that its body names, for logs and metrics
MODELS = "/v1/models"
OPENAI = {"/v1/completions", "/v1/chat/completions", MODELS}  # the places of OpenAI's API
OPENAI_HEADER = b"x-stainless-lang"  # which the clients that OpenAI publishes send
OPENAI_TYPES = {429: "rate_limit_error"}
OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
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


def error_response(error: RequestError, scope: Scope) -> Response:
    """Return a JSON error response in the format of the protocol of a request."""
    return failure(error.reason, error.kind.http, error.headers, scope, error.parameter)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Convert an error of FastAPI's validation to a response."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return error_response(invalid(f"{first['loc'][-1]}: {first['msg']}"), request.scope)


def failure(
    reason: str, status: int, headers: Mapping[str, str], scope: Scope, parameter: str | None = None
) -> Response:
    """Return a JSON error response in the format of the protocol of a request."""
    body = failure_body(reason, status, parameter) if is_openai(scope) else {"error": reason}
    return written(body, status, dict(headers))


def failure_body(reason: str, status: int, parameter: str | None) -> dict[str, Any]:
    """Return an error of OpenAI's API."""
    kind = OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": reason, "type": kind, "param": parameter, "code": OPENAI_CODES.get(status)}}


def is_openai(scope: Scope) -> bool:
    """Return whether a request is one of OpenAI's API.

    A model's own place is also one of TensorFlow Serving's; there, OpenAI's clients are known by a header.
    """
    path = scope["path"]
    if path in OPENAI:
        return True
    return path.startswith(f"{MODELS}/") and any(name == OPENAI_HEADER for name, _ in scope["headers"])


def text_of(body: dict[str, Any], name: str) -> str:
    """Return a string field of a JSON object, or an empty string if it is missing.

    Raises:
        RequestError: If the value is not a string.
    """
    value = body.get(name, "")
    if not isinstance(value, str):
        raise invalid(f"'{name}' must be a string")
    return value
