"""Requests of one example in each protocol, as bytes that a load client sends again and again."""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SENTENCE = "Ann Lee flew from Oslo to New York last Monday, where she met Bob Miller."
PIXELS = 128
OF_STRING = 7  # DT_STRING


@dataclass(frozen=True)
class Request:
    """Where to send what."""

    place: str
    headers: dict[str, str]
    body: bytes


def request_of(export: Path, server: str, protocol: str) -> Request:
    """Write a request of one example."""
    inputs = arrays(export)
    if protocol == "gRPC":
        place = "/tensorflow.serving.PredictionService/Predict"
        return Request(place, {"Content-Type": "application/grpc", "TE": "trailers"}, _grpc(export.name, inputs))
    kind = {"Content-Type": "application/json"}
    if protocol == "v2 binary":
        head, content = _binary(inputs)
        length = {"Inference-Header-Content-Length": str(len(head))}
        return Request(f"/v2/models/{export.name}/infer", kind | length, head + content)
    if protocol == "v2 JSON":
        return Request(f"/v2/models/{export.name}/infer", kind, json.dumps({"inputs": _tensors(inputs)}).encode())
    body = json.dumps({"instances": [{name: _plain(array[0], name) for name, array in inputs.items()}]}).encode()
    return Request(f"/v1/models/{export.name}:predict" if server == "ours" else "/predict", kind, body)


def arrays(export: Path) -> dict[str, np.ndarray]:
    """Make one example that fits a signature: a picture, a sentence, or the columns of a table."""
    from tensorflow.core.protobuf import saved_model_pb2

    newest = max((path for path in export.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    graph = saved_model_pb2.SavedModel.FromString((newest / "saved_model.pb").read_bytes()).meta_graphs[0]
    inputs = graph.signature_def["serving_default"].inputs
    texts = {"image": _picture(), "text": SENTENCE.encode()}
    return {
        name: np.array([texts.get(name, b"Normal")], object) if info.dtype == OF_STRING else np.float32([100])
        for name, info in sorted(inputs.items())
    }


def _grpc(model: str, inputs: dict[str, np.ndarray]) -> bytes:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    message = request.SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message  # not compressed, as gRPC frames messages


def _binary(inputs: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """Write the Open Inference Protocol's JSON, and the bytes that follow it."""
    tensors, parts = [], []
    for name, array in inputs.items():
        text = array.dtype == object
        content = b"".join(len(t).to_bytes(4, "little") + t for t in array) if text else array.tobytes()
        size = {"binary_data_size": len(content)}
        tensors.append({"name": name, "shape": [1], "datatype": "BYTES" if text else "FP32", "parameters": size})
        parts.append(content)
    return json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode(), b"".join(parts)


def _tensors(inputs: dict[str, np.ndarray]) -> list[dict]:
    tensors = []
    for name, array in inputs.items():
        kind = "BYTES" if array.dtype == object else "FP32"
        value = base64.b64encode(array[0]).decode() if name == "image" else _plain(array[0], name)
        tensors.append({"name": name, "shape": [1], "datatype": kind, "data": [value]})
    return tensors


def _plain(value: bytes | np.float32, name: str) -> object:
    if not isinstance(value, bytes):
        return float(value)
    return {"b64": base64.b64encode(value).decode()} if name == "image" else value.decode()


def _picture() -> bytes:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, [64, 64, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(noise).resize([PIXELS, PIXELS]).save(buffer, "JPEG")
    return buffer.getvalue()
