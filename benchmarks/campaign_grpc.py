"""Hostile gRPC requests from a seeded generator: messages, calls, and bytes that are no HTTP/2."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from campaign_clean import INFER, PREDICT, START, Model, infer_message, predict_message
from campaign_http import HALF_CLOSE, LEAVE, Step
from campaign_json import MEBIBYTE
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
)

from pipelines.serving.grpc.inference_messages import message

SERVING = "/tensorflow.serving.PredictionService"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LONG = 120.0  # seconds


@dataclass(frozen=True)
class Call:
    """Make a hostile call; its messages are bytes, and it may end before the server does."""

    protocol: str
    kind: str
    method: str
    content: bytes
    seconds: float = LONG
    compression: grpc.Compression = grpc.Compression.NoCompression
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    repeated: int = 1  # messages of a stream


@dataclass(frozen=True)
class Bytes:
    """Bytes for the port of gRPC."""

    kind: str
    steps: list[Step]
    protocol: str = "HTTP/2"


def tensors(random: random.Random, models: list[Model]) -> Call:
    """Make a tensor of TensorFlow Serving's API whose type, shape and values do not fit."""
    model = random.choice(models)
    signature = random.choice(list(model.signatures))
    request = predict_message(model, signature, model.arrays(signature))
    tensor = request.inputs[random.choice(sorted(request.inputs))]
    changes: dict[str, Callable[[], object]] = {
        "type": lambda: setattr(tensor, "dtype", random.choice((0, 1, 2, 7, 9, 10, 14, 19, 20, 21, 99, 101, -1))),
        "dimension": lambda: tensor.tensor_shape.dim.add(size=random.choice((0, 1, -1, -2, 2**31, 2**62, 7))),
        "many dimensions": lambda: [tensor.tensor_shape.dim.add(size=1) for _ in range(random.choice((8, 300)))],
        "no shape": lambda: tensor.ClearField("tensor_shape"),
        "no rank": lambda: setattr(tensor.tensor_shape, "unknown_rank", True),
        "no values": lambda: [tensor.ClearField(name) for name in ("string_val", "float_val", "tensor_content")],
        "content": lambda: setattr(tensor, "tensor_content", random.randbytes(random.choice((1, 7, 4_000)))),
        "both": lambda: tensor.float_val.extend([float("nan"), float("inf"), 1.0] * random.choice((1, 999))),
        "other values": lambda: (tensor.int64_val.append(2**62), tensor.bool_val.append(True)),
        "variant": lambda: tensor.variant_val.add(type_name="x", metadata=b"y"),
        "resource": lambda: tensor.resource_handle_val.add(name="x", container="y"),
        "long text": lambda: tensor.string_val.append(b"a" * random.choice((100_001, 3 * MEBIBYTE))),
        "no text": lambda: tensor.string_val.append(b"\xff\xfe\x00"),
        "no inputs": lambda: request.ClearField("inputs"),
        "many inputs": lambda: [request.inputs[str(number)].CopyFrom(tensor) for number in range(1_000)],
    }
    kind = random.choice(list(changes))
    changes[kind]()
    return Call("TF Serving gRPC", f"tensor: {kind}", PREDICT, request.SerializeToString())


def specifications(random: random.Random, models: list[Model]) -> Call:
    """Make a model, version, signature or output that is not there."""
    model = random.choice(models)
    request = predict_message(model, model.default, model.arrays(model.default))
    spec = request.model_spec
    changes: dict[str, Callable[[], object]] = {
        "model": lambda: setattr(spec, "name", random.choice(("", "none", "../x", "a" * 100_000, "\x00"))),
        "signature": lambda: setattr(spec, "signature_name", random.choice(("none", "\x00", "a" * 100_000, "__init"))),
        "version": lambda: setattr(spec.version, "value", random.choice((-1, 2, 2**62, -(2**63)))),
        "label": lambda: setattr(spec, "version_label", random.choice(("", "none", "\x00"))),
        "outputs": lambda: request.output_filter.extend(random.choice((["none"], [""], ["x"] * 10_000))),
    }
    kind = random.choice(list(changes))
    changes[kind]()
    return Call("TF Serving gRPC", f"unknown {kind}", PREDICT, request.SerializeToString())


