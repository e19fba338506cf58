"""Encoder-decoder Transformer layers for translation (Vaswani et al. 2017).

KerasHub's decoder is not used. Its caches have the same batch for source and target, so each beam would hold and move
its own copy of the source keys. Each step would also copy the whole cache.

Shapes: B sequences, S source steps, T target steps, K beams of each sequence, D features, H heads.
"""

from typing import Any, Literal

import keras
from keras import ops

from pipelines.hyperparameters import ActivationName, Initializer
from pipelines.layers.basic import kernel_initializer
from pipelines.layers.transformer import Attention, CausalAttention, attention_weights

Norm = Literal["pre", "post"]


def attention_settings(initializer: Initializer) -> dict[str, Any]:
    """Return the settings of each attention layer: dropout of its output, not of its weights (section 5.4)."""
    return {
        "rotary": False,
        "dropout": 0.0,
        "use_bias": True,
        "initializer": kernel_initializer(initializer),
        "output_initializer": kernel_initializer(initializer),
    }


class GrowingAttention(CausalAttention):
    """Causal attention with a cache that grows by each step.

    The cache has no unused slots that a step would have to read. A batch that shrinks needs no new XLA compilation.
    """

    def start(self, batch: int, length: int) -> dict[str, keras.KerasTensor]:
        """Return an empty cache whose time dimension is unknown to the graph."""
        return super().start(batch, 0 * length)

    def step(self, x: keras.KerasTensor, cache: dict, position: Any) -> tuple[keras.KerasTensor, dict]:
        """Attend from the next steps to themselves and the cached steps; return the longer cache too."""
        queries, keys, values = self._split(x, position)
        keys, values = (ops.concatenate([cache[name], own], 2) for name, own in (("keys", keys), ("values", values)))
        seen = (ops.shape(cache["keys"])[2] + ops.arange(ops.shape(x)[1]))[:, None] >= ops.arange(ops.shape(keys)[2])
        return self._attend(queries, keys, values, seen), {"keys": keys, "values": values}


