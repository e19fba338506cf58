"""Make training and evaluation batches whose order depends only on the seed and the step."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, Protocol

import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data.files import holds_files
from pipelines.data.stored import StoredTable

EVALUATION_BATCH = 256
FULL_UP_TO = 2500  # examples; up to this many, a step over all of them is cheap
SMALLEST_MINI_BATCH = 64  # the smallest of the powers of two that are usual for more examples
MIXING = 0.25  # share of a length: an example that is up to this much longer may still come first
CACHE_BYTES = 1 << 30  # with `cache: auto`, model inputs of a split up to this size are cached in memory

# What a dataset maps is plain graph code, and AutoGraph would take longer to convert it than TensorFlow to trace it.
unconverted = tf.autograph.experimental.do_not_convert

Encode = Callable[[Mapping[str, tf.Tensor]], Any]  # raw examples -> tensors, ragged if lengths differ
Cache = Annotated[
    bool | Literal["auto"],
    Field(
        description="cache model inputs in memory instead of computing them again for each mini-batch; auto: cache if"
        " a split takes up to 1 GiB, and never if it is read from files because it is too large for memory; without"
        " augmentation, true and auto also cache the outputs of a frozen backbone"
    ),
]


class Encoder(Protocol):
    """The methods that batches need from a preprocessor."""

    def example(self, raw: Mapping[str, tf.Tensor], training: bool) -> Any:
        """Encode raw examples as tensors."""

    def augment(self, inputs: Any, labels: Any, weights: Any, *, seed: tf.Tensor) -> Any:
        """Augment an encoded mini-batch."""


@dataclass(frozen=True)
class Batches:
    """A split as an endless stream of mini-batches.

    Each epoch is `steps_per_epoch` batches, which hold each example once.
    """

    steps_per_epoch: int
    stream: Callable[[int], tf.data.Dataset]  # first step -> endless batches from that step on
    of_any_size: bool = False  # whether the number of examples differs from one batch to the next

    @property
    def specs(self) -> Any:
        """Specs of inputs, labels and weights; what differs between batches is None."""
        return self.stream(0).element_spec

    @property
    def varying(self) -> bool:
        """Return whether the length of the inputs may differ between batches."""
        inputs, *_ = self.specs
        return any(None in spec.shape[1:] for spec in tf.nest.flatten(inputs))


def tensors(examples: pd.DataFrame) -> dict[str, tf.Tensor]:
    """Convert a table to one tensor per column.

    float64 columns stay float64, other numbers become float32. Lists become ragged tensors. Text, bytes, paths and
    dates become strings. A date is written as YYYY-MM-DD, a missing one as ''.
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


