"""A signature of an export: its inputs and outputs, and the rules for batching its requests."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from pipelines.serving.models.tensors import Spec, from_json, merge
from pipelines.serving.request_errors import Kind, RequestError, invalid

DEFAULT = "serving_default"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Signature:
    """One function of an export.

    Requests are batched only if that cannot change their outputs:

    - The first dimension of all inputs and outputs must be a batch dimension of variable size.
    - If all other dimensions of the outputs are fixed, inputs of variable length are padded with empty strings and
      zeros to the longest in the batch. Raw inputs give padding this meaning.
    - If the second dimension of outputs varies, the outputs are padded to the longest in the batch. Each request gets
      its part without the trailing columns that are empty in all its rows and in all these outputs. Empty strings mark
      empty columns. Because 0 can be a real output, at least one of these outputs must hold strings. Only requests
      with equal input shapes are batched, because such outputs may count positions in the inputs. Unbatched outputs
      are trimmed too, so that no output depends on the rest of the batch. If the second dimensions of these outputs
      differ, nothing is trimmed and each request runs alone.
    - All other requests run one by one.
    """

    name: str
    method: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    function: Callable[..., Mapping[str, tf.Tensor]]
    defaults: Mapping[str, Any] = field(default_factory=dict)  # values, for one row, of inputs that may be left out

    @staticmethod
    def read(
        name: str,
        definition: meta_graph_pb2.SignatureDef,
        function: Callable[..., Any],
        defaults: Mapping[str, Any] | None = None,
    ) -> "Signature":
        """Create a signature from the definition of a function in a SavedModel."""
        inputs, outputs = (
            {key: _spec(key, tensor) for key, tensor in sorted(tensors.items())}
            for tensors in (definition.inputs, definition.outputs)
        )
        return Signature(name, definition.method_name, inputs, outputs, function, defaults or {})

    def check_names(self, given: Collection[str], where: str) -> None:
        """Check the names of the inputs that a client sent; those with a default may be left out.

        Raises:
            RequestError: If they do not match; it begins with `where`.
        """
        extra, missing = set(given) - set(self.inputs), set(self.inputs) - set(given) - set(self.defaults)
        if extra or missing:
            raise invalid(
                f"{where} does not match the signature. Sent extra: {{{', '.join(sorted(extra))}}}."
                f" Missing but required: {{{', '.join(sorted(missing))}}}."
            )

    def filled(self, inputs: Arrays) -> Arrays:
        """Return the inputs with the defaults of those that were left out."""
        rows = min((len(array) for array in inputs.values() if array.ndim), default=1)
        left_out = {name: [value] * rows for name, value in self.defaults.items() if name not in inputs}
        return {**inputs, **{name: from_json(values, self.inputs[name]) for name, values in left_out.items()}}

    def call(self, inputs: Mapping[str, Any], kept: Collection[str] = ()) -> dict[str, Any]:
        """Run the function on the calling thread; outputs in `kept` stay tensors, for a next call.

        Raises:
            RequestError: If TensorFlow rejects the inputs or runs out of memory; it carries the message of TensorFlow.
        """
        tensors = {name: tf.constant(array, self.inputs[name].dtype) for name, array in inputs.items()}
        try:
            outputs = self.function(**tensors)
            return {name: tensor if name in kept else tensor.numpy() for name, tensor in outputs.items()}
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise invalid(_first_line(error)) from None
        except UnicodeDecodeError:  # from the message of TensorFlow, which quotes bytes of the inputs
            raise invalid("the model failed on these inputs") from None
        except tf.errors.CancelledError:
            raise RequestError(Kind.LATE, "the call was cancelled") from None
        except tf.errors.ResourceExhaustedError as error:
            raise RequestError(Kind.TOO_LARGE, _first_line(error)) from None

    @property
    def varying(self) -> list[str]:
        """Return the names of the outputs whose second dimension varies."""
        return [name for name, spec in self.outputs.items() if spec.shape and None in spec.shape[1:2]]

    @property
    def batchable(self) -> bool:
        """Return whether requests can be batched."""
        shapes = [spec.shape for spec in (*self.inputs.values(), *self.outputs.values())]
        if not self.inputs or any(not shape or shape[0] is not None for shape in shapes):
            return False
        if any(None in spec.shape[2:] for spec in self.outputs.values() if spec.shape):
            return False
        return not self.varying or any(self.outputs[name].is_text for name in self.varying)

    def group(self, inputs: Arrays) -> Any:
        """Return the batching key of a request; only requests with equal keys are batched together."""
        return tuple(array.shape[1:] for array in inputs.values()) if self.varying else None

    def merge(self, requests: list[Arrays]) -> Arrays:
        """Concatenate the inputs of several requests, padded to the longest."""
        return {name: merge([inputs[name] for inputs in requests], spec.empty) for name, spec in self.inputs.items()}

    def split(self, outputs: Arrays, rows: list[int]) -> list[Arrays] | None:
        """Split the outputs of a batch by request; return None if they do not follow the batching rules."""
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
    if tensor.WhichOneof("encoding") != "name":
        raise TypeError(f"'{name}' is not a dense tensor")
    shape = None
    if not tensor.tensor_shape.unknown_rank:
        shape = tuple(None if dimension.size < 0 else dimension.size for dimension in tensor.tensor_shape.dim)
    return Spec(name, tf.as_dtype(tensor.dtype), shape)


_NO_REASONS = ("[[", "Graph execution error", "Detected at", "<stack traces")


def _first_line(error: tf.errors.OpError) -> str:
    lines = [line.strip() for line in str(error.message).splitlines()]
    told = [line for line in lines if line and not line.startswith(_NO_REASONS)]
    reason = told[0] if told else "the model failed on these inputs"
    return reason.rsplit("}} ", maxsplit=1)[-1]
