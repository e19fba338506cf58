"""Conversion of TensorProtos, the tensor format of TensorFlow Serving's gRPC API, to arrays."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DT_FLOAT, DT_STRING

from pipelines.serving.models.tensors import Spec, check_shape, written_shape
from pipelines.serving.request_errors import invalid

REPEATED_UP_TO = 1 << 20  # elements; a TensorProto with a single value means a tensor filled with it
_VALUES = (
    *("half_val", "float_val", "double_val", "int_val", "string_val", "int64_val", "bool_val"),
    *("uint32_val", "uint64_val"),
)


def from_proto(proto: Any, spec: Spec) -> np.ndarray:
    """Convert a TensorProto to an array.

    Raises:
        RequestError: If it does not fit `spec`, or its shape needs more values than it holds.
    """
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    values = _listed(proto, shape)
    if values is not None:
        return spec.check(values)
    check_shape(shape, spec.name)
    given = max(len(proto.tensor_content), *(len(getattr(proto, name)) for name in _VALUES))
    if math.prod(shape) > max(given, REPEATED_UP_TO):
        raise invalid(f"input '{spec.name}' has fewer values than its shape {written_shape(shape)} needs")
    try:
        array = tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise invalid(f"input '{spec.name}' is not a valid tensor: {error}") from None
    return spec.check(array)


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
