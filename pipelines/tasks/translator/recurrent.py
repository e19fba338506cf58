"""Recurrent encoder-decoder networks for translation.

Shapes: B sentences, S source tokens, T target tokens, n next target tokens, K beams, V target token ids, D features.
"""

from typing import Any

import keras
from keras import ops

from pipelines.hyperparameters import ActivationName, Initializer
from pipelines.layers.basic import IsToken, kernel_initializer
from pipelines.layers.recurrent import recur, recurrent_layer
from pipelines.tasks.translator.preprocessing import Features
from pipelines.tasks.translator.translation import Translator, make_embeddings
from pipelines.text.sampling import State


class Ends(keras.layers.Layer):
    """Return the final output of a recurrent encoder: (B, S, D), mask (B, S) -> (B, D)."""

    def __init__(self, bidirectional: bool):
        super().__init__()
        self.bidirectional = bidirectional

    def call(self, x: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Return the output at the last real step. For the backward half this is the first step."""
        last = ops.sum(ops.cast(mask, "int32"), axis=1)[:, None, None] - 1
        forwards = ops.take_along_axis(x, last, axis=1)[:, 0]
        if not self.bidirectional:
            return forwards
        half = x.shape[-1] // 2
        return ops.concatenate([forwards[:, :half], x[:, 0, half:]], axis=-1)


class SourceAttention(keras.layers.Layer):
    """Attend from each target step to the source steps: (B, T, D) -> (B, T, D)."""

    def __init__(self, kind: str, units: int, initializer: Initializer):
        super().__init__()
        self.kind, self.units = kind, units
        self.project_in = keras.layers.Dense(units, use_bias=False, kernel_initializer=kernel_initializer(initializer))
        self.project_source = keras.layers.Dense(units, kernel_initializer=kernel_initializer(initializer))
        self.score = keras.layers.Dense(1, use_bias=False, kernel_initializer=kernel_initializer(initializer))

    def build(self, x_shape: tuple, source_shape: tuple) -> None:
        """Build the projections."""
        self.project_in.build(x_shape)
        self.project_source.build(source_shape)
        self.score.build((None, self.units))

    def call(self, x: keras.KerasTensor, source: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Attend to the whole source."""
        return self.attend(x, self.remember(source), mask)

    def remember(self, source: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        """Return the keys and values of a source."""
        return {"keys": self.project_source(source), "values": source}

    def attend(self, x: keras.KerasTensor, source: dict, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Attend from target steps, which may belong to several beams (B K, n, D)."""
        weights = self.weigh(x, source, mask)
        read = ops.matmul(weights, source["values"])
        return ops.reshape(read, (*ops.shape(x)[:2], source["values"].shape[-1]))

    def weigh(self, x: keras.KerasTensor, source: dict, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Return the attention weights of the source steps, with the beams side by side (B, K n, S)."""
        queries = ops.reshape(self.project_in(x), (ops.shape(mask)[0], -1, self.units))
        if self.kind == "dot":
            fit = ops.matmul(queries, ops.transpose(source["keys"], (0, 2, 1))) * self.units**-0.5
        else:
            fit = self.score(ops.tanh(queries[:, :, None] + source["keys"][:, None]))[..., 0]
        return ops.cast(ops.softmax(ops.where(mask[:, None], ops.cast(fit, "float32"), -1e9)), fit.dtype)


class RecurrentTranslator(Translator):
    """Encoder-decoder of two recurrent networks, optionally with attention to the source.

    The queries of the attention are the outputs of the first decoder layer. Its result is an input of all later layers
    (as in Wu et al. 2016, section 3).
    """

    def __init__(
        self,
        features: Features,
        *,
        cell: str,
        width: int,
        units: int,
        encoder_layers: int,
        decoder_layers: int,
        bidirectional: bool,
        attention: str,
        tied: bool,
        activation: ActivationName,
        initializer: Initializer,
        dropout: float,
    ):
        def dense(width: int) -> keras.layers.Dense:
            return keras.layers.Dense(width, "tanh", kernel_initializer=kernel_initializer(initializer))

        settings: dict[str, Any] = {"activation": activation, "initializer": initializer}
        source, target = (keras.Input((None,), dtype="int32", name=side) for side in ("source", "target"))
        source_embedding, embedding = make_embeddings(features, width, tied)
        drop, states = keras.layers.Dropout(dropout), 2 if cell == "lstm" else 1
        mask, x = IsToken()(source), drop(source_embedding(source))
        for _ in range(encoder_layers):
            x = drop(recur(x, mask, cell, units, bidirectional=bidirectional, **settings))
        end = Ends(bidirectional)(x, mask)
        begin = [[dense(units)(end) for _ in range(states)] for _ in range(decoder_layers)]
        encoder = keras.Model(source, {"steps": x, "mask": mask, "begin": begin}, name="encoder")

        encoded = encoder(source)
        layers = [recurrent_layer(cell, units, **settings, return_state=True) for _ in range(decoder_layers)]
        attend = SourceAttention(attention, units, initializer) if attention != "none" else None
        last = dense(width)
        join = keras.layers.Concatenate()
        x, found = drop(embedding(target)), None
        for at, (layer, state) in enumerate(zip(layers, encoded["begin"], strict=True)):
            x = drop(layer(x, initial_state=state)[0])
            if at == 0 and attend:
                found = attend(x, encoded["steps"], encoded["mask"])
            x = join([x, found]) if attend else x
        super().__init__({"source": source, "target": target}, drop(last(x)), name="seq2seq")
        self.embedding, self.encoder, self.layers_, self.attend = embedding, encoder, layers, attend
        self.last, self.join = last, join

    def start(self, given: dict, length: int) -> State:
        """Encode the source once. The initial state of the decoder depends on the final output of the encoder."""
        encoded = self.encoder(given["source"])
        remembered = self.attend.remember(encoded["steps"]) if self.attend else {}
        return {"source": {"mask": encoded["mask"], **remembered}, "cells": encoded["begin"]}

    def step(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Return the scores of the token after each of the next tokens (B, n), and the new state."""
        x, found, cells, source = self.embedding(tokens), None, [], state["source"]
        for at, (layer, own) in enumerate(zip(self.layers_, state["cells"], strict=True)):
            x, *own = layer(x, initial_state=own)
            cells.append(own)
            if at == 0 and self.attend:
                found = self.attend.attend(x, source, source["mask"])
            x = self.join([x, found]) if self.attend else x
        return self.scores(self.last(x)), {"source": source, "cells": cells}

    def attention(self, source: keras.KerasTensor, target: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Return the attention weights from target to source tokens (B, 1, T, S); an empty list if there are none."""
        if not self.attend:
            return []
        encoded = self.encoder(source)
        x, *_ = self.layers_[0](self.embedding(target), initial_state=encoded["begin"][0])
        return [self.attend.weigh(x, self.attend.remember(encoded["steps"]), encoded["mask"])[:, None]]
