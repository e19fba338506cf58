"""What one signature of an export takes and answers, and whether requests to it may run together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from pipelines.serving.models.tensors import Spec, merge
from pipelines.serving.request_errors import Kind, RequestError, invalid

DEFAULT = "serving_default"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Signature:
    """One function of an export.

    Requests run together where that cannot change their answers:

    - Inputs and outputs all have the batch first, of any size.
    - Where all other dimensions of the outputs are fixed, inputs whose lengths may vary are filled up with empty
      texts and zeros to the longest of the batch, which is what such dimensions mean in raw inputs.
    - Where the outputs' second dimension varies, answers come filled up to the longest of the batch, and a request is
      given its own back by cutting the columns at the end that are empty in all its rows and all its outputs. An empty
      text marks such a column; a 0 could be an answer, so one of these outputs has to hold texts. Only requests with
      inputs of the same shape run together then, since what such outputs count may be the places of the inputs.
      The cut is made to every answer, run together or not, so that no answer depends on its neighbours. Outputs whose
      second dimensions differ do not vary together: then nothing is cut and each request runs by itself.
    - All else runs request by request.
    """

    name: str
    method: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    function: Callable[..., Mapping[str, tf.Tensor]]

    @staticmethod
    def read(name: str, definition: meta_graph_pb2.SignatureDef, function: Callable[..., Any]) -> "Signature":
        """Read what a SavedModel says of one of its functions."""
        inputs, outputs = (
            {key: _spec(key, tensor) for key, tensor in sorted(tensors.items())}
            for tensors in (definition.inputs, definition.outputs)
        )
        return Signature(name, definition.method_name, inputs, outputs, function)

    def call(self, inputs: Arrays) -> Arrays:
        """Run the function, on the calling thread.

        Raises:
            RequestError: with what TensorFlow says against the inputs.
        """
        tensors = {name: tf.constant(array, self.inputs[name].dtype) for name, array in inputs.items()}
        try:
            outputs = self.function(**tensors)
            return {name: tensor.numpy() for name, tensor in outputs.items()}
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise invalid(_first_line(error)) from None
        except tf.errors.ResourceExhaustedError as error:
            raise RequestError(Kind.TOO_LARGE, _first_line(error)) from None

    @property
    def varying(self) -> list[str]:
        """Name the outputs whose second dimension varies."""
        return [name for name, spec in self.outputs.items() if spec.shape and None in spec.shape[1:2]]

    @property
    def batchable(self) -> bool:
        """Say whether requests may run together."""
        shapes = [spec.shape for spec in (*self.inputs.values(), *self.outputs.values())]
        if not self.inputs or any(not shape or shape[0] is not None for shape in shapes):
            return False
        if any(None in spec.shape[2:] for spec in self.outputs.values() if spec.shape):
            return False
        return not self.varying or any(self.outputs[name].is_text for name in self.varying)

    def group(self, inputs: Arrays) -> Any:
        """Give what requests that run together have in common."""
        return tuple(array.shape[1:] for array in inputs.values()) if self.varying else None

    def merge(self, requests: list[Arrays]) -> Arrays:
        """Join the inputs of several requests."""
        return {name: merge([inputs[name] for inputs in requests], spec.empty) for name, spec in self.inputs.items()}

    def split(self, outputs: Arrays, rows: list[int]) -> list[Arrays] | None:
        """Part the outputs of a batch by its requests' rows; None where they are not what the rule above takes."""
        if any(len(array) != sum(rows) for array in outputs.values()):
            return None
        if len({outputs[name].shape[1] for name in self.varying}) > 1:
            return None
        ends = np.cumsum(rows)
        parts = (
            {name: array[end - count : end] for name, array in outputs.items()}
            for end, count in zip(ends, rows, strict=True)
        )
        return [self._cut(part) for part in parts]

    def _cut(self, outputs: Arrays) -> Arrays:
        if not self.varying:
            return outputs
        used = np.zeros(outputs[self.varying[0]].shape[1], bool)
        for name in self.varying:
            array = outputs[name]
            used |= (array != self.outputs[name].empty).any(axis=(0, *range(2, array.ndim)))
        length = int(used.nonzero()[0].max(initial=-1)) + 1
        return {name: array[:, :length] if name in self.varying else array for name, array in outputs.items()}


def _spec(name: str, tensor: meta_graph_pb2.TensorInfo) -> Spec:
    shape = None
    if not tensor.tensor_shape.unknown_rank:
        shape = tuple(None if dimension.size < 0 else dimension.size for dimension in tensor.tensor_shape.dim)
    return Spec(name, tf.as_dtype(tensor.dtype), shape)


_NO_REASONS = ("[[", "Graph execution error", "Detected at", "<stack traces")


def _first_line(error: tf.errors.OpError) -> str:
    lines = [line.strip() for line in str(error.message).splitlines()]
    told = [line for line in lines if line and not line.startswith(_NO_REASONS)]
    reason = told[0] if told else "the model cannot answer this"
    return reason.rsplit("}} ", maxsplit=1)[-1]
