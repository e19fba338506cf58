"""Clean requests to served models over every protocol, and whether their answers are those of an idle server."""

import asyncio
import io
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import grpc
import httpx
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

from pipelines.serving.grpc.inference_messages import message
from pipelines.serving.models.open_tensors import DATATYPES, raw_bytes
from pipelines.serving.models.tensors import to_json

DEFAULT, START, N_BEST = "serving_default", "stream_start", "n_best"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
INFER = "/inference.GRPCInferenceService/ModelInfer"
SENTENCE = b"Ann Lee flew from Oslo to New York last Monday."
NUMBERS = {"max_tokens": 8, "top_k": 5, "temperature": 0.7, "top_p": 0.9, "count": 1}
VOLATILE = {"id", "created", "model_version", "version"}  # fields that are not of the prediction
CLOSE = 1e-3  # relative: a batch rounds otherwise than a single row
SECONDS = 120.0


@dataclass(frozen=True)
class Model:
    """A served model: the types and shapes of the inputs of each signature."""

    name: str
    signatures: Mapping[str, Mapping[str, tuple[tf.DType, tuple[int | None, ...]]]]

    @property
    def default(self) -> str:
        """Return the signature that most requests are for."""
        return DEFAULT if DEFAULT in self.signatures else min(self.signatures)

    @property
    def has_images(self) -> bool:
        """Return whether it reads images."""
        return "image" in self.signatures[self.default]

    @property
    def writes(self) -> bool:
        """Return whether it answers OpenAI's API."""
        return START in self.signatures or N_BEST in self.signatures

    def arrays(self, signature: str, row: int = 0) -> dict[str, np.ndarray]:
        """Make the inputs of one row."""
        return {name: _array(name, *spec, row) for name, spec in self.signatures[signature].items()}


@dataclass(frozen=True)
class Clean:
    """A clean request: how to ask it, which gives an answer to compare."""

    protocol: str
    ask: Callable[[], Awaitable[Any]]


class Refused(Exception):
    """An answer that is none; the reason is its code."""


async def read_models(web: httpx.AsyncClient) -> list[Model]:
    """Read the signatures of all models of a server."""
    names = [entry["name"] for entry in (await web.get("/v2/models")).json()["models"]]
    return [Model(name, _signatures((await web.get(f"/v1/models/{name}/metadata")).json())) for name in sorted(names)]


def _signatures(metadata: dict) -> dict:
    found = metadata["metadata"]["signature_def"]["signature_def"]
    return {
        name: {
            key: (
                tf.as_dtype(types_pb2.DataType.Value(tensor["dtype"])),
                tuple(_length(part) for part in tensor["tensor_shape"]["dim"]),
            )
            for key, tensor in definition["inputs"].items()
        }
        for name, definition in found.items()
    }


def _length(dimension: dict) -> int | None:
    return int(dimension["size"]) if int(dimension["size"]) >= 0 else None


def _array(name: str, kind: tf.DType, shape: tuple[int | None, ...], row: int) -> np.ndarray:
    lengths = [length or 1 for length in shape]
    if kind == tf.string:
        texts = {"image": _picture(row), "stop": b"", "examples": _example(row)}
        text = texts.get(name, b"Normal" if name[:1].isupper() else SENTENCE[row:])
        array = np.empty(lengths, object)
        array.fill(text)  # `full` would cut zeros at the end
        return array
    return np.full(lengths, NUMBERS.get(name, row + 1), kind.as_numpy_dtype)


@cache
def _picture(seed: int) -> bytes:
    from PIL import Image

    noise = np.random.default_rng(seed).integers(0, 256, [64, 64, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def _example(row: int) -> bytes:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[row / 10]))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()