class SelfAttention(Attention):
    """Self-attention over the unmasked steps: (B, S, D), mask (B, S) -> (B, S, D)."""

    def call(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Attend within the whole sequence at once."""
        return self._attend(*self._split(x, 0), mask[:, None, None, :])

    def weigh(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Return the attention weights (B, H, S, S); each row sums to 1."""
        queries, keys, _ = self._split(x, 0)
        return attention_weights(queries, keys, mask[:, None, None, :])


class CrossAttention(Attention):
    """Attention from target to source: target (B, T, D), source (B, S, D), source mask (B, S) -> (B, T, D).

    `remember` projects the source once. `attend` also takes K beams per source, (B K, T, D).
    """

    def __init__(self, width: int, heads: int, initializer: Initializer):
        super().__init__(width, heads, **attention_settings(initializer))
        self.project_in = keras.layers.Dense(width, kernel_initializer=kernel_initializer(initializer))
        self.project_source = keras.layers.Dense(2 * width, kernel_initializer=kernel_initializer(initializer))

    def build(self, shape: tuple, *_: tuple) -> None:
        """Build the query, source and output projections."""
        super().build(shape)
        self.project_source.build((None, None, self.width))

    def call(self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Project the source and attend to it."""
        return self.attend(x, self.remember(source), mask)

    def remember(self, source: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        """Return the keys and values of a source, (B, H, S, D / H) each."""
        parts = ops.reshape(
            self.project_source(source), (-1, ops.shape(source)[1], 2, self.heads, self.width // self.heads)
        )
        keys, values = ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), 2)
        return {"keys": keys, "values": values}

    def attend(self, x: keras.KerasTensor, source: dict, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Attend from target steps to the keys and values that `remember` returned."""
        read = self._attend(self._queries(x, mask), source["keys"], source["values"], mask[:, None, None, :])
        return ops.reshape(read, ops.shape(x))

    def weigh(self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Return the attention weights (B, H, T, S); each row sums to 1."""
        keys = self.remember(source)["keys"]
        return attention_weights(self._queries(x, mask), keys, mask[:, None, None, :])

    def _queries(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Project target steps (B K, T, D) to queries (B, H, K T, D / H), with all beams of a source in one row."""
        shape = (ops.shape(mask)[0], -1, self.heads, self.width // self.heads)
        return ops.transpose(ops.reshape(self.project_in(x), shape), (0, 2, 1, 3))


class Residual(keras.layers.Layer):
    """Base class of residual blocks with layer normalization before (Xiong et al. 2020) or after each sublayer."""

    def __init__(
        self,
        attentions: int,
        *,
        width: int,
        feed_forward_units: int,
        norm: Norm,
        dropout: float,
        activation: ActivationName = "relu",
        initializer: Initializer = "auto",
    ):
        super().__init__()
        self.norm = norm
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-5) for _ in range(attentions + 1)]
        up, down = (kernel_initializer(initializer) for _ in range(2))
        self.up = keras.layers.Dense(feed_forward_units, activation, kernel_initializer=up)
        self.down = keras.layers.Dense(width, kernel_initializer=down)
        self.drop = keras.layers.Dropout(dropout)

    def build(self, shape: tuple, *_: tuple) -> None:
        """Build the normalization and feed-forward layers."""
        for norm in self.norms:
            norm.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], self.up.units))

    def before(self, at: int, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the input of sublayer `at`, normalized if `norm` is "pre"."""
        return self.norms[at](x) if self.norm == "pre" else x

    def after(self, at: int, x: keras.KerasTensor, y: keras.KerasTensor) -> keras.KerasTensor:
        """Add the output `y` of sublayer `at` to its input, and normalize if `norm` is "post"."""
        x = x + self.drop(y)
        return self.norms[at](x) if self.norm == "post" else x

    def feed_forward(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Apply the feed-forward sublayer."""
        at = len(self.norms) - 1
        return self.after(at, x, self.down(self.up(self.before(at, x))))


class SourceBlock(Residual):
    """Encoder block, self-attention and feed-forward: (B, S, D), mask (B, S) -> (B, S, D)."""

    def __init__(self, *, heads: int, **block: Any):
        super().__init__(1, **block)
        self.attention = SelfAttention(block["width"], heads, **attention_settings(block.get("initializer", "auto")))

    def build(self, shape: tuple, *_: tuple) -> None:
        """Build all sublayers."""
        super().build(shape)
        self.attention.build(shape)

    def call(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Process the whole source at once."""
        x = self.after(0, x, self.attention(self.before(0, x), mask))
        return self.feed_forward(x)

    def attention_weights(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Return the attention weights (B, H, S, S)."""
        return self.attention.weigh(self.before(0, x), mask)


class TargetBlock(Residual):
    """Decoder block, causal attention, attention to the source and feed-forward: (B, T, D) -> (B, T, D)."""

    def __init__(self, *, heads: int, **block: Any):
        super().__init__(2, **block)
        initializer = block.get("initializer", "auto")
        self.attention = GrowingAttention(block["width"], heads, **attention_settings(initializer))
        self.cross = CrossAttention(block["width"], heads, initializer)

    def build(self, shape: tuple, *_: tuple) -> None:
        """Build all sublayers."""
        super().build(shape)
        self.attention.build(shape)
        self.cross.build(shape)

    def call(self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Process the whole target at once."""
        x = self.after(0, x, self.attention(self.before(0, x)))
        x = self.after(1, x, self.cross(self.before(1, x), source, mask))
        return self.feed_forward(x)

    def attention_weights(
        self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor
    ) -> keras.KerasTensor:
        """Return the weights of the attention to the source (B, H, T, S)."""
        x = self.after(0, x, self.attention(self.before(0, x)))
        return self.cross.weigh(self.before(1, x), source, mask)

    def step(
        self, x: keras.KerasTensor, cache: dict, position: Any, source: dict, mask: keras.KerasTensor
    ) -> tuple[keras.KerasTensor, dict]:
        """Process the next steps; `source` holds the keys and values from `remember`. Return the updated cache too."""
        attended, cache = self.attention.step(self.before(0, x), cache, position)
        x = self.after(0, x, attended)
        x = self.after(1, x, self.cross.attend(self.before(1, x), source, mask))
        return self.feed_forward(x), cache


class Embed(keras.layers.Layer):
    """Embed token ids, scale by the square root of the width, and add positions: (B, T) -> (B, T, D).

    Vaswani et al. 2017, section 3.4.
    """

    def __init__(self, embedding: keras.Layer, positions: keras.Layer, dropout: float):
        super().__init__()
        self.embedding, self.positions = embedding, positions
        self.drop = keras.layers.Dropout(dropout)

    def build(self, shape: tuple) -> None:
        """Build the positions, and the embedding unless another layer that shares it already has."""
        if not self.embedding.built:
            self.embedding.build(shape)
        self.positions.build((*shape, self.embedding.output_dim))

    def call(self, ids: keras.KerasTensor, position: Any = 0) -> keras.KerasTensor:
        """Embed ids; `position` is the position of the first one."""
        return self.drop(self.positions(self.embedding(ids) * self.embedding.output_dim**0.5, position=position))