def other_methods(random: random.Random, models: list[Model]) -> Call:
    """Make a call of another method with odd or no content."""
    model = random.choice(models)
    classification = classification_pb2.ClassificationRequest()
    several = inference_pb2.MultiInferenceRequest()
    for request in (classification, several):
        listed = request.input.example_list_with_context if random.random() < 0.3 else request.input.example_list
        for _ in range(random.choice((0, 1, 1_025))):
            example = listed.examples.add()
            example.features.feature["x"].float_list.value.extend([float("nan")] * random.choice((0, 1, 3)))
            example.features.feature["\x00"].bytes_list.value.append(b"\xff")
    classification.model_spec.name = model.name
    for number in range(random.choice((0, 1, 50))):
        task = several.tasks.add(method_name=random.choice(("", "x", "tensorflow/serving/classify")))
        task.model_spec.name = model.name if number % 2 == 0 else "none"
    metadata = get_model_metadata_pb2.GetModelMetadataRequest()
    metadata.model_spec.name = model.name
    metadata.metadata_field.append(random.choice(("signature_def", "", "x", "a" * 10_000)))
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = random.choice((model.name, "none", ""))
    config = model_management_pb2.ReloadConfigRequest()
    entry = config.config.model_config_list.config.add(name=random.choice((model.name, "none", "")), base_path="/etc")
    entry.version_labels["stable"] = random.choice((1, 99, -1))
    asked = {
        f"{SERVING}/Classify": classification,
        f"{SERVING}/Regress": classification,
        f"{SERVING}/MultiInference": several,
        f"{SERVING}/GetModelMetadata": metadata,
        "/tensorflow.serving.ModelService/GetModelStatus": status,
        "/tensorflow.serving.ModelService/HandleReloadConfigRequest": config,
    }
    method = random.choice(list(asked))
    return Call("TF Serving gRPC", method.rsplit("/", 1)[-1], method, asked[method].SerializeToString())


