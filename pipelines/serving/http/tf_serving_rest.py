"""TensorFlow Serving's REST API v1, with streaming as an extension.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from pipelines.serving.http.bodies import is_openai, read_object, text_of, written
from pipelines.serving.http.descriptions import BODIES, answers
from pipelines.serving.http.events import Events, event
from pipelines.serving.http.openai_answers import described
from pipelines.serving.models import examples
from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.streaming import Piece
from pipelines.serving.models.tensors import check_rows, from_json, to_json
from pipelines.serving.request_errors import RequestError, invalid, unknown
from pipelines.serving.service import Address, Answer, Service

Name = Annotated[str, Path(description="a model's name")]
Number = Annotated[int, Path(ge=0, description="a version")]
Label = Annotated[str, Path(description="a label, such as stable or canary")]

ROOT = "/v1/models/{name}"


def router(service: Service) -> APIRouter:
    """Return the routes of the API."""
    routes = APIRouter(tags=["TensorFlow Serving REST API"], responses=answers(bool(service.settings.all_tokens)))
    for verb, handle in {"predict": predict, "classify": classify, "regress": regress, "stream": stream}.items():
        _add(routes, "POST", f":{verb}", partial(handle, service), f"{verb} with a model", BODIES[verb])
    _add(routes, "GET", "", partial(status, service), "Status of the versions of a model", None)
    _add(routes, "GET", "/metadata", partial(metadata, service), "Signatures of a model", None)
    return routes


def _add(routes: APIRouter, method: str, end: str, handle: Any, summary: str, body: dict[str, Any] | None) -> None:
    async def newest(request: Request, name: Name) -> Response:
        return await handle(request, Address(name))

    async def of_version(request: Request, name: Name, version: Number) -> Response:
        return await handle(request, Address(name, version))

    async def of_label(request: Request, name: Name, label: Label) -> Response:
        return await handle(request, Address(name, label=label))

    endpoints: dict[str, Callable[..., Any]] = {
        "": newest,
        "/versions/{version}": of_version,
        "/labels/{label}": of_label,
    }
    for place, endpoint in endpoints.items():
        operation = f"{summary}{place}".replace("/", " ").replace("{", "").replace("}", "").replace(" ", "_")
        routes.add_api_route(
            f"{ROOT}{place}{end}",
            endpoint,
            methods=[method],
            summary=summary,
            operation_id=operation,
            openapi_extra={"requestBody": body} if body else None,
        )


async def predict(service: Service, request: Request, address: Address) -> Response:
    """Run inference on rows ("instances") or columns ("inputs")."""
    content = await request.body()
    body = await read_object(service, content)
    if ("instances" in body) == ("inputs" in body):
        raise invalid("a request must have either 'instances' (rows) or 'inputs' (columns)")
    most, by_rows = service.settings.max_rows, "instances" in body
    read = partial(rows, body["instances"], most) if by_rows else partial(columns, body["inputs"], most)
    answer = await service.answer(address, text_of(body, "signature_name"), read, size=len(content))
    given = body["instances" if by_rows else "inputs"]
    return await service.conversions.run(answer.size, _answered, answer, by_rows, given)


def _answered(answer: Answer, by_rows: bool, given: Any) -> Response:
    arrays = _flat(answer) if _is_flat(answer, given) else answer.outputs
    plain = {name: to_json(array, name) for name, array in arrays.items()}
    if not by_rows:
        return written({"outputs": next(iter(plain.values())) if len(plain) == 1 else plain})
    counts = {len(array) if array.ndim else None for array in answer.outputs.values()}
    if len(counts) != 1 or None in counts:
        raise invalid("the outputs have no rows, or different numbers; use 'inputs' instead of 'instances'")
    if len(plain) == 1:
        return written({"predictions": next(iter(plain.values()))})
    return written({"predictions": [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]})


def _is_flat(answer: Answer, given: Any) -> bool:
    """Return whether a request had one number for each row of an input of one column."""
    spec = next(iter(answer.signature.inputs.values()), None)
    if spec is None or len(answer.signature.inputs) > 1 or not spec.takes_flat(1):
        return False
    return isinstance(given, list) and not isinstance(given[0], list | dict)


def _flat(answer: Answer) -> Arrays:
    """Return the outputs with one value for each row as the input was given, without the second dimension."""
    return {
        name: array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
        for name, array in answer.outputs.items()
    }


async def classify(service: Service, request: Request, address: Address) -> Response:
    """Return the classes and scores of each example."""
    outputs = await _answer_examples(service, request, address)
    return written({"results": examples.classes(outputs)})


async def regress(service: Service, request: Request, address: Address) -> Response:
    """Return the regression value of each example."""
    outputs = await _answer_examples(service, request, address)
    return written({"results": examples.values(outputs)})


async def stream(service: Service, request: Request, address: Address) -> Response:
    """Stream generated text as server-sent events."""
    content = await request.body()
    body = await read_object(service, content)
    if "inputs" not in body:
        raise invalid("a streaming request must have 'inputs'")
    read = partial(columns, body["inputs"], service.settings.max_rows)
    return Events(_events(service, address, read, len(content)))


async def status(service: Service, request: Request, address: Address) -> Response:
    """Return the states of the versions of a model, or to a client of OpenAI what it knows of a model."""
    if is_openai(request.scope):
        return written(described(service.find(address), address.model))
    states = service.catalogue.model(address.model).states
    if address.version is not None or address.label is not None:
        number = address.version if address.label is None else service.find(address).number
        if number not in states:
            raise unknown(f"Could not find version {number} of model {address.model}")
        states = {number: states[number]}
    listed = [
        {
            "version": str(number),
            "state": state.name,
            "status": {"error_code": "UNKNOWN" if state.error else "OK", "error_message": state.error},
        }
        for number, state in sorted(states.items(), reverse=True)
    ]
    return written({"model_version_status": listed})


async def metadata(service: Service, request: Request, address: Address) -> Response:
    """Return the signatures of a model."""
    version = service.find(address)
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=version.definitions)
    described = json_format.MessageToDict(
        signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return written(
        {
            "model_spec": {"name": address.model, "signature_name": "", "version": str(version.number)},
            "metadata": {"signature_def": described},
        }
    )


def rows(instances: Any, most: int, signature: Signature) -> Arrays:
    """Read "instances": a list of objects with a value per input, or of plain values for a single input.

    There may be `most` of them.

    Raises:
        RequestError: If a row is invalid; it names the row or the input.
    """
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a non-empty list of rows")
    check_rows(len(instances), most, "instances")
    names, first = signature.inputs, instances[0]
    named = isinstance(first, dict) and set(first) != {"b64"}
    if not named:
        if len(names) != 1:
            raise invalid(f"each of 'instances' must be an object with: {', '.join(names)}")
        return {name: from_json(instances, spec) for name, spec in names.items()}
    signature.check_names(first, "instances[0]")
    for number, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise invalid(f"instances[{number}] is not an object, but others are")
        if instance.keys() != first.keys():
            signature.check_names(instance, f"instances[{number}]")
            raise invalid(f"instances[{number}] has other inputs than instances[0]; send the same with each")
    return {name: from_json([instance[name] for instance in instances], names[name]) for name in first}


def columns(inputs: Any, most: int, signature: Signature) -> Arrays:
    """Read "inputs": an object with a tensor per input, or a plain tensor for a single input, of up to `most` rows.

    Raises:
        RequestError: If an input is invalid; it names the input.
    """
    if not isinstance(inputs, dict) or (set(inputs) == {"b64"} and "b64" not in signature.inputs):
        if len(signature.inputs) != 1:
            raise invalid(f"'inputs' must be an object with: {', '.join(signature.inputs)}")
        inputs = dict.fromkeys(signature.inputs, inputs)
    signature.check_names(inputs, "inputs")
    for name, values in inputs.items():
        check_rows(len(values) if isinstance(values, list) else 1, most, name)
    return {name: from_json(values, signature.inputs[name]) for name, values in inputs.items()}


async def _answer_examples(service: Service, request: Request, address: Address) -> Arrays:
    content = await request.body()
    body = await read_object(service, content)
    given = body.get("examples")
    if not isinstance(given, list) or not given:
        raise invalid("'examples' must be a non-empty list of objects")
    check_rows(len(given), service.settings.max_rows, "examples")

    def read(signature: Signature) -> Arrays:
        serialized = [examples.from_features(example, body.get("context", {})) for example in given]
        return examples.as_inputs(signature, serialized)

    name = text_of(body, "signature_name")
    return (await service.answer(address, name, read, size=len(content))).outputs


@contextlib.asynccontextmanager
async def _events(
    service: Service, address: Address, read: Callable[[Signature], Arrays], size: int
) -> AsyncIterator[AsyncIterator[bytes]]:
    async with service.stream(address, read, size) as pieces:
        yield _sent(pieces)


async def _sent(pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield event({"text": piece.text, "finished": piece.finished})
    except RequestError as error:
        yield b"event: error\n" + event({"error": error.reason})
