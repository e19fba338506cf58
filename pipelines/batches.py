"""Mini-batches for training and batches for evaluation, in an order that seed and step alone decide."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pandas as pd
import tensorflow as tf
from pydantic import Field

EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Batches:
    """How a split reaches the model: `stream` is endless, `steps_per_epoch` of its batches hold each example once."""

    steps_per_epoch: int
    size: int
    stream: Callable[[int], tf.data.Dataset]  # first step -> endless batches from there on


def tensors(examples: pd.DataFrame) -> dict[str, tf.Tensor]:
    """Turn a table of raw examples into one tensor a column: numbers to float32, text to strings, lists to ragged."""
    columns = {}
    for name, values in examples.items():
        if pd.api.types.is_numeric_dtype(values):
            columns[name] = tf.constant(values.to_numpy("float32"))
        elif len(values) and isinstance(values.iloc[0], list):
            columns[name] = tf.ragged.constant(values.tolist())
        else:
            columns[name] = tf.constant(values.to_numpy(object), dtype=tf.string)
    return columns


def make_batches(
    examples: pd.DataFrame,
    encode: Callable[[Mapping[str, tf.Tensor]], Any],
    seed: int,
    *,
    size: Annotated[
        Annotated[int, Field(ge=1)] | Literal["full"],
        Field(description="examples in a mini-batch; full takes all of them (batch gradient descent)"),
    ],
    cache: Annotated[
        bool, Field(description="keep model inputs in memory, rather than making them anew for each mini-batch")
    ],
) -> Batches:
    """Make shuffled mini-batches of encoded examples.

    Each epoch's order is drawn from (seed, epoch), so that a stream taken up at any step goes on as the
    uninterrupted one does. The last batch of an epoch may be smaller.
    """
    count = len(examples)
    size = count if size == "full" else min(size, count)
    steps = -(-count // size)
    rows: Any = tensors(examples)
    if cache:
        rows, encode = _encode_all(rows, encode), lambda encoded: encoded

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        draw = tf.random.stateless_uniform([count], seed=tf.stack([tf.cast(seed, tf.int64), epoch]))
        return tf.data.Dataset.from_tensor_slices(tf.argsort(draw, stable=True)).batch(size)

    def stream(first_step: int) -> tf.data.Dataset:
        epochs = tf.data.Dataset.range(first_step // steps, tf.int64.max).flat_map(one_epoch).skip(first_step % steps)
        batches = epochs.map(
            lambda order: encode(tf.nest.map_structure(lambda column: tf.gather(column, order), rows)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return batches.prefetch(tf.data.AUTOTUNE)

    return Batches(steps_per_epoch=steps, size=size, stream=stream)


def evaluation_batches(examples: pd.DataFrame, encode: Callable[[Mapping[str, tf.Tensor]], Any]) -> tf.data.Dataset:
    """Give a split's encoded examples in their own order, kept in memory."""
    rows = tf.data.Dataset.from_tensor_slices(tensors(examples)).batch(EVALUATION_BATCH)
    return rows.map(encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).cache().prefetch(tf.data.AUTOTUNE)


def _encode_all(rows: Mapping[str, tf.Tensor], encode: Callable) -> Any:
    chunks = list(tf.data.Dataset.from_tensor_slices(rows).batch(EVALUATION_BATCH).map(encode))
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *chunks)
