"""What a Transformer that translates adds to one that writes: attention to a source (Vaswani et al. 2017).

KerasHub's decoder is not used: its caches have one batch for source and target, so that a source's keys would be held
and moved about once for each beam, and a step copies them whole.

Shapes: B sequences, S source steps, T target steps, K beams of each sequence, D features, H heads.
"""

from typing import Any, Literal

import keras
from keras import ops

from pipelines.layers.transformer import CausalAttention, attention_weights

Norm = Literal["pre", "post"]
ATTENTION = {  # Vaswani et al. 2017 drop what an attention gives, section 5.4, and not its weights
    "rotary": False,
    "dropout": 0.0,
    "use_bias": True,
    "initializer": "glorot_uniform",
    "output_initializer": "glorot_uniform",
}


class GrowingAttention(CausalAttention):
    """Attend as `CausalAttention` does, from a cache that grows by each step.

    So no step reads what is not yet written, and a batch that becomes smaller needs no new program of XLA's.
    """

    def start(self, batch: int, length: int) -> dict[str, keras.KerasTensor]:
        """Give a cache of no steps, of which a graph does not know that there are none: it will grow."""
        return super().start(batch, 0 * length)

    def step(self, x: keras.KerasTensor, cache: dict, position: Any) -> tuple[keras.KerasTensor, dict]:
        """Attend from the next steps to those in the cache and to themselves."""
        queries, keys, values = self._split(x, position)
        keys, values = (ops.concatenate([cache[name], own], 2) for name, own in (("keys", keys), ("values", values)))
        seen = (ops.shape(cache["keys"])[2] + ops.arange(ops.shape(x)[1]))[:, None] >= ops.arange(ops.shape(keys)[2])
        return self._attend(queries, keys, values, seen), {"keys": keys, "values": values}


