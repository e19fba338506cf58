"""REST API of the Open Inference Protocol v2, with tensors as JSON or as binary data after the JSON.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol; for binary tensors see
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import base64
import math
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response

from pipelines.export_folder import is_number
from pipelines.serving.http.bodies import read_object, text_of, to_bytes, written
from pipelines.serving.http.descriptions import BODIES, answers
from pipelines.serving.models.open_tensors import DATATYPES, EXTENSIONS, counted, described, from_bytes, raw_bytes
from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.tensors import Spec, check_rows, check_shape, from_json, to_json
from pipelines.serving.overview import index_of, metadata_of, statistics_of
from pipelines.serving.request_errors import Kind, RequestError, invalid, unknown
from pipelines.serving.service import Address, Answer, Service
from pipelines.serving.settings import Settings

HEADER_LENGTH = "Inference-Header-Content-Length"
CONTENT_TYPE, BASE64 = "content_type", "base64"  # as in MLServer's codecs

Name = Annotated[str, Path(description="a model's name")]
Number = Annotated[int, Path(ge=0, description="a version")]


def router(service: Service, version: str) -> APIRouter:
    """Return the routes of the protocol."""
    errors = answers(bool(service.settings.all_tokens))
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"], responses=errors)

    @routes.get("", summary="Name and version of the server")
    async def server() -> Response:
        return written({"name": "keras-task-pipelines", "version": version, "extensions": EXTENSIONS})

    @routes.get("/models", summary="List the models")
    async def models() -> Response:
        return written({"models": index_of(service)})

    @routes.get("/health/live", summary="Check that the server is running")
    async def live() -> Response:
        return written({"live": True})

    @routes.get("/health/ready", summary="Check that all models are ready")
    async def ready() -> Response:
        if not service.ready:
            raise RequestError(Kind.UNAVAILABLE, "not all models are ready")
        return written({"ready": True})

    if service.settings.repository_control:
        _add_repository(routes, service)
    for place in ("/models/{name}", "/models/{name}/versions/{number}"):
        _add_model_routes(routes, service, place)
    return routes


def _add_repository(routes: APIRouter, service: Service) -> None:
    @routes.post("/repository/index", summary="List the versions of the models with their states")
    async def index() -> Response:
        return written(index_of(service))

    @routes.post("/repository/models/{name}/load", summary="Load a model again")
    async def load(name: Name) -> Response:
        await service.load(name)
        return written({})

    @routes.post("/repository/models/{name}/unload", summary="Unload a model")
    async def unload(name: Name) -> Response:
        await service.unload(name)
        return written({})


def _add_model_routes(routes: APIRouter, service: Service, place: str) -> None:
    numbered = "number" in place
    ending = "_of_version" if numbered else ""

    def address(request: Request) -> Address:
        name, number = request.path_params["name"], request.path_params.get("number", "0")
        if not is_number(number):
            raise unknown(f"Could not find version {number[:60]} of model {name}")
        return Address(name, int(number) if numbered else None)

    async def metadata(request: Request) -> Response:
        return written(metadata_of(service, address(request)))

    async def stats(request: Request) -> Response:
        return written({"model_stats": statistics_of(service, address(request))})

    async def ready(request: Request) -> Response:
        service.find(address(request))
        return written({"name": request.path_params["name"], "ready": True})

    async def infer(request: Request) -> Response:
        return await infer_tensors(service, request, address(request))

    parameters = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    if numbered:
        parameters.append(
            {"name": "number", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
        )
    for path, handle, method, summary in (
        ("", metadata, "GET", "Inputs and outputs of a model"),
        ("/ready", ready, "GET", "Check that a model is ready"),
        ("/stats", stats, "GET", "Counts and durations of the inferences of a model"),
        ("/infer", infer, "POST", "Run inference on tensors"),
    ):
        extra = {"parameters": parameters, **({"requestBody": BODIES["infer"]} if method == "POST" else {})}
        routes.add_api_route(
            place + path,
            handle,
            methods=[method],
            summary=summary,
            operation_id=f"{handle.__name__}{ending}",
            openapi_extra=extra,
        )


async def infer_tensors(service: Service, request: Request, address: Address) -> Response:
    """Run inference on the tensors of a request, in JSON or binary form."""
    content = await request.body()
    length = request.headers.get(HEADER_LENGTH, str(len(content)))
    if not is_number(length) or int(length) > len(content):
        raise invalid(f"{HEADER_LENGTH} must be a whole number, at most the length of the body")
    body = _without_nulls(await read_object(service, content[: int(length)]))
    binary = content[int(length) :]
    parameters = _parameters(body)
    wanted = _wanted(body)
    read = partial(read_tensors, body, binary, service.settings)
    answer = await service.answer(address, text_of(parameters, "signature_name"), read, wanted, size=len(content))
    as_binary = parameters.get("binary_data_output") is True
    return await service.conversions.run(answer.size, _answered, address, answer, body, as_binary, wanted)


def read_tensors(body: dict[str, Any], binary: bytes, settings: Settings, signature: Signature) -> Arrays:
    """Read the input tensors of a request from its JSON or from the binary data after it.

    Raises:
        RequestError: If a tensor is invalid; it names the tensor.
    """
    given = body.get("inputs")
    if not isinstance(given, list) or not all(isinstance(tensor, dict) for tensor in given):
        raise invalid("'inputs' must be a list of tensors")
    given = [_without_nulls(tensor) for tensor in given]
    names = [text_of(tensor, "name") for tensor in given]
    signature.check_names(names, "inputs")
    if len(set(names)) < len(names):
        raise invalid("'inputs' has two tensors of one name")
    arrays, place = {}, 0
    for name, tensor in zip(names, given, strict=True):
        spec = signature.inputs[name]
        shape = spec.fitted(_shape(tensor, name))
        check_rows(shape[0] if shape else 1, settings.max_rows, name)
        if spec.is_text and math.prod(shape) > settings.max_values:
            raise invalid(f"input '{name}' has {math.prod(shape):,} texts; at most {settings.max_values:,} are allowed")
        if tensor.get("datatype") != DATATYPES.get(spec.dtype):
            raise invalid(
                f"input '{name}' must have the datatype {DATATYPES.get(spec.dtype)}, not {tensor.get('datatype')}"
            )
        parameters = _parameters(tensor)
        size = parameters.get("binary_data_size")
        if size is None:
            data = tensor.get("data")
            as_base64 = spec.is_text and parameters.get(CONTENT_TYPE) == BASE64
            arrays[name] = _from_data(_decoded(data, name) if as_base64 else data, shape, spec)
            continue
        left = len(binary) - place
        if type(size) is not int or not 0 <= size <= left:
            raise invalid(f"the binary_data_size of input '{name}' must be a whole number, at most {left} here")
        arrays[name] = spec.check(from_bytes(binary[place : place + size], shape, spec))
        place += size
    if place != len(binary):
        raise invalid(f"the body continues after the last input, by {counted(len(binary) - place, 'byte')}")
    return arrays


def _shape(tensor: dict[str, Any], name: str) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise invalid(f"the shape of input '{name}' must be a list of whole numbers")
    check_shape(shape, name)
    return shape


def _without_nulls(given: dict[str, Any]) -> dict[str, Any]:
    """Leave out fields that are null, which some clients send for those that they do not use."""
    return {name: value for name, value in given.items() if value is not None}


def _decoded(data: Any, name: str) -> Any:
    if isinstance(data, list):
        return [_decoded(part, name) for part in data]
    return {"b64": data} if isinstance(data, str) else data


def _from_data(data: Any, shape: list[int], spec: Spec) -> np.ndarray:
    flat: list[Any] = []
    pending = [data] if isinstance(data, list) else []
    while pending:  # the protocol allows both nested and flat data
        part = pending.pop()
        if isinstance(part, list):
            pending.extend(reversed(part))
        else:
            flat.append(part)
    if len(flat) != math.prod(shape) or not isinstance(data, list):
        raise invalid(
            f"input '{spec.name}' must have {counted(math.prod(shape), 'value')} in 'data', according to its shape,"
            f" not {len(flat)}"
        )
    return spec.check(from_json(flat, Spec(spec.name, spec.dtype, (None,))).reshape(shape))


def _answered(
    address: Address, answer: Answer, body: dict[str, Any], binary: bool, wanted: dict[str, bool | None]
) -> Response:
    tensors, parts = [], []
    for name, array in answer.outputs.items():
        tensor = {**described(answer.signature.outputs[name]), "shape": list(array.shape)}
        if wanted.get(name) if wanted.get(name) is not None else binary:
            parts.append(raw_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor |= _to_data(array.reshape(-1), name)
        tensors.append(tensor)
    head = {"model_name": address.model, "model_version": str(answer.version), "outputs": tensors}
    if "id" in body:
        head["id"] = text_of(body, "id")
    if not parts:
        return written(head)
    written_head = to_bytes(head)
    headers = {HEADER_LENGTH: str(len(written_head))}
    return Response(b"".join([written_head, *parts]), headers=headers, media_type="application/octet-stream")


def _to_data(array: np.ndarray, name: str) -> dict[str, Any]:
    """Return the data as JSON: null for a number that is not finite, and base64 for bytes that are no text."""
    if array.dtype != object:
        data = to_json(array, name)
        if array.dtype.kind not in "biu" and not np.isfinite(array.astype("float64")).all():
            data = [value if math.isfinite(value) else None for value in data]
        return {"data": data}
    data = to_json(array, name)
    if any(isinstance(value, dict) for value in data):
        return {
            "data": [base64.b64encode(value).decode() for value in array],
            "parameters": {CONTENT_TYPE: BASE64},
        }
    return {"data": data}


def _wanted(body: dict[str, Any]) -> dict[str, bool | None]:
    """Return the requested outputs, each with whether it is binary; None if the request does not specify it."""
    given = body.get("outputs", [])
    if not isinstance(given, list) or not all(isinstance(output, dict) for output in given):
        raise invalid("'outputs' must be a list of objects with a name")
    wanted = {}
    for output in map(_without_nulls, given):
        parameters = _parameters(output)
        if "classification" in parameters:
            raise invalid("the classification extension is not supported")
        binary = parameters.get("binary_data")
        wanted[text_of(output, "name")] = binary if isinstance(binary, bool) else None
    return wanted


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise invalid("'parameters' must be an object")
    if "shared_memory_region" in parameters:
        raise invalid("shared memory is not supported; send and ask for the data itself, in JSON or binary form")
    return parameters
