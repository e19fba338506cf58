"""Purely numeric inputs, for export formats without strings: a category becomes its position in a list.

Shapes: B houses.
"""

from typing import Any

import tensorflow as tf

from pipelines.task import Tensors
from pipelines.tasks.house_prices import dates
from pipelines.tasks.house_prices.preprocessing import TablePreprocessor


def categories(preprocessor: TablePreprocessor) -> dict[str, list[str]]:
    """List the known values of each column, in the order of their positions."""
    vocabulary = [str(value) for value in preprocessor.state["vocabulary"]]
    return {
        name: [value.removeprefix(f"{name}=") for value in vocabulary if value.startswith(f"{name}=")]
        for name in preprocessor.text
    }


def reading(preprocessor: TablePreprocessor) -> dict[str, Any]:
    """Describe to clients how to encode a house as numbers."""
    rule = (
        "number: its value (float32), or NaN if missing; category: its position in the column's list of `categories`"
        " (int32), from 1, or 0 if it is not in the list, where a missing category is the text ''; date: days since"
        f" 1970-01-01 (int32), or {dates.NO_DATE} if missing"
    )
    return {"inputs": rule, "categories": categories(preprocessor)}


def signature(preprocessor: TablePreprocessor) -> dict[str, tf.TensorSpec]:
    """Return the specification of the inputs: float32 numbers, int32 positions and days."""
    return {
        name: tf.TensorSpec([None], tf.int32 if spec.dtype == tf.string else spec.dtype, name=name)
        for name, spec in preprocessor.signature.items()
    }


def numbers(preprocessor: TablePreprocessor, raw: Tensors) -> Tensors:
    """Encode raw inputs as numbers (B,), one tensor per column."""
    known = categories(preprocessor)
    days = {name: dates.to_days(raw[name]) for name in preprocessor.dates}
    places = {name: _places(raw[name], known[name]) for name in known}
    return {name: {**raw, **days, **places}[name] for name in raw}


def inputs(preprocessor: TablePreprocessor, raw: Tensors) -> Tensors:
    """Return the same as `TablePreprocessor.inputs`, from numeric inputs."""
    made = preprocessor.scaled(raw, None)
    if len(preprocessor.state["vocabulary"]):
        # Not tf.one_hot: in ONNX an index of -1 counts from the end.
        known = {name: len(values) for name, values in categories(preprocessor).items()}
        hot = [raw[name][:, None] == tf.range(1, count + 1) for name, count in known.items() if count]
        hot += [tf.stack([gap, ~gap], axis=1) for gap in preprocessor.missing(raw).values()]
        made["category"] = tf.cast(tf.concat(hot, axis=1), tf.float32)  # in the order of the vocabulary
    return made


def _places(texts: tf.Tensor, known: list[str]) -> tf.Tensor:
    hit = texts[:, None] == tf.constant(known, tf.string)
    return tf.reduce_sum(tf.where(hit, tf.range(1, len(known) + 1), 0), axis=1)