class SelfAttention(CausalAttention):
    """Let each step attend to all real ones: (B, S, D) and what is real (B, S) -> (B, S, D)."""

    def call(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Attend within the whole sequence."""
        return self._attend(*self._split(x, 0), mask[:, None, None, :])


class CrossAttention(CausalAttention):
    """Let each target step attend to all real source steps: (B, T, D), (B, S, D), mask (B, S) -> (B, T, D).

    `remember` projects a source once; `attend` may be asked for several beams of each source, (B K, T, D).
    """

    def __init__(self, width: int, heads: int, **settings: Any):
        super().__init__(width, heads, **settings)
        self.project_in = keras.layers.Dense(width, kernel_initializer="glorot_uniform")
        self.project_source = keras.layers.Dense(2 * width, kernel_initializer="glorot_uniform")

    def build(self, shape: tuple, *_: tuple) -> None:
        """Build all projections."""
        super().build(shape)
        self.project_source.build((None, None, self.width))

    def call(self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Attend to the whole source."""
        return self.attend(x, self.remember(source), mask)

    def remember(self, source: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        """Give the keys and values of a source, (B, H, S, D / H) each."""
        parts = ops.reshape(
            self.project_source(source), (-1, ops.shape(source)[1], 2, self.heads, self.width // self.heads)
        )
        keys, values = ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), 2)
        return {"keys": keys, "values": values}

    def attend(self, x: keras.KerasTensor, source: dict, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Attend from target steps to what was remembered."""
        read = self._attend(self._queries(x, mask), source["keys"], source["values"], mask[:, None, None, :])
        return ops.reshape(read, ops.shape(x))

    def weigh(self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Give how much each target step attends to each source step: (B, H, T, S), each row's sum being 1."""
        keys = self.remember(source)["keys"]
        return attention_weights(self._queries(x, mask), keys, mask[:, None, None, :])

    def _queries(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Project target steps, those of all beams of a source side by side."""
        shape = (ops.shape(mask)[0], -1, self.heads, self.width // self.heads)
        return ops.transpose(ops.reshape(self.project_in(x), shape), (0, 2, 1, 3))


class Residual(keras.layers.Layer):
    """Blocks whose parts are added to what they are given, normalised before (Xiong et al. 2020) or after."""

    def __init__(self, attentions: int, *, width: int, feed_forward_units: int, norm: Norm, dropout: float):
        super().__init__()
        self.norm = norm
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-5) for _ in range(attentions + 1)]
        self.up = keras.layers.Dense(feed_forward_units, "relu", kernel_initializer="glorot_uniform")
        self.down = keras.layers.Dense(width, kernel_initializer="glorot_uniform")
        self.drop = keras.layers.Dropout(dropout)

    def build(self, shape: tuple, *_: tuple) -> None:
        """Build what all blocks have."""
        for norm in self.norms:
            norm.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], self.up.units))

    def before(self, at: int, x: keras.KerasTensor) -> keras.KerasTensor:
        """Give what a part sees."""
        return self.norms[at](x) if self.norm == "pre" else x

    def after(self, at: int, x: keras.KerasTensor, y: keras.KerasTensor) -> keras.KerasTensor:
        """Add what a part gives."""
        x = x + self.drop(y)
        return self.norms[at](x) if self.norm == "post" else x

    def feed_forward(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Map each step on its own."""
        at = len(self.norms) - 1
        return self.after(at, x, self.down(self.up(self.before(at, x))))


class SourceBlock(Residual):
    """Attend within the source, then map each step: (B, S, D), mask (B, S) -> (B, S, D)."""

    def __init__(self, *, heads: int, **block: Any):
        super().__init__(1, **block)
        self.attention = SelfAttention(block["width"], heads, **ATTENTION)

    def build(self, shape: tuple, *_: tuple) -> None:
        """Build all parts."""
        super().build(shape)
        self.attention.build(shape)

    def call(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Run over the whole source."""
        x = self.after(0, x, self.attention(self.before(0, x), mask))
        return self.feed_forward(x)


class TargetBlock(Residual):
    """Attend to what came before, then to the source, then map each step: (B, T, D) -> (B, T, D)."""

    def __init__(self, *, heads: int, **block: Any):
        super().__init__(2, **block)
        self.attention = GrowingAttention(block["width"], heads, **ATTENTION)
        self.cross = CrossAttention(block["width"], heads, **ATTENTION)

    def build(self, shape: tuple, *_: tuple) -> None:
        """Build all parts."""
        super().build(shape)
        self.attention.build(shape)
        self.cross.build(shape)

    def call(self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Run over the whole target."""
        x = self.after(0, x, self.attention(self.before(0, x)))
        x = self.after(1, x, self.cross(self.before(1, x), source, mask))
        return self.feed_forward(x)

    def attention_weights(
        self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor
    ) -> keras.KerasTensor:
        """Give how much each target step attends to each source step: (B, H, T, S)."""
        x = self.after(0, x, self.attention(self.before(0, x)))
        return self.cross.weigh(self.before(1, x), source, mask)

    def step(
        self, x: keras.KerasTensor, cache: dict, position: Any, source: dict, mask: keras.KerasTensor
    ) -> tuple[keras.KerasTensor, dict]:
        """Run over the next steps, with the attention's cache and what was remembered of the source."""
        attended, cache = self.attention.step(self.before(0, x), cache, position)
        x = self.after(0, x, attended)
        x = self.after(1, x, self.cross.attend(self.before(1, x), source, mask))
        return self.feed_forward(x), cache


class Embed(keras.layers.Layer):
    """Embed ids of a side, scaled by the root of the width (Vaswani et al. 2017, section 3.4), and their places."""

    def __init__(self, embedding: keras.Layer, positions: keras.Layer, dropout: float):
        super().__init__()
        self.embedding, self.positions = embedding, positions
        self.drop = keras.layers.Dropout(dropout)

    def build(self, shape: tuple) -> None:
        """Build the positions; the embedding may be shared."""
        if not self.embedding.built:
            self.embedding.build(shape)
        self.positions.build((*shape, self.embedding.output_dim))

    def call(self, ids: keras.KerasTensor, position: Any = 0) -> keras.KerasTensor:
        """Embed ids that begin at `position`."""
        return self.drop(self.positions(self.embedding(ids) * self.embedding.output_dim**0.5, position=position))
