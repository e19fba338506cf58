"""Mini-batches for training and batches for evaluation, in an order that seed and step alone decide."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pandas as pd
import tensorflow as tf
from pydantic import Field

EVALUATION_BATCH = 256
FULL_UP_TO = 2500  # examples: with so few, a step over all of them is cheap
SMALLEST_MINI_BATCH = 64  # of the powers of two that are usual for more examples
MIXING = 0.25  # of a length: how much longer than another an example may be, and still come before it
CACHE_BYTES = 1 << 30  # model inputs of a split up to this size are kept in memory where `cache` is auto

Encode = Callable[[Mapping[str, tf.Tensor]], Any]  # raw examples to tensors, ragged where lengths differ
Cache = Annotated[
    bool | Literal["auto"],
    Field(
        description="keep model inputs in memory, rather than making them anew for each mini-batch; auto: where a split"
        " takes up to 1 GiB"
    ),
]


class Encoder(Protocol):
    """What mini-batches need of a preprocessor."""

    def example(self, raw: Mapping[str, tf.Tensor], training: bool) -> Any:
        """Turn raw examples into tensors."""

    def augment(self, *encoded: Any, seed: tf.Tensor) -> Any:
        """Vary a mini-batch."""


@dataclass(frozen=True)
class Batches:
    """How a split reaches the model: `stream` is endless, `steps_per_epoch` of its batches hold each example once."""

    steps_per_epoch: int
    stream: Callable[[int], tf.data.Dataset]  # first step -> endless batches from there on

    @property
    def varying(self) -> bool:
        """Say whether inputs of one batch may be longer than those of another."""
        inputs, *_ = self.stream(0).element_spec
        return any(None in spec.shape[1:] for spec in tf.nest.flatten(inputs))


def tensors(examples: pd.DataFrame) -> dict[str, tf.Tensor]:
    """Turn a table into one tensor a column.

    Numbers become float32, or stay float64; lists become ragged; text, bytes, paths and dates (YYYY-MM-DD, '' where
    there is none) strings.
    """
    columns = {}
    for name, values in examples.items():
        if pd.api.types.is_numeric_dtype(values):
            columns[name] = tf.constant(values.to_numpy("float64" if values.dtype == "float64" else "float32"))
        elif pd.api.types.is_datetime64_dtype(values):
            texts = values.dt.strftime("%Y-%m-%d").fillna("")
            columns[name] = tf.constant(texts.to_numpy(object), dtype=tf.string)
        elif len(values) and isinstance(values.iloc[0], list):
            flat = [element for row in values for element in row]
            columns[name] = tf.RaggedTensor.from_row_lengths(tf.constant(flat), values.map(len).to_numpy("int64"))
        else:
            texts = values if len(values) and isinstance(values.iloc[0], str | bytes) else values.map(str)
            columns[name] = tf.constant(texts.to_numpy(object), dtype=tf.string)
    return columns


def holds_files(values: pd.Series) -> bool:
    """Say whether a column of raw examples holds paths, which stand for what is in the files."""
    return len(values) > 0 and isinstance(values.iloc[0], Path)


def padded(tensors: Any) -> Any:
    """Fill ragged tensors up with zeros, or empty texts, to the longest row of the batch, and to one step at least."""

    def dense(tensor: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        if not isinstance(tensor, tf.RaggedTensor):
            return tensor
        shape = tensor.bounding_shape(out_type=tf.int64)
        return tf.ensure_shape(
            tensor.to_tensor(shape=tf.maximum(shape, [0] + [1] * (len(tensor.shape) - 1))), tensor.shape
        )

    return tf.nest.map_structure(dense, tensors)


def raw_batches(examples: pd.DataFrame) -> tf.data.Dataset:
    """Give raw examples in their own order, padded, files read as they are asked for."""
    rows = tf.data.Dataset.from_tensor_slices(tensors(examples)).batch(EVALUATION_BATCH)
    return rows.map(_reader(examples), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(1)


def make_batches(
    examples: pd.DataFrame,
    preprocessor: Encoder,
    seed: int,
    *,
    size: Annotated[
        Annotated[int, Field(ge=1)] | Literal["full", "auto"],
        Field(
            description="examples in a mini-batch; full: all of them (batch gradient descent); auto: all where there"
            " are at most 2,500, else 64"
        ),
    ],
    cache: Cache,
    by_length: Annotated[
        bool, Field(description="put examples of about the same length into one mini-batch, so that little is padding")
    ] = True,
    least_steps: Annotated[
        int,
        Field(
            ge=1,
            description="mini-batches of an epoch at the least: few examples are cut into smaller ones than `size`, so"
            " that as many steps are made as with many",
        ),
    ] = 1,
) -> Batches:
    """Make shuffled mini-batches of encoded examples, padded and each augmented anew.

    Each epoch's order is drawn from (seed, epoch) and each batch's augmentation from (seed, step), so that a stream
    taken up at any step goes on as the uninterrupted one does. One batch of an epoch may be smaller.
    """
    count = len(examples)
    if size == "auto":
        size = "full" if count <= FULL_UP_TO else SMALLEST_MINI_BATCH
    size = count if size == "full" else max(1, min(size, count // least_steps))
    steps = -(-count // size)
    rows = _Rows(examples, preprocessor, cache)
    lengths = rows.lengths() if by_length else None

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        draw = tf.random.stateless_uniform([count], seed=tf.stack([tf.cast(seed, tf.int64), epoch]))
        if lengths is None:
            return tf.data.Dataset.from_tensor_slices(tf.argsort(draw, stable=True)).batch(size)
        order = tf.argsort(lengths * (1 + MIXING * draw) + draw, stable=True)
        # Which batch is the smaller one is drawn too: were it always the last, the longest would weigh the most.
        places = tf.random.stateless_uniform([steps], seed=tf.stack([tf.cast(seed, tf.int64), -1 - epoch]))
        batches = tf.argsort(places, stable=True)
        starts = batches * size - tf.where(batches > batches[0], steps * size - count, 0)
        sizes = tf.where(batches == batches[0], size - (steps * size - count), size)
        return _spans(order, starts, starts + sizes)

    return Batches(steps_per_epoch=steps, stream=rows.stream(seed, steps, one_epoch))


def make_token_batches(
    examples: pd.DataFrame,
    preprocessor: Encoder,
    seed: int,
    *,
    tokens: Annotated[
        int,
        Field(
            ge=1,
            description="tokens of a mini-batch, about, each example counted by its longest side; at the least as many"
            " as the longest example has",
        ),
    ],
    cache: Cache,
) -> Batches:
    """Make shuffled mini-batches of about as many tokens each, of examples of about the same length.

    An epoch's order of examples by length, in which a draw moves each a little, is cut where the sum of lengths passes
    equal shares of the whole: so each epoch has as many steps as another. Orders and seeds are as in `make_batches`.
    """
    rows = _Rows(examples, preprocessor, cache)
    count, lengths = len(examples), rows.lengths()
    lengths = tf.ones([count]) if lengths is None else lengths
    whole = int(tf.reduce_sum(tf.cast(lengths, tf.int64)))
    steps = max(1, whole // max(tokens, int(tf.reduce_max(lengths))))  # no share is shorter than any example

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        draw = tf.random.stateless_uniform([count], seed=tf.stack([tf.cast(seed, tf.int64), epoch]))
        order = tf.argsort(lengths * (1 + MIXING * draw) + draw, stable=True)
        sums = tf.cumsum(tf.cast(tf.gather(lengths, order), tf.int64))
        cuts = tf.searchsorted(sums * steps, whole * tf.range(steps + 1, dtype=tf.int64), side="right")
        places = tf.random.stateless_uniform([steps], seed=tf.stack([tf.cast(seed, tf.int64), -1 - epoch]))
        batches = tf.argsort(places, stable=True)
        return _spans(order, tf.gather(cuts, batches), tf.gather(cuts, batches + 1))

    return Batches(steps_per_epoch=steps, stream=rows.stream(seed, steps, one_epoch))


class _Rows:
    """A split's raw examples, or what they are encoded to where that is kept."""

    def __init__(self, examples: pd.DataFrame, preprocessor: Encoder, cache: bool | Literal["auto"]):
        self.examples, self.augment = examples, preprocessor.augment
        self.encode = partial(preprocessor.example, training=True)
        self.encoded, self.read = _encoded(examples, self.encode), _reader(examples)
        self.kept = _keeps(cache, self.encoded, len(examples))
        self.columns = _join(self.encoded) if self.kept else tensors(examples)

    def lengths(self) -> tf.Tensor | None:
        """Give the length of each example (n,) float32, or None where all are as long as each other."""
        return _lengths([self.columns] if self.kept else self.encoded)

    def stream(
        self, seed: int, steps: int, one_epoch: Callable[[tf.Tensor], tf.data.Dataset]
    ) -> Callable[[int], tf.data.Dataset]:
        """Make an endless stream of what `one_epoch` gives: which rows make each mini-batch."""

        def one_batch(step: tf.Tensor, order: tf.Tensor) -> Any:
            drawn = tf.nest.map_structure(lambda column: tf.gather(column, order), self.columns)
            encoded = padded(drawn if self.kept else self.encode(self.read(drawn)))
            return self.augment(*encoded, seed=tf.stack([tf.cast(seed, tf.int64), step]))

        def stream(first_step: int) -> tf.data.Dataset:
            epochs = tf.data.Dataset.range(first_step // steps, tf.int64.max).flat_map(one_epoch)
            batches = epochs.skip(first_step % steps).enumerate(first_step)
            batches = batches.map(one_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            return batches.prefetch(tf.data.AUTOTUNE)

        return stream


def _spans(order: tf.Tensor, starts: tf.Tensor, stops: tf.Tensor) -> tf.data.Dataset:
    """Give stretches of an order of rows."""
    return tf.data.Dataset.from_tensor_slices((starts, stops)).map(lambda start, stop: order[start:stop])


def evaluation_batches(examples: pd.DataFrame, encode: Encode, cache: Cache) -> tf.data.Dataset:
    """Give a split's encoded examples in their own order."""
    batches = _encoded(examples, encode).map(lambda *encoded: padded(encoded))
    return (batches.cache() if _keeps(cache, batches, len(examples)) else batches).prefetch(tf.data.AUTOTUNE)


def _encoded(examples: pd.DataFrame, encode: Encode) -> tf.data.Dataset:
    return raw_batches(examples).map(encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _join(batches: tf.data.Dataset) -> Any:
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)


def _lengths(parts: Iterable[Any]) -> tf.Tensor | None:
    """Give the length of each example (n,) float32, or None where all are as long as each other."""
    lengths = []
    for part in parts:
        ragged = [tensor for tensor in tf.nest.flatten(part) if isinstance(tensor, tf.RaggedTensor)]
        if not ragged:
            return None
        lengths.append(tf.reduce_max([tensor.row_lengths() for tensor in ragged], axis=0))
    return tf.cast(tf.concat(lengths, axis=0), tf.float32)


def _keeps(cache: bool | Literal["auto"], batches: tf.data.Dataset, count: int) -> bool:
    """Decide whether `count` examples are kept, by the size of their first batch where that is left to us."""
    if cache != "auto":
        return cache
    first = tf.nest.flatten(next(iter(batches)))
    size = sum(tensor.dtype.size * int(tf.size(tensor)) for tensor in first)
    return size / min(count, EVALUATION_BATCH) * count <= CACHE_BYTES


def _reader(examples: pd.DataFrame) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
    files = {name for name, values in examples.items() if holds_files(values)}

    def read(rows: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return padded({name: tf.map_fn(tf.io.read_file, rows[name]) if name in files else rows[name] for name in rows})

    return read
