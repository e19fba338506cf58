"""Transformer for translation.

Shapes: B sentences, S source tokens, T target tokens, n next target tokens, V target token ids, D features.
"""

from typing import Any

import keras
from keras import ops

from pipelines.errors import UserError
from pipelines.layers.basic import IsToken
from pipelines.layers.transformer import LearnedPositions, NoPositions, SinusoidalPositions
from pipelines.layers.translation import Embed, SourceBlock, TargetBlock
from pipelines.tasks.translator.preprocessing import Features
from pipelines.tasks.translator.translation import Translator, make_embeddings
from pipelines.text.sampling import State


class TransformerTranslator(Translator):
    """Transformer decoder whose blocks attend to the output of an encoder: (B, S) -> [(B, S, D), mask (B, S)]."""

    def __init__(
        self,
        encoder: keras.Model,
        embedding: keras.Layer,
        positions: keras.Layer,
        *,
        layers: int,
        name: str = "transformer",
        **block: Any,
    ):
        source, target = (keras.Input((None,), dtype="int32", name=side) for side in ("source", "target"))
        encoded, mask = encoder(source)
        embed = Embed(embedding, positions, block["dropout"])
        blocks = [TargetBlock(**block) for _ in range(layers)]
        last = _last_norm(block["norm"])
        x = embed(target)
        for each in blocks:
            x = each(x, encoded, mask)
        super().__init__({"source": source, "target": target}, last(x), name=name)
        self.embedding, self.encoder, self.embed, self.blocks, self.last = embedding, encoder, embed, blocks, last

    def start(self, given: dict, length: int) -> State:
        """Encode the source once, and cache its keys and values for each block."""
        encoded, mask = self.encoder(given["source"])
        batch = ops.shape(encoded)[0]
        remembered = [block.cross.remember(encoded) for block in self.blocks]
        caches = [block.attention.start(batch, length) for block in self.blocks]
        source = {"mask": mask, "blocks": remembered}
        return {"source": source, "position": ops.zeros((batch,), "int32"), "caches": caches}

    def step(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Return the scores of the token after each of the next tokens (B, n), and the new state."""
        position, source, caches = state["position"][0], state["source"], []
        x = self.embed(tokens, position=position)
        for block, remembered, cache in zip(self.blocks, source["blocks"], state["caches"], strict=True):
            x, cache = block.step(x, cache, position, remembered, source["mask"])
            caches.append(cache)
        position = state["position"] + ops.shape(tokens)[1]
        return self.scores(self.last(x)), {"source": source, "position": position, "caches": caches}

    def attention(self, source: keras.KerasTensor, target: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Return the attention weights from target to source tokens (B, H, T, S), for each block."""
        (encoded, mask), x, weights = self.encoder(source), self.embed(target), []
        for block in self.blocks:
            weights.append(block.attention_weights(x, encoded, mask))
            x = block(x, encoded, mask)
        return weights

    def encoder_attention(self, source: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Return the attention weights between source tokens (B, H, S, S), for each block of an encoder made here."""
        blocks = [layer for layer in self.encoder.layers if isinstance(layer, SourceBlock)]
        if not blocks:
            return []
        seen = keras.Model(self.encoder.input, {"given": [block.input for block in blocks]})(source)
        return [block.attention_weights(*given) for block, given in zip(blocks, seen["given"], strict=True)]


def transformer_translator(
    features: Features, *, layers: tuple[int, int], positions: str, tied: bool, width: int, **block: Any
) -> TransformerTranslator:
    """Return a Transformer with an encoder and a decoder of so many layers."""
    check_heads("models.transformer", width, block["heads"])

    def places() -> keras.Layer:
        initializer = keras.initializers.RandomNormal(stddev=width**-0.5)
        if positions == "learned":
            return LearnedPositions(features.longest, initializer)
        return NoPositions() if positions == "none" else SinusoidalPositions()

    source = keras.Input((None,), dtype="int32", name="source")
    source_embedding, embedding = make_embeddings(features, width, tied)
    mask, x = IsToken()(source), Embed(source_embedding, places(), block["dropout"])(source)
    for _ in range(layers[0]):
        x = SourceBlock(width=width, **block)(x, mask)
    encoder = keras.Model(source, [_last_norm(block["norm"])(x), mask], name="encoder")
    return TransformerTranslator(encoder, embedding, places(), layers=layers[1], width=width, **block)


def check_heads(model: str, width: int, heads: int) -> None:
    """Check that the heads of a model divide its width.

    Raises:
        UserError: If they do not.
    """
    if width % heads:
        raise UserError(f"{model}.heads", f"the width {width} must be a multiple of the heads, {heads}")


def _last_norm(norm: str) -> keras.Layer:
    return keras.layers.LayerNormalization(epsilon=1e-5) if norm == "pre" else keras.layers.Identity()