def clean_requests(models: list[Model], web: httpx.AsyncClient, channel: grpc.aio.Channel) -> list[Clean]:
    """Make clean requests over all protocols."""
    requests = [Clean("playground", lambda: _page(web, "/playground/config", ("title",)))]
    for model in models:
        requests += [Clean("REST", lambda model=model: _page(web, f"/v1/models/{model.name}", ()))]
        if DEFAULT in model.signatures:
            requests += [Clean("OIP HTTP", lambda model=model: _page(web, f"/v2/models/{model.name}", ("inputs",)))]
        for row in range(3):
            requests += _of_row(model, model.arrays(model.default, row), web, channel)
        if model.writes:
            requests += _writing(model, web)
    return requests


def _of_row(model: Model, arrays: dict[str, np.ndarray], web: Any, channel: Any) -> Iterator[Clean]:
    if model.default == START:
        return
    rest = f"/v1/models/{model.name}:predict"
    signature = {} if model.default == DEFAULT else {"signature_name": model.default}
    columns = {name: plain(array) for name, array in arrays.items()}
    rows = [{name: values[0] for name, values in columns.items()}]
    yield Clean("REST", lambda: _post(web, rest, {"instances": rows, **signature}))
    yield Clean("REST", lambda: _post(web, rest, {"inputs": columns, **signature}))
    infer, parameters = f"/v2/models/{model.name}/infer", {"signature_name": model.default}
    if all(array.dtype != object or _is_text(array) for array in arrays.values()):
        tensors = [tensor | {"data": arrays[tensor["name"]].reshape(-1)} for tensor in described(arrays)]
        tensors = [tensor | {"data": plain(tensor["data"])} for tensor in tensors]
        yield Clean("OIP HTTP", lambda: _post(web, infer, {"inputs": tensors, "parameters": parameters}))
    head, content = binary(arrays, parameters)
    yield Clean("OIP HTTP", lambda: _post_binary(web, infer, head, content))
    sent = predict_message(model, model.default, arrays).SerializeToString()
    yield Clean("TF Serving gRPC", lambda: _call(channel, PREDICT, sent, predict_pb2.PredictResponse))
    asked = infer_message(model, model.default, arrays).SerializeToString()
    yield Clean("OIP gRPC", lambda: _call(channel, INFER, asked, message("ModelInferResponse")))


def _writing(model: Model, web: httpx.AsyncClient) -> Iterator[Clean]:
    text = SENTENCE.decode()
    body: dict[str, Any] = {"model": model.name, "prompt": text}
    if START in model.signatures:
        inputs = {"prompt": [text]}
        yield Clean("REST", lambda: _events(web, f"/v1/models/{model.name}:stream", {"inputs": inputs}))
        if "max_tokens" in model.signatures[START]:
            body["max_tokens"] = 6
        yield Clean("OpenAI", lambda: _post(web, "/v1/completions", body))
        yield Clean("OpenAI", lambda: _events(web, "/v1/completions", {**body, "stream": True}))
    else:
        chat = {"model": model.name, "messages": [{"role": "user", "content": text}]}
        yield Clean("OpenAI", lambda: _post(web, "/v1/completions", body))
        yield Clean("OpenAI", lambda: _post(web, "/v1/chat/completions", chat))


def plain(array: np.ndarray) -> Any:
    """Return an array as JSON."""
    return to_json(array, "")


def _is_text(array: np.ndarray) -> bool:
    return all(isinstance(value, str) for value in np.ravel(np.array(plain(array.reshape(-1)), object)))


