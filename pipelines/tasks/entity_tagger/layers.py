"""Layers of the entity taggers: what a token is turned into before its neighbours are looked at.

Shapes: B sentences, T tokens, C characters, D, E and F widths.
"""

import keras
from keras import ops

from pipelines.tasks.entity_tagger.preprocessing import PAD, UNKNOWN


class WordDropout(keras.layers.Layer):
    """Take a share of words for unknown ones in training, so that neighbours and form have to do: (B, T) -> (B, T).

    Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", section 2.3.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, ids: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Draw which words are hidden."""
        if not training or not self.rate:
            return ids
        hidden = keras.random.uniform(ops.shape(ids), seed=self.seed_generator) < self.rate
        return ops.where(ops.logical_and(hidden, ids != PAD), UNKNOWN, ids)


class CharacterCNN(keras.layers.Layer):
    """Look for short strings of characters anywhere in a token: (B, T, C) -> (B, T, F).

    Ma & Hovy 2016, "End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF", section 2.1.
    """

    def __init__(self, characters: int, width: int, filters: int, kernel_size: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.embed = keras.layers.Embedding(characters, width, embeddings_initializer=_uniform(width))
        self.dropout = keras.layers.Dropout(dropout)
        self.convolve = keras.layers.Conv1D(filters, kernel_size, padding="same", activation="relu")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make embedding and filters."""
        self.embed.build(input_shape)
        self.convolve.build((None, None, self.embed.output_dim))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give (B, T, F)."""
        return (*input_shape[:2], self.filters)

    def call(self, ids: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Take the strongest response of each filter; nothing comes from behind a token's end."""
        shape = ops.shape(ids)
        ids = ops.reshape(ids, (shape[0] * shape[1], shape[2]))
        mask = ops.cast(ids != PAD, self.compute_dtype)[..., None]
        x = self.dropout(self.embed(ids), training=training) * mask
        x = ops.max(self.convolve(x) * mask, axis=1)
        return ops.reshape(x, (shape[0], shape[1], self.filters))


class CharacterLSTM(keras.layers.Layer):
    """Read a token's characters from both ends: (B, T, C) -> (B, T, F), half of F from each.

    Lample et al. 2016, "Neural Architectures for Named Entity Recognition", section 4.1.
    """

    def __init__(self, characters: int, width: int, units: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.embed = keras.layers.Embedding(characters, width, mask_zero=True, embeddings_initializer=_uniform(width))
        self.dropout = keras.layers.Dropout(dropout)
        self.read = keras.layers.Bidirectional(keras.layers.LSTM(max(1, units // 2)))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make embedding and recurrent layers."""
        self.embed.build(input_shape)
        self.read.build((None, None, self.embed.output_dim))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give (B, T, F)."""
        return (*input_shape[:2], 2 * max(1, self.units // 2))

    def call(self, ids: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Give the last states of both directions."""
        shape = ops.shape(ids)
        ids = ops.reshape(ids, (shape[0] * shape[1], shape[2]))
        x = self.dropout(self.embed(ids), training=training)
        x = self.read(x, mask=ids != PAD, training=training)
        return ops.reshape(x, (shape[0], shape[1], x.shape[-1]))


class Window(keras.layers.Layer):
    """Set each token beside its neighbours: (B, T, D) -> (B, T, (2 reach + 1) D), zeros beyond the sentence's ends."""

    def __init__(self, reach: int, **kwargs):
        super().__init__(**kwargs)
        self.reach = reach

    def call(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Shift and join."""
        x = x * ops.cast(mask, x.dtype)[..., None]
        length = ops.shape(x)[1]
        around = ops.pad(x, ((0, 0), (self.reach, self.reach), (0, 0)))
        return ops.concatenate([around[:, at : at + length] for at in range(2 * self.reach + 1)], axis=-1)


class WindowIds(keras.layers.Layer):
    """Number each word apart for each place of a window: ids (B, T) -> (B, T, 2 reach + 1) below (2 reach + 1) V.

    What it gives picks rows of one kernel, as the one-hot vectors of a window would.
    """

    def __init__(self, reach: int, words: int, **kwargs):
        super().__init__(**kwargs)
        self.reach, self.words = reach, words

    def call(self, ids: keras.KerasTensor) -> keras.KerasTensor:
        """Shift, and move each place's ids to a range of their own."""
        length = ops.shape(ids)[1]
        around = ops.pad(ids, ((0, 0), (self.reach, self.reach)), constant_values=PAD)
        places = range(2 * self.reach + 1)
        return ops.stack([around[:, at : at + length] + at * self.words for at in places], axis=-1)


class Sum(keras.layers.Layer):
    """Add up the last axis but one, with a bias: (B, T, P, D) -> (B, T, D)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the bias."""
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Add up."""
        return ops.sum(x, axis=-2) + self.bias


def _uniform(width: int) -> keras.Initializer:
    """Start embeddings with a deviation of one over the root of their width (Ma & Hovy 2016, section 3.1)."""
    limit = (3 / width) ** 0.5
    return keras.initializers.RandomUniform(-limit, limit)