def padded(tensors: Any) -> Any:
    """Pad ragged tensors with zeros or empty strings to the longest row of the batch, at least to length 1."""

    def dense(tensor: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        if not isinstance(tensor, tf.RaggedTensor):
            return tensor
        shape = tensor.bounding_shape(out_type=tf.int64)
        return tf.ensure_shape(
            tensor.to_tensor(shape=tf.maximum(shape, [0] + [1] * (len(tensor.shape) - 1))), tensor.shape
        )

    return tf.nest.map_structure(dense, tensors)


def raw_batches(examples: pd.DataFrame, size: int | None = None) -> tf.data.Dataset:
    """Return raw examples in their own order, in padded batches of `size`, or as large as in evaluation.

    Files are read when their batch is requested.
    """
    size = size or EVALUATION_BATCH
    if isinstance(examples, StoredTable):
        rows = tf.data.Dataset.range(len(examples)).batch(size).map(unconverted(_drawer(examples)))
    else:
        rows = tf.data.Dataset.from_tensor_slices(tensors(examples)).batch(size)
    read = unconverted(_reader(examples))
    return rows.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(1)


def make_batches(
    examples: pd.DataFrame,
    preprocessor: Encoder,
    seed: int,
    *,
    size: Annotated[
        Annotated[int, Field(ge=1)] | Literal["full", "auto"],
        Field(
            description="examples per mini-batch; full: all of them (batch gradient descent); auto: all if there are"
            " at most 2,500, else 64"
        ),
    ],
    cache: Cache,
    by_length: Annotated[
        bool, Field(description="put examples of similar length into one mini-batch, to reduce padding")
    ] = True,
    least_steps: Annotated[
        int,
        Field(
            ge=1,
            description="minimum number of mini-batches per epoch; with few examples, mini-batches are made smaller"
            " than `size` to reach it",
        ),
    ] = 1,
) -> Batches:
    """Make shuffled mini-batches of encoded examples, padded and augmented.

    The order of each epoch is drawn from (seed, epoch), the augmentation of each batch from (seed, step). A stream that
    starts at a later step therefore continues exactly as an uninterrupted one. One batch per epoch may be smaller.
    """
    count = len(examples)
    per_batch = examples_per_batch(count, size, least_steps)
    steps = -(-count // per_batch)
    rows = _Rows(examples, preprocessor, cache)
    lengths = rows.lengths() if by_length else None

    @unconverted
    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        draw = tf.random.stateless_uniform([count], seed=tf.stack([tf.cast(seed, tf.int64), epoch]))
        if lengths is None:
            return tf.data.Dataset.from_tensor_slices(tf.argsort(draw, stable=True)).batch(per_batch)
        order = tf.argsort(lengths * (1 + MIXING * draw) + draw, stable=True)
        # The position of the smaller batch is drawn too. If it were always the last one, the longest examples would
        # have the largest weight.
        places = tf.random.stateless_uniform([steps], seed=tf.stack([tf.cast(seed, tf.int64), -1 - epoch]))
        batches = tf.argsort(places, stable=True)
        starts = batches * per_batch - tf.where(batches > batches[0], steps * per_batch - count, 0)
        sizes = tf.where(batches == batches[0], per_batch - (steps * per_batch - count), per_batch)
        return _spans(order, starts, starts + sizes)

    return Batches(steps_per_epoch=steps, stream=rows.stream(seed, steps, one_epoch))


def examples_per_batch(count: int, size: int | Literal["full", "auto"], least_steps: int = 1) -> int:
    """Return the number of examples per mini-batch that `make_batches` makes of `count` examples."""
    if size == "auto":
        size = "full" if count <= FULL_UP_TO else SMALLEST_MINI_BATCH
    return count if isinstance(size, str) else max(1, min(size, count // least_steps))


def make_token_batches(
    examples: pd.DataFrame,
    preprocessor: Encoder,
    seed: int,
    *,
    tokens: Annotated[
        int,
        Field(
            ge=1,
            description="approximate number of tokens per mini-batch, where each example counts by its longest side;"
            " never less than the longest example has",
        ),
    ],
    cache: Cache,
) -> Batches:
    """Make shuffled mini-batches of about `tokens` tokens each, from examples of similar length.

    Each epoch sorts the examples by length, with small random shifts. This order is cut where the sum of lengths passes
    equal shares of the total, so every epoch has the same number of steps. Seeds work as in `make_batches`.
    """
    rows = _Rows(examples, preprocessor, cache)
    count, lengths = len(examples), rows.lengths()
    lengths = tf.ones([count]) if lengths is None else lengths
    whole = int(tf.reduce_sum(tf.cast(lengths, tf.int64)))
    steps = max(1, whole // max(tokens, int(tf.reduce_max(lengths))))  # no share is smaller than the longest example

    @unconverted
    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        draw = tf.random.stateless_uniform([count], seed=tf.stack([tf.cast(seed, tf.int64), epoch]))
        order = tf.argsort(lengths * (1 + MIXING * draw) + draw, stable=True)
        sums = tf.cumsum(tf.cast(tf.gather(lengths, order), tf.int64))
        cuts = tf.searchsorted(sums * steps, whole * tf.range(steps + 1, dtype=tf.int64), side="right")
        places = tf.random.stateless_uniform([steps], seed=tf.stack([tf.cast(seed, tf.int64), -1 - epoch]))
        batches = tf.argsort(places, stable=True)
        return _spans(order, tf.gather(cuts, batches), tf.gather(cuts, batches + 1))

    return Batches(steps_per_epoch=steps, stream=rows.stream(seed, steps, one_epoch), of_any_size=True)


class _Rows:
    """A split's raw examples, or their encoded form if it is cached."""

    def __init__(self, examples: pd.DataFrame, preprocessor: Encoder, cache: bool | Literal["auto"]):
        self.examples, self.augment = examples, preprocessor.augment
        self.encode = partial(preprocessor.example, training=True)
        self.encoded, self.read = _encoded(examples, self.encode), _reader(examples)
        self.kept = _join(self.encoded) if _keeps(cache, self.encoded, examples) else None
        self.draw = _drawer(examples) if self.kept is None else _gatherer(self.kept)

    def lengths(self) -> tf.Tensor | None:
        """Return the length of each example, (n,) float32, or None if the examples are not ragged."""
        return _lengths(self.encoded if self.kept is None else [self.kept])

    def stream(
        self, seed: int, steps: int, one_epoch: Callable[[tf.Tensor], tf.data.Dataset]
    ) -> Callable[[int], tf.data.Dataset]:
        """Return a function that maps a first step to an endless stream of mini-batches.

        `one_epoch` returns the row indices of each mini-batch of an epoch.
        """

        @unconverted
        def one_batch(step: tf.Tensor, order: tf.Tensor) -> Any:
            drawn = self.draw(order)
            encoded = padded(self.encode(self.read(drawn)) if self.kept is None else drawn)
            return self.augment(*encoded, seed=tf.stack([tf.cast(seed, tf.int64), step]))

        def stream(first_step: int) -> tf.data.Dataset:
            epochs = tf.data.Dataset.range(first_step // steps, tf.int64.max).flat_map(one_epoch)
            batches = epochs.skip(first_step % steps).enumerate(first_step)
            batches = batches.map(one_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            return batches.prefetch(tf.data.AUTOTUNE)

        return stream


def _spans(order: tf.Tensor, starts: tf.Tensor, stops: tf.Tensor) -> tf.data.Dataset:
    """Return the slice `order[start:stop]` for each start and stop."""
    return tf.data.Dataset.from_tensor_slices((starts, stops)).map(unconverted(lambda start, stop: order[start:stop]))


def evaluation_batches(examples: pd.DataFrame, encode: Encode, cache: Cache) -> tf.data.Dataset:
    """Return a split's encoded examples in their own order, in padded batches."""
    batches = _encoded(examples, encode).map(unconverted(lambda *encoded: padded(encoded)))
    return (batches.cache() if _keeps(cache, batches, examples) else batches).prefetch(tf.data.AUTOTUNE)


def _encoded(examples: pd.DataFrame, encode: Encode) -> tf.data.Dataset:
    return raw_batches(examples).map(unconverted(encode), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _join(batches: tf.data.Dataset) -> Any:
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)


def _lengths(parts: Iterable[Any]) -> tf.Tensor | None:
    """Return the length of each example, (n,) float32, or None if the examples are not ragged."""
    lengths = []
    for part in parts:
        ragged = [tensor for tensor in tf.nest.flatten(part) if isinstance(tensor, tf.RaggedTensor)]
        if not ragged:
            return None
        lengths.append(tf.reduce_max([tensor.row_lengths() for tensor in ragged], axis=0))
    return tf.cast(tf.concat(lengths, axis=0), tf.float32)


def _keeps(cache: bool | Literal["auto"], batches: tf.data.Dataset, examples: pd.DataFrame) -> bool:
    """Return whether to cache examples; with `auto`, estimate their size from the first batch.

    What is read from files because it is too large for memory is never cached.
    """
    if isinstance(examples, StoredTable):
        return False
    if cache != "auto":
        return cache
    first = tf.nest.flatten(next(iter(batches)))
    size = sum(tensor.dtype.size * int(tf.size(tensor)) for tensor in first)
    return size / min(len(examples), EVALUATION_BATCH) * len(examples) <= CACHE_BYTES


def _gatherer(columns: Any) -> Callable[[tf.Tensor], Any]:
    return lambda rows: tf.nest.map_structure(lambda column: tf.gather(column, rows), columns)


def _drawer(examples: pd.DataFrame) -> Callable[[tf.Tensor], Any]:
    """Return a function from row numbers (B,) to the raw values of these rows, in the graph."""
    if not isinstance(examples, StoredTable):
        return _gatherer(tensors(examples))
    kinds = examples.kinds()
    types = {"number": [tf.float64], "tokens": [tf.string, tf.int64]}

    def draw(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        wanted = [each for kind in kinds.values() for each in types.get(kind, [tf.string])]
        values = iter(tf.numpy_function(examples.read, [rows], wanted, stateful=False))
        drawn = {}
        for name, kind in kinds.items():
            drawn[name] = tf.ensure_shape(next(values), [None])
            if kind == "tokens":
                drawn[name] = tf.RaggedTensor.from_row_lengths(drawn[name], tf.ensure_shape(next(values), [None]))
        return drawn

    return draw


def _reader(examples: pd.DataFrame) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
    files = {name for name, values in examples.head(1).items() if holds_files(values)}

    def read(rows: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return padded({name: tf.map_fn(tf.io.read_file, rows[name]) if name in files else rows[name] for name in rows})

    return read