def described(arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Describe tensors as the Open Inference Protocol does."""
    return [
        {"name": name, "shape": list(array.shape), "datatype": DATATYPES[tf.as_dtype(array.dtype)]}
        if array.dtype != object
        else {"name": name, "shape": list(array.shape), "datatype": "BYTES"}
        for name, array in arrays.items()
    ]


def binary(arrays: Mapping[str, np.ndarray], parameters: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the JSON of a request with binary tensors, and the bytes that follow it."""
    parts = [raw_bytes(array) for array in arrays.values()]
    tensors = [
        tensor | {"parameters": {"binary_data_size": len(part)}}
        for tensor, part in zip(described(arrays), parts, strict=True)
    ]
    return json.dumps({"inputs": tensors, "parameters": parameters}).encode(), b"".join(parts)


def predict_message(model: Model, signature: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return a message of TensorFlow Serving's API."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model.name, signature
    for name, array in arrays.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return request


def infer_message(model: Model, signature: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return a message of the Open Inference Protocol."""
    request = message("ModelInferRequest")(model_name=model.name)
    request.parameters["signature_name"].string_param = signature
    for tensor, array in zip(described(arrays), arrays.values(), strict=True):
        request.inputs.add(**tensor)
        request.raw_input_contents.append(raw_bytes(array))
    return request


async def _page(web: httpx.AsyncClient, path: str, fields: tuple[str, ...]) -> Any:
    body = _checked(await web.get(path, follow_redirects=True, timeout=SECONDS)).json()
    return {name: body[name] for name in fields}


async def _post(web: httpx.AsyncClient, path: str, body: Any) -> Any:
    return _checked(await web.post(path, json=body, timeout=SECONDS)).json()


async def _post_binary(web: httpx.AsyncClient, path: str, head: bytes, content: bytes) -> Any:
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return _checked(await web.post(path, content=head + content, headers=headers, timeout=SECONDS)).json()


async def _events(web: httpx.AsyncClient, path: str, body: Any) -> list[Any]:
    text = _checked(await web.post(path, json=body, timeout=SECONDS)).text
    if "event: error" in text:
        raise Refused(text)
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    return [json.loads(event) for event in events if event != "[DONE]"]


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code != httpx.codes.OK:
        raise Refused(f"{answer.status_code} {answer.text[:200]}")
    return answer


async def _call(channel: grpc.aio.Channel, method: str, sent: bytes, kind: Any) -> Any:
    try:
        return json_format.MessageToDict(kind.FromString(await channel.unary_unary(method)(sent, timeout=SECONDS)))
    except grpc.aio.AioRpcError as error:
        raise Refused(f"{error.code().name} {error.details()}") from None


def same(one: Any, other: Any) -> bool:
    """Return whether two answers are equal up to rounding, but for their ids, times and versions."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = (one.keys() | other.keys()) - VOLATILE - {"modelVersion", "modelSpec"}
        return all(name in one and name in other and same(one[name], other[name]) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE) or (one != one and other != other)
    return one == other


@dataclass
class Tally:
    """What became of the clean requests."""

    right: int = 0
    refused: int = 0  # with 503 or 429, which tell to come again
    wrong: list[str] = field(default_factory=list)


class Checker:
    """Ask clean requests again and again, and compare each answer with the first, which an idle server gave."""

    def __init__(self, requests: list[Clean]):
        self.requests, self.first = requests, []
        self.tallies = {request.protocol: Tally() for request in requests}
        self.done = False

    async def begin(self) -> None:
        """Ask each once.

        Raises:
            Refused: If the idle server refuses one.
        """
        for request in self.requests:
            self.first.append(await request.ask())

    async def go_on(self, offset: int, pause: float) -> None:
        """Ask in turn until done."""
        number = offset
        while not self.done:
            await self._ask(number % len(self.requests))
            number += 1
            await asyncio.sleep(pause)

    async def _ask(self, number: int) -> None:
        request = self.requests[number]
        tally = self.tallies[request.protocol]
        try:
            answer = await request.ask()
        except Refused as refused:
            if str(refused).startswith(("503", "429", "UNAVAILABLE", "RESOURCE_EXHAUSTED")):
                tally.refused += 1
            else:
                tally.wrong.append(f"{number}: {refused}")
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            tally.wrong.append(f"{number}: {error!r}")
        else:
            if same(answer, self.first[number]):
                tally.right += 1
            else:
                tally.wrong.append(f"{number}: another answer than at first: {str(answer)[:300]}")
