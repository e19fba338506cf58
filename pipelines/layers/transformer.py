"""Transformer layers (Vaswani et al. 2017) with pre-layer normalization (Xiong et al. 2020).

Shapes: B sequences, T steps, D features. A `position` of the first of some steps is a number, or one of each sequence
(B, 1).
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from pipelines.hyperparameters import ActivationName, Initializer
from pipelines.layers.basic import kernel_initializer


class Positions(keras.layers.Layer):
    """Base class of position encodings, usable as a decoder part without state."""

    def start(self, batch: int, length: int) -> tuple:
        """Return an empty state."""
        return ()

    def step(self, x: keras.KerasTensor, state: tuple, position: Any) -> tuple[keras.KerasTensor, tuple]:
        """Encode the steps from `position` on and return the unchanged state."""
        return self(x, position), state


class NoPositions(Positions):
    """Leave the steps as they are, for a Transformer that does not know their order: (B, T, D) -> (B, T, D)."""

    def call(self, x: keras.KerasTensor, position: Any = 0) -> keras.KerasTensor:
        """Return the steps."""
        return x


class SinusoidalPositions(Positions):
    """Add sinusoidal position encodings (Vaswani et al. 2017, section 3.5): (B, T, D) -> (B, T, D)."""

    def call(self, x: keras.KerasTensor, position: Any = 0) -> keras.KerasTensor:
        """Add the encodings; `position` is the position of the first step."""
        width, position = x.shape[-1], ops.convert_to_tensor(position)
        # In float32, since numbers of 16 bits cannot count beyond some hundred.
        place = (
            ops.cumsum(ops.ones_like(x[:1, :, :1], "float32"), axis=1) - 1.0 + ops.cast(position, "float32")[..., None]
        )
        rates = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
        phases = np.where(np.arange(width) % 2, np.pi / 2, 0.0)  # cosine is sine shifted by a quarter period
        return x + ops.cast(ops.sin(place * rates.astype("float32") + phases.astype("float32")), x.dtype)


def encoder_block(
    x: keras.KerasTensor,
    mask: keras.KerasTensor,
    *,
    heads: int,
    feed_forward_units: int,
    dropout: float,
    activation: ActivationName = "relu",
    initializer: Initializer = "auto",
    kernel_regularizer: keras.Regularizer | None = None,
) -> keras.KerasTensor:
    """Apply self-attention and a feed-forward network: (B, T, D), mask (B, T) -> (B, T, D)."""
    width = x.shape[-1]

    def kernels() -> dict[str, Any]:
        return {"kernel_initializer": kernel_initializer(initializer), "kernel_regularizer": kernel_regularizer}

    attend = keras.layers.MultiHeadAttention(heads, max(1, width // heads), dropout=dropout, **kernels())
    y = keras.layers.LayerNormalization()(x)
    y = attend(y, y, attention_mask=keras.layers.Reshape((1, -1))(mask))
    x = keras.layers.Add()([x, keras.layers.Dropout(dropout)(y)])
    y = keras.layers.LayerNormalization()(x)
    y = keras.layers.Dense(feed_forward_units, activation=activation, **kernels())(y)
    y = keras.layers.Dense(width, **kernels())(y)
    return keras.layers.Add()([x, keras.layers.Dropout(dropout)(y)])


def encoder_attention(model: keras.Model, text: Any) -> list[keras.KerasTensor]:
    """Return the attention weights (B, H, T, T) of each `encoder_block` of a model, for a text without padding."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.MultiHeadAttention)]
    if not layers:
        return []
    seen = keras.Model(model.input, {"x": [layer.input[0] for layer in layers]})(text)
    return [layer(x, x, return_attention_scores=True)[1] for layer, x in zip(layers, seen["x"], strict=True)]