def open_tensors(random: random.Random, models: list[Model]) -> Call:
    """Make a tensor of the Open Inference Protocol whose type, shape and values do not fit."""
    model = random.choice(models)
    signature = random.choice(list(model.signatures))
    request = infer_message(model, signature, model.arrays(signature))
    tensor = random.choice(request.inputs)
    raw = request.raw_input_contents
    types = ("", "FP32", "BYTES", "INT64", "BF16", "FP16", "BOOL", "x" * 10_000)
    changes: dict[str, Callable[[], object]] = {
        "type": lambda: setattr(tensor, "datatype", random.choice(types)),
        "shape": lambda: tensor.shape.append(random.choice((0, 1, -1, 2**31, 2**62, 7))),
        "many dimensions": lambda: tensor.shape.extend([1] * random.choice((8, 100_000))),
        "no shape": lambda: tensor.ClearField("shape"),
        "raw contents": lambda: raw.append(random.randbytes(random.choice((0, 3, 4_000)))),
        "raw contents cut": lambda: raw.__setitem__(0, raw[0][: len(raw[0]) // 2]),
        "raw lengths": lambda: raw.__setitem__(0, b"\xff\xff\xff\xff" * random.choice((1, 100_000))),
        "no contents": lambda: request.ClearField("raw_input_contents"),
        "both contents": lambda: tensor.contents.fp32_contents.extend([float("nan")] * 3),
        "two of a name": lambda: request.inputs.add().CopyFrom(tensor),
        "no inputs": lambda: request.ClearField("inputs"),
        "model": lambda: setattr(request, "model_name", random.choice(("", "none", "a" * 100_000))),
        "version": lambda: setattr(request, "model_version", random.choice(("x", "-1", "9" * 5_000, "\u00b2", "7"))),
        "output": lambda: request.outputs.add(name=random.choice(("", "none"))),
        "signature": lambda: setattr(request.parameters["signature_name"], "int64_param", 7),
        "long id": lambda: setattr(request, "id", "a" * MEBIBYTE),
    }
    kind = random.choice(list(changes))
    changes[kind]()
    method, repeated = (INFER, 1) if random.random() < 0.7 else (STREAM, random.choice((1, 5)))
    return Call("OIP gRPC", f"tensor: {kind}", method, request.SerializeToString(), repeated=repeated)


def open_methods(random: random.Random, models: list[Model]) -> Call:
    """Make a call of another method of the Open Inference Protocol."""
    model = random.choice((random.choice(models).name, "none", "", "\x00"))
    asked: dict[str, Any] = {
        "ModelReady": message("ModelReadyRequest")(name=model, version=random.choice(("", "1", "x", "9" * 5_000))),
        "ModelMetadata": message("ModelMetadataRequest")(name=model),
        "ModelStatistics": message("ModelStatisticsRequest")(name=model, version=random.choice(("", "2"))),
        "RepositoryIndex": message("RepositoryIndexRequest")(),
        "RepositoryModelLoad": message("RepositoryModelLoadRequest")(model_name=model),
        "RepositoryModelUnload": message("RepositoryModelUnloadRequest")(model_name=model),
        "ServerMetadata": message("ServerMetadataRequest")(),
        "SystemSharedMemoryStatus": message("ServerLiveRequest")(),
    }
    name = random.choice(list(asked))
    return Call("OIP gRPC", name, f"/inference.GRPCInferenceService/{name}", asked[name].SerializeToString())


def damaged(random: random.Random, models: list[Model]) -> Call:
    """Make a message whose bytes are cut or changed, or that has far too many values."""
    model = random.choice(models)
    arrays = model.arrays(model.default)
    opens = random.random() < 0.5
    request = (infer_message if opens else predict_message)(model, model.default, arrays)
    content = request.SerializeToString()
    where = random.randrange(len(content))
    many = random.choice((100_000, 3 * MEBIBYTE))
    changes: dict[str, Callable[[], bytes]] = {
        "cut": lambda: content[:where],
        "bytes changed": lambda: content[:where] + random.randbytes(4) + content[where + 4 :],
        "more after it": lambda: content + random.choice((b"\x00", b"\xff" * 9, content, b"\x0b" * 500)),
        "random": lambda: random.randbytes(random.choice((1, 100, 100_000))),
        "nothing": lambda: b"",
        "groups": lambda: b"\x0b" * random.choice((50, 100_000)) + b"\x0c" * 50,
        "huge length": lambda: content + b"\x12\xff\xff\xff\xff\x07",
        "long varint": lambda: content + b"\x18" + b"\xff" * 20,
        "many empty fields": lambda: content + b"\x12\x00" * many,
        "many zeros": lambda: content + b"\x00" * many,
        "too large": lambda: content + bytes(33 * MEBIBYTE),
    }
    kind = random.choice([name for name in changes if name != "too large" or random.random() < 0.2])
    protocol, method = ("OIP gRPC", INFER) if opens else ("TF Serving gRPC", PREDICT)
    return Call(protocol, f"message: {kind}", method, changes[kind]())


def calls(random: random.Random, models: list[Model]) -> Call:
    """Make a clean message in an odd call: left at once, compressed, with odd metadata, or to an unknown method."""
    model = random.choice(models)
    content = predict_message(model, model.default, model.arrays(model.default)).SerializeToString()
    kind = random.choice(("left", "gzip", "metadata", "method", "deadline", "stream left"))
    if kind == "method":
        method = random.choice((f"{SERVING}/None", "/none/None", f"{SERVING}/SessionRun", "/a", "/%00/%00"))
        return Call("TF Serving gRPC", "unknown method", method, content)
    if kind in ("left", "deadline"):
        return Call("TF Serving gRPC", kind, PREDICT, content, random.choice((0.0005, 0.002, 0.02)))
    if kind == "stream left":
        writers = [model for model in models if START in model.signatures]
        if writers:
            arrays = writers[0].arrays(START) | {"max_tokens": np.int32([400])}
            sent = infer_message(writers[0], START, arrays).SerializeToString()
            return Call("OIP gRPC", kind, STREAM, sent, random.choice((0.05, 0.3)), repeated=2)
    if kind == "metadata":
        pairs = ((("x-routing-key", "a" * 1_000),), (("authorization", "Bearer x"),), (("x-bin", b"\xff"),))
        return Call("TF Serving gRPC", kind, PREDICT, content, metadata=random.choice(pairs))
    zeros = content + b"\x18\x00" * random.choice((0, 10_000))
    return Call("TF Serving gRPC", "gzip", PREDICT, zeros, compression=grpc.Compression.Gzip)


def no_http2(random: random.Random, models: list[Model]) -> Bytes:
    """Bytes that are no HTTP/2, or frames that do not fit together."""

    def frame(kind: int, flags: int, stream: int, content: bytes, length: int | None = None) -> bytes:
        size = len(content) if length is None else length
        return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content

    settings = frame(4, 0, 0, b"")
    frames = random.choice(
        (
            b"",
            settings * random.choice((1, 5_000)),
            settings + frame(6, 0, 0, bytes(8)) * 5_000,
            settings + frame(0, 0, 1, bytes(100)),
            settings + frame(1, 4, 1, random.randbytes(100)),
            settings + frame(1, 4, 2, b"\x82\x86"),
            settings + frame(0, 0, 1, b"", length=2**24 - 1),
            settings + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 5,
            settings + b"".join(frame(3, 0, number, bytes(4)) for number in range(1, 999, 2)),
            settings + frame(9, 0, 1, bytes(1_000)) * 500,
            random.randbytes(10_000),
        )
    )
    start = random.choice(
        (PREFACE, PREFACE, PREFACE, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PREFACE[:9], b"\x16\x03\x01")
    )
    return Bytes("frames" if start is PREFACE else "no preface", [start + frames, random.choice((LEAVE, HALF_CLOSE))])
