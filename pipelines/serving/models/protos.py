"""Conversion of TensorProtos, the tensor format of TensorFlow Serving's gRPC API, to arrays."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DT_FLOAT, DT_STRING

from pipelines.serving.models.tensors import LONGEST, Spec, check_rows, check_shape, written_shape
from pipelines.serving.request_errors import invalid

PART = 1 << 16  # values that are written at a time
REPEATED_UP_TO = 1 << 20  # elements; a TensorProto with a single value means a tensor filled with it
_FIELDS = {
    **dict.fromkeys((tf.float16, tf.bfloat16), "half_val"),
    **dict.fromkeys((tf.uint8, tf.int8, tf.uint16, tf.int16, tf.int32), "int_val"),
    **{tf.float32: "float_val", tf.float64: "double_val", tf.string: "string_val", tf.bool: "bool_val"},
    **{tf.int64: "int64_val", tf.uint32: "uint32_val", tf.uint64: "uint64_val"},
    **{tf.complex64: "scomplex_val", tf.complex128: "dcomplex_val"},
}
_VALUES = (
    *("half_val", "float_val", "double_val", "int_val", "string_val", "int64_val", "bool_val"),
    *("uint32_val", "uint64_val"),
)


def from_proto(proto: Any, spec: Spec, most: int = LONGEST) -> np.ndarray:
    """Convert a TensorProto to an array of at most `most` rows.

    Raises:
        RequestError: If it does not fit `spec`, or its shape needs more values than it holds.
    """
    if proto.dtype != spec.dtype.as_datatype_enum:
        raise invalid(f"input '{spec.name}' must be {spec.dtype.name}, not {_type_name(proto.dtype)}")
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    check_rows(shape[0] if shape else 1, most, spec.name)
    fitted = spec.fitted(shape)
    values = _listed(proto, shape)
    if values is not None:
        return spec.check(values.reshape(fitted))
    check_shape(shape, spec.name)
    given = max(len(proto.tensor_content), *(len(getattr(proto, name)) for name in _VALUES))
    if math.prod(shape) > max(given, REPEATED_UP_TO):
        raise invalid(f"input '{spec.name}' has fewer values than its shape {written_shape(shape)} needs")
    try:
        # TensorFlow fills a tensor without texts with one that is not of bytes.
        no_texts = proto.dtype == DT_STRING and not proto.string_val
        array = np.full(shape, b"", object) if no_texts else tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise invalid(f"input '{spec.name}' is not a valid tensor: {error}") from None
    return spec.check(array.reshape(fitted))


def _type_name(number: int) -> str:
    try:
        return tf.as_dtype(number).name
    except TypeError:
        return f"the type {number}"


def _listed(proto: Any, shape: list[int]) -> np.ndarray | None:
    """Read a complete 1-D tensor of strings or float32, as columns of a table have it; otherwise return None."""
    if len(shape) != 1 or proto.dtype not in (DT_FLOAT, DT_STRING):
        return None
    if proto.dtype == DT_FLOAT:
        content = proto.tensor_content
        array = np.frombuffer(content, "<f4") if len(content) % 4 == 0 and content else np.array(proto.float_val, "f4")
    else:
        array = np.empty(len(proto.string_val), object)
        array[:] = proto.string_val
    return array if len(array) == shape[0] else None


def put_proto(proto: Any, array: np.ndarray, dtype: tf.DType) -> None:
    """Write an array to a TensorProto, in the field of its type as TensorFlow Serving answers, not as raw bytes.

    Raises:
        RequestError: If a TensorProto cannot carry the type.
    """
    proto.dtype = dtype.as_datatype_enum
    for length in array.shape:
        proto.tensor_shape.dim.add(size=length)
    field = _FIELDS.get(dtype)
    if field is None:
        raise invalid(f"an output has the type {dtype.name}, which gRPC cannot answer")
    if field == "half_val":  # the bits, as a whole number
        array = array.view(np.uint16)
    elif dtype.is_complex:  # the real part, then the imaginary one
        array = np.ascontiguousarray(array).view("f4" if dtype == tf.complex64 else "f8")
    flat, values = array.reshape(-1), getattr(proto, field)
    for start in range(0, len(flat), PART):  # in parts, between which other threads run
        values.extend(flat[start : start + PART].tolist())
