"""Classification and regression with serialized tf.Examples, for every protocol."""

from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.tensors import check_rows, decoded
from pipelines.serving.request_errors import invalid

CLASSES, SCORES, OUTPUTS = "classes", "scores", "outputs"


def from_features(features: Any, context: Any) -> bytes:
    """Convert JSON features to a serialized tf.Example; `context` holds features that all examples share.

    Raises:
        RequestError: If a feature is invalid; it names the feature and the problem.
    """
    if not isinstance(features, dict) or not isinstance(context, dict):
        raise invalid("each example, and 'context', must be an object of features")
    example = tf.train.Example()
    for name, value in {**context, **features}.items():
        _put(example.features.feature[name], name, value if isinstance(value, list) else [value])
    return example.SerializeToString()


def from_input(request: Any, most: int) -> list[bytes]:
    """Return the serialized examples, at most `most`, of the Input message of a gRPC request.

    Raises:
        RequestError: If it holds no examples.
    """
    kind = request.WhichOneof("kind")
    if kind is None:
        raise invalid("Input is empty")
    holder = getattr(request, kind)
    shared = holder.context if kind == "example_list_with_context" else tf.train.Example()
    check_rows(len(holder.examples), most, "examples")
    examples = []
    for given in holder.examples:
        example = tf.train.Example()
        example.CopyFrom(shared)
        for name, feature in given.features.feature.items():
            example.features.feature[name].CopyFrom(feature)
        examples.append(example.SerializeToString())
    if not examples:
        raise invalid("Input is empty")
    return examples


def as_inputs(signature: Signature, examples: list[bytes]) -> Arrays:
    """Return the examples as the only input of a signature.

    Raises:
        RequestError: If the signature does not have exactly one string input.
    """
    if len(signature.inputs) != 1 or not next(iter(signature.inputs.values())).is_text:
        raise invalid(f"signature '{signature.name}' does not accept tf.Examples")
    return {name: np.array(examples, object) for name in signature.inputs}


def classes(outputs: Arrays) -> list[list[tuple[str, float]]]:
    """Return the (label, score) pairs of each example; a missing output is filled with empty labels or 0."""
    labels, scores = outputs.get(CLASSES), outputs.get(SCORES)
    given = labels if labels is not None else scores
    if given is None or given.ndim != 2:
        raise invalid(f"this signature returns neither '{CLASSES}' nor '{SCORES}' with one row per example")
    names = np.full(given.shape, b"", object) if labels is None else labels
    figures = np.zeros(given.shape) if scores is None else scores
    return [
        [(name.decode(errors="replace"), float(score)) for name, score in zip(*row, strict=True)]
        for row in zip(names, figures, strict=True)
    ]


def values(outputs: Arrays) -> list[float]:
    """Return the value of each example."""
    array = outputs.get(OUTPUTS)
    if array is None or array.size != len(array):
        raise invalid(f"this signature returns no '{OUTPUTS}' with one value per example")
    return array.reshape(-1).astype(float).tolist()


def _put(feature: Any, name: str, elements: list[Any]) -> None:
    kinds = {type(element) for element in elements}
    if kinds <= {int, bool}:
        if any(not -(1 << 63) <= element < 1 << 63 for element in elements):
            raise invalid(f"feature '{name}' has a number outside the range of int64")
        feature.int64_list.value.extend(map(int, elements))
    elif kinds <= {int, float}:
        feature.float_list.value.extend(np.asarray(elements, "float64").astype("float32").tolist())
    else:
        feature.bytes_list.value.extend(_bytes(name, element) for element in elements)


def _bytes(name: str, element: Any) -> bytes:
    if isinstance(element, str):
        return element.encode(errors="replace")
    if isinstance(element, dict) and set(element) == {"b64"} and isinstance(element["b64"], str):
        return decoded(element["b64"], name)
    raise invalid(f"feature '{name}' must be numbers or strings, all of the same type")
