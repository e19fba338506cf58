"""Tensors of the Open Inference Protocol: the names of their types, and their binary form."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.serving.models.tensors import Spec
from pipelines.serving.request_errors import invalid

EXTENSIONS = ["binary_tensor_data", "signatures", "statistics"]
DATATYPES = {
    **{tf.bool: "BOOL", tf.string: "BYTES", tf.bfloat16: "BF16"},
    **{getattr(tf, f"uint{bits}"): f"UINT{bits}" for bits in (8, 16, 32, 64)},
    **{getattr(tf, f"int{bits}"): f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{getattr(tf, f"float{bits}"): f"FP{bits}" for bits in (16, 32, 64)},
}


def described(spec: Spec) -> dict[str, Any]:
    """Return the name, type and shape of a tensor; -1 is a variable length."""
    shape = [-1 if length is None else length for length in ((None,) if spec.shape is None else spec.shape)]
    return {"name": spec.name, "datatype": DATATYPES.get(spec.dtype, spec.dtype.name.upper()), "shape": shape}


def from_bytes(content: bytes, shape: list[int], spec: Spec) -> np.ndarray:
    """Read a tensor in binary form; each string comes after its length in 4 bytes.

    Raises:
        RequestError: If the bytes do not fit; it names the input.
    """
    count = math.prod(shape)
    if not spec.is_text:
        dtype = np.dtype(spec.dtype.as_numpy_dtype)
        if len(content) != count * dtype.itemsize:
            raise invalid(
                f"input '{spec.name}' must have {counted(count * dtype.itemsize, 'byte')}, according to its shape,"
                f" not {len(content)}"
            )
        return np.frombuffer(content, dtype).reshape(shape)
    texts: list[bytes] = []
    place = 0
    while place + 4 <= len(content) and len(texts) <= count:
        end = place + 4 + int.from_bytes(content[place : place + 4], "little")
        texts.append(content[place + 4 : end])
        place = end
    if place != len(content) or len(texts) != count:
        raise invalid(
            f"input '{spec.name}' must have {counted(count, 'string')}, each preceded by its length in 4 bytes"
        )
    array = np.empty(count, object)
    array[:] = texts
    return array.reshape(shape)


def raw_bytes(array: np.ndarray) -> bytes:
    """Return a tensor in binary form."""
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    return b"".join(len(text).to_bytes(4, "little") + text for text in array.flat)


def counted(count: int, unit: str) -> str:
    """Return a number with its unit, for messages."""
    return f"{count} {unit}{'s' * (count != 1)}"