class LearnedPositions(Positions):
    """Add learned embeddings of `count` positions (Gehring et al. 2017, section 3.1): (B, T, D) -> (B, T, D)."""

    def __init__(self, count: int, initializer: keras.Initializer):
        super().__init__()
        self.count, self.initializer = count, initializer

    def build(self, shape: tuple) -> None:
        """Create the position embeddings (count, D)."""
        self.vectors = self.add_weight((self.count, shape[-1]), self.initializer, name="embeddings")

    def call(self, x: keras.KerasTensor, position: Any = 0) -> keras.KerasTensor:
        """Add the embeddings; `position` is the position of the first step."""
        return x + ops.take(self.vectors, position + ops.arange(ops.shape(x)[1]), axis=0)


def rotate(x: keras.KerasTensor, position: Any = 0) -> keras.KerasTensor:
    """Apply rotary position embeddings (Su et al. 2021): (B, H, T, D) -> (B, H, T, D)."""
    half = x.shape[-1] // 2
    rates = ops.convert_to_tensor((10000.0 ** (-np.arange(half) / half)).astype("float32"))
    angles = ops.cast(position + ops.arange(ops.shape(x)[2]), "float32")[..., None] * rates
    if len(angles.shape) == 3:  # positions of each sequence, alike for all heads
        angles = angles[:, None]
    cos, sin = ops.cast(ops.cos(angles), x.dtype), ops.cast(ops.sin(angles), x.dtype)
    a, b = x[..., :half], x[..., half:]
    return ops.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention_weights(queries: keras.KerasTensor, keys: keras.KerasTensor, seen: Any) -> keras.KerasTensor:
    """Return attention weights (B, H, T, S) of queries (B, H, T, D) over keys (B, H, S, D).

    `seen` is a mask that broadcasts to (B, H, T, S); keys where it is false get no weight.
    """
    scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2))) * queries.shape[-1] ** -0.5
    return ops.cast(ops.softmax(ops.where(seen, ops.cast(scores, "float32"), -1e9)), queries.dtype)


def _causal(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the causal mask (T, T) of (B, T, D)."""
    steps = ops.arange(ops.shape(x)[1])
    return steps[:, None] >= steps


class Attention(keras.layers.Layer):
    """Base class of multi-head attention with H heads, with one projection for queries, keys and values."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        rotary: bool,
        dropout: float,
        use_bias: bool,
        initializer: Any,
        output_initializer: Any,
    ):
        super().__init__()
        self.width, self.heads, self.rotary = width, heads, rotary
        self.project_in = keras.layers.Dense(3 * width, use_bias=use_bias, kernel_initializer=initializer)
        self.project_out = keras.layers.Dense(width, use_bias=use_bias, kernel_initializer=output_initializer)
        self.drop = keras.layers.Dropout(dropout) if dropout else None

    def build(self, shape: tuple) -> None:
        """Build the input and output projections."""
        self.project_in.build(shape)
        self.project_out.build(shape)

    def _split(
        self, x: keras.KerasTensor, position: Any
    ) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
        parts = ops.reshape(self.project_in(x), (-1, ops.shape(x)[1], 3, self.heads, self.width // self.heads))
        queries, keys, values = ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), 3)
        return (rotate(queries, position), rotate(keys, position), values) if self.rotary else (queries, keys, values)

    def _attend(self, queries, keys, values, seen) -> keras.KerasTensor:
        weights = attention_weights(queries, keys, seen)
        weights = weights if self.drop is None else self.drop(weights)
        joined = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
        return self.project_out(ops.reshape(joined, (-1, ops.shape(joined)[1], self.width)))


