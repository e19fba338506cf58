"""The same SavedModel for every peer: instances in, answers out, as a careful user would write it."""

import base64
from pathlib import Path

import numpy as np
import tensorflow as tf


class SavedModel:
    """The newest version in a folder of versions."""

    def __init__(self, folder: str):
        newest = max((path for path in Path(folder).iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
        self.loaded = tf.saved_model.load(str(newest))
        self.function = self.loaded.signatures["serving_default"]
        self.inputs = self.function.structured_input_signature[1]

    def answer(self, instances: list) -> list[dict]:
        """Answer instances together."""
        columns = {name: [self._value(instance, name) for instance in instances] for name in self.inputs}
        plain = self.answer_columns(columns)
        return [{name: _plain(array[row]) for name, array in plain.items()} for row in range(len(instances))]

    def answer_columns(self, columns: dict[str, list]) -> dict[str, np.ndarray]:
        """Answer a list of values for each input."""
        arrays = {
            name: np.array(values, object if self.inputs[name].dtype == tf.string else "float32")
            for name, values in columns.items()
        }
        outputs = self.function(**{name: tf.constant(array) for name, array in arrays.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def _value(self, instance, name: str):
        value = instance[name] if isinstance(instance, dict) and name in instance else instance
        if isinstance(value, dict):
            return base64.b64decode(value["b64"])
        if isinstance(value, str):
            return value.encode()
        return float("nan") if value is None else value


def _plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return [_plain(element) for element in value]
    return value.item()
