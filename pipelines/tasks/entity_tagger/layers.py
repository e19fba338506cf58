"""Layers that build the features of each token from its word and characters.

Shapes: B sentences, T tokens, C characters, P pieces, W windows of L pieces, D, E and F widths.
"""

import keras
from keras import ops

from pipelines.tasks.entity_tagger.preprocessing import PAD, UNKNOWN


class WordDropout(keras.layers.Layer):
    """Replace random words with the unknown word during training: (B, T) -> (B, T).

    The model then learns to rely on context and on the form of a word as well. Iyyer et al. 2015, "Deep Unordered
    Composition Rivals Syntactic Methods for Text Classification", section 2.3.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, ids: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Replace a random share of the words, `rate`, when training."""
        if not training or not self.rate:
            return ids
        hidden = keras.random.uniform(ops.shape(ids), seed=self.seed_generator) < self.rate
        return ops.where(ops.logical_and(hidden, ids != PAD), UNKNOWN, ids)


class CharacterCNN(keras.layers.Layer):
    """Convolve over the characters of each token and max-pool: (B, T, C) -> (B, T, F).

    Ma & Hovy 2016, "End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF", section 2.1.
    """

    def __init__(self, characters: int, width: int, filters: int, kernel_size: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.embed = keras.layers.Embedding(characters, width, embeddings_initializer=_uniform(width))
        self.dropout = keras.layers.Dropout(dropout)
        self.convolve = keras.layers.Conv1D(filters, kernel_size, padding="same", activation="relu")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the embedding and the convolution."""
        self.embed.build(input_shape)
        self.convolve.build((None, None, self.embed.output_dim))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (B, T, F)."""
        return (*input_shape[:2], self.filters)

    def call(self, ids: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Return the maximum of each filter over the characters. Padding is masked."""
        shape = ops.shape(ids)
        ids = ops.reshape(ids, (shape[0] * shape[1], shape[2]))
        mask = ops.cast(ids != PAD, self.compute_dtype)[..., None]
        x = self.dropout(self.embed(ids), training=training) * mask
        x = ops.max(self.convolve(x) * mask, axis=1)
        return ops.reshape(x, (shape[0], shape[1], self.filters))


class CharacterLSTM(keras.layers.Layer):
    """Encode the characters of each token with a bidirectional LSTM: (B, T, C) -> (B, T, F).

    Each direction contributes half of F. Lample et al. 2016, "Neural Architectures for Named Entity Recognition",
    section 4.1.
    """

    def __init__(self, characters: int, width: int, units: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.embed = keras.layers.Embedding(characters, width, mask_zero=True, embeddings_initializer=_uniform(width))
        self.dropout = keras.layers.Dropout(dropout)
        self.read = keras.layers.Bidirectional(keras.layers.LSTM(max(1, units // 2)))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the embedding and the LSTM."""
        self.embed.build(input_shape)
        self.read.build((None, None, self.embed.output_dim))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (B, T, F)."""
        return (*input_shape[:2], 2 * max(1, self.units // 2))

    def call(self, ids: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Return the last states of both directions, concatenated."""
        shape = ops.shape(ids)
        ids = ops.reshape(ids, (shape[0] * shape[1], shape[2]))
        x = self.dropout(self.embed(ids), training=training)
        x = self.read(x, mask=ids != PAD, training=training)
        return ops.reshape(x, (shape[0], shape[1], x.shape[-1]))


class Window(keras.layers.Layer):
    """Concatenate each token with its neighbours: (B, T, D) -> (B, T, (2 reach + 1) D).

    Positions outside the sentence are zeros.
    """

    def __init__(self, reach: int, **kwargs):
        super().__init__(**kwargs)
        self.reach = reach

    def call(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Shift the sequence to each offset and concatenate."""
        x = x * ops.cast(mask, x.dtype)[..., None]
        length = ops.shape(x)[1]
        around = ops.pad(x, ((0, 0), (self.reach, self.reach), (0, 0)))
        return ops.concatenate([around[:, at : at + length] for at in range(2 * self.reach + 1)], axis=-1)


class WindowIds(keras.layers.Layer):
    """Give each word a separate id for each position of the window: ids (B, T) -> (B, T, 2 reach + 1).

    The new ids are below (2 reach + 1) V. An embedding of them is equivalent to a dense layer on the one-hot vectors of
    the window.
    """

    def __init__(self, reach: int, words: int, **kwargs):
        super().__init__(**kwargs)
        self.reach, self.words = reach, words

    def call(self, ids: keras.KerasTensor) -> keras.KerasTensor:
        """Shift the ids to each offset, and add a multiple of the vocabulary size."""
        length = ops.shape(ids)[1]
        around = ops.pad(ids, ((0, 0), (self.reach, self.reach)), constant_values=PAD)
        places = range(2 * self.reach + 1)
        return ops.stack([around[:, at : at + length] + at * self.words for at in places], axis=-1)


class Sum(keras.layers.Layer):
    """Sum over the second-to-last axis and add a bias: (B, T, P, D) -> (B, T, D)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the bias."""
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the sum plus the bias."""
        return ops.sum(x, axis=-2) + self.bias


class Windows(keras.layers.Layer):
    """Cut the pieces of sentences into overlapping windows for a backbone: ids plus 1 (B, P) -> (B W, L).

    A window has up to `room` pieces between a start and an end piece. The next one begins half of that later. All
    sentences get as many windows as the longest needs. Returns the ids, the padding mask (1: a piece) and segment ids.
    """

    def __init__(self, room: int, start: int, end: int, pad: int, **kwargs):
        super().__init__(**kwargs)
        self.room, self.start, self.end, self.pad = room, start, end, pad

    def compute_output_spec(self, pieces: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        """Return the specs of (B W, L)."""
        names = ("token_ids", "padding_mask", "segment_ids")
        return {name: keras.KerasTensor((None, None), "int32") for name in names}

    def call(self, pieces: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        """Gather the pieces of each window and add its start and its end."""
        sentences, length = ops.shape(pieces)[0], ops.shape(pieces)[1]
        step = _step(self.room)
        windows = 1 + (ops.maximum(0, length - self.room) + step - 1) // step
        width = ops.minimum(length, self.room)
        places = ops.arange(windows)[:, None] * step + ops.arange(width)[None]
        around = ops.pad(pieces, ((0, 0), (0, self.room)))  # beyond the end is padding
        inside = ops.reshape(ops.take(around, places, axis=1), (sentences * windows, width))
        last = ops.sum(ops.cast(inside > 0, "int32"), axis=1, keepdims=True) + 1
        place = ops.arange(width + 2)[None]
        ids = ops.pad(inside - 1, ((0, 0), (1, 1)))
        ids = ops.where(place == 0, self.start, ops.where(place == last, self.end, ids))
        return {
            "token_ids": ops.where(place > last, self.pad, ids),
            "padding_mask": ops.cast(place <= last, "int32"),
            "segment_ids": ops.zeros_like(ids),
        }


class FirstPieces(keras.layers.Layer):
    """Take the vector of each token's first piece: (B W, L, D) and places from 1 (B, T) -> (B, T, D).

    It is taken from the window in whose middle the piece is, or nearly is.
    """

    def __init__(self, room: int, **kwargs):
        super().__init__(**kwargs)
        self.room = room

    def compute_output_spec(self, x: keras.KerasTensor, firsts: keras.KerasTensor) -> keras.KerasTensor:
        """Return the spec of (B, T, D)."""
        return keras.KerasTensor((*firsts.shape, x.shape[-1]), x.dtype)

    def call(self, x: keras.KerasTensor, firsts: keras.KerasTensor) -> keras.KerasTensor:
        """Choose the windows and gather from them; padding gets the vector of the start piece."""
        sentences, (rows, length, width) = ops.shape(firsts)[0], ops.shape(x)
        step = _step(self.room)
        window = ops.clip((firsts - 1 - (self.room - step) // 2) // step, 0, rows // sentences - 1)
        at = window * length + ops.where(firsts > 0, firsts - window * step, 0)
        x = ops.reshape(x, (sentences, rows // sentences * length, width))
        return ops.take_along_axis(x, at[..., None], axis=1)


def _step(room: int) -> int:
    """Return the distance between windows: half of their room, so that every piece has a quarter on either side."""
    return max(1, room // 2)


def _uniform(width: int) -> keras.Initializer:
    """Return a uniform initializer with a standard deviation of 1 / sqrt(width) (Ma & Hovy 2016, section 3.1)."""
    limit = (3 / width) ** 0.5
    return keras.initializers.RandomUniform(-limit, limit)