class CausalAttention(Attention):
    """Causal multi-head self-attention with H heads: (B, T, D) -> (B, T, D).

    `step` computes the same incrementally, with a cache of keys and values.
    """

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Attend within the whole sequence at once."""
        queries, keys, values = self._split(x, 0)
        return self._attend(queries, keys, values, _causal(x))

    def weigh(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the attention weights (B, H, T, T); each row sums to 1."""
        queries, keys, _ = self._split(x, 0)
        return attention_weights(queries, keys, _causal(x))

    def start(self, batch: int, length: int) -> dict[str, keras.KerasTensor]:
        """Return an empty cache for `length` steps."""
        shape = (batch, self.heads, length, self.width // self.heads)
        return {"keys": ops.zeros(shape), "values": ops.zeros(shape)}

    def step(self, x: keras.KerasTensor, cache: dict, position: Any) -> tuple[keras.KerasTensor, dict]:
        """Attend from the steps at `position` to themselves and the cached steps; return the updated cache too.

        With a position of each sequence, there is a single step.
        """
        queries, keys, values = self._split(x, position)
        places = ops.arange(ops.shape(cache["keys"])[2])
        if len(ops.shape(position)) == 2:
            here = (places == position)[:, None, :, None]
            keys, values = ops.where(here, keys, cache["keys"]), ops.where(here, values, cache["values"])
            seen = (places <= position)[:, None, None]
        else:
            keys = ops.slice_update(cache["keys"], (0, 0, position, 0), keys)
            values = ops.slice_update(cache["values"], (0, 0, position, 0), values)
            seen = (position + ops.arange(ops.shape(x)[1]))[:, None] >= places
        return self._attend(queries, keys, values, seen), {"keys": keys, "values": values}


class DecoderBlock(keras.layers.Layer):
    """Causal self-attention and a feed-forward network: (B, T, D) -> (B, T, D)."""

    def __init__(
        self,
        width: int,
        heads: int,
        feed_forward_units: int,
        *,
        layers: int,
        rotary: bool,
        dropout: float,
        use_bias: bool,
        activation: ActivationName = "gelu",
        initializer: Initializer = "auto",
    ):
        super().__init__()
        normal = keras.initializers.RandomNormal(stddev=0.02)  # Radford et al. 2018, section 4.1
        # Projections into the residual stream start smaller in deeper models: Radford et al. 2019, section 2.3.
        output = keras.initializers.RandomNormal(stddev=0.02 / (2 * layers) ** 0.5)
        self.attention = CausalAttention(
            width,
            heads,
            rotary=rotary,
            dropout=dropout,
            use_bias=use_bias,
            initializer=kernel_initializer(initializer, normal),
            output_initializer=kernel_initializer(initializer, output),
        )
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-5, center=use_bias) for _ in range(2)]
        up, down = (kernel_initializer(initializer, auto) for auto in (normal, output))
        self.up = keras.layers.Dense(feed_forward_units, activation, use_bias=use_bias, kernel_initializer=up)
        self.down = keras.layers.Dense(width, use_bias=use_bias, kernel_initializer=down)
        self.drop = keras.layers.Dropout(dropout) if dropout else (lambda x: x)

    def build(self, shape: tuple) -> None:
        """Build all sublayers."""
        for part in (self.attention, *self.norms, self.up):
            part.build(shape)
        self.down.build((*shape[:-1], self.up.units))

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Process the whole sequence at once."""
        return self._add(x, self.attention(self.norms[0](x)))

    def attention_weights(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the attention weights (B, H, T, T)."""
        return self.attention.weigh(self.norms[0](x))

    def start(self, batch: int, length: int) -> dict[str, keras.KerasTensor]:
        """Return an empty attention cache for `length` steps."""
        return self.attention.start(batch, length)

    def step(self, x: keras.KerasTensor, cache: dict, position: Any) -> tuple[keras.KerasTensor, dict]:
        """Process the steps at `position`; return the updated cache too."""
        attended, cache = self.attention.step(self.norms[0](x), cache, position)
        return self._add(x, attended), cache

    def _add(self, x: keras.KerasTensor, attended: keras.KerasTensor) -> keras.KerasTensor:
        x = x + self.drop(attended)
        return x + self.drop(self.down(self.up(self.norms[1](x))))
