"""OpenAPI schemas of the request bodies.

The bodies are parsed without FastAPI, which is faster and keeps the error format of each protocol.
"""

from typing import Any

from pipelines.serving.request_errors import Kind

_SIGNATURE = {"type": "string", "description": "default: serving_default"}
_FEATURE = {"description": "a number, a string, {b64: ...}, or a list of them"}
_EXAMPLE = {"type": "object", "additionalProperties": _FEATURE}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


_PREDICT = {
    "oneOf": [
        _object(
            ["instances"],
            instances={"type": "array", "items": {}, "minItems": 1, "description": "rows"},
            signature_name=_SIGNATURE,
        ),
        _object(["inputs"], inputs={"description": "columns: one tensor per input"}, signature_name=_SIGNATURE),
    ]
}
_EXAMPLES = _object(
    ["examples"],
    examples={"type": "array", "items": _EXAMPLE, "minItems": 1},
    context=_EXAMPLE,
    signature_name=_SIGNATURE,
)
_TENSOR = _object(
    ["name", "shape", "datatype"],
    name={"type": "string"},
    shape={"type": "array", "items": {"type": "integer", "minimum": 0}},
    datatype={"type": "string"},
    data={"type": "array", "items": {}, "description": "left out if the data follows the JSON in binary form"},
    parameters={"type": "object"},
)
_INFER = _object(
    ["inputs"],
    id={"type": "string"},
    inputs={"type": "array", "items": _TENSOR},
    outputs={"type": "array", "items": _object(["name"], name={"type": "string"}, parameters={"type": "object"})},
    parameters={"type": "object"},
)
BODIES = {
    "predict": _body(_PREDICT),
    "classify": _body(_EXAMPLES),
    "regress": _body(_EXAMPLES),
    "stream": _body(_object(["inputs"], inputs={"type": "object"})),
    "infer": _body(_INFER),
}
_ERROR = {"application/json": {"schema": _object(["error"], error={"type": "string"})}}


def answers(with_token: bool) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI error responses that any request can have."""
    kinds = [kind for kind in Kind if with_token or kind is not Kind.UNAUTHENTICATED]
    return {kind.http: {"description": kind.name.lower().replace("_", " "), "content": _ERROR} for kind in kinds}
