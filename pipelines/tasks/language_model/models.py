"""The ladder of language models: counts, a fixed window, recurrent networks, a Transformer.

Every model gives scores of the token after each one (B, T, V). Shapes: B texts, T tokens, V token ids, D features.
"""

from functools import partial
from typing import Annotated, Any, Literal, TypedDict, Unpack

import keras
from keras import ops
from pydantic import Field

from pipelines.decoding import GenerativeModel, State
from pipelines.errors import UserError
from pipelines.hyperparameters import Dropout
from pipelines.layers.recurrent import CELLS
from pipelines.layers.transformer import DecoderBlock, LearnedPositions, SinusoidalPositions
from pipelines.tasks.language_model.ngram import ngram
from pipelines.tasks.language_model.preprocessing import Features

Width = Annotated[int, Field(ge=2, description="width of each token's embedding")]
Hidden = Annotated[int, Field(ge=1, description="width of the hidden layer")]
Layers = Annotated[int, Field(ge=1, description="layers, one upon the other")]


Initial = keras.initializers.RandomNormal(stddev=0.02)  # of embeddings: Radford et al. 2018, section 4.1


class Recurrent(TypedDict):
    """What all recurrent rungs share."""

    width: Width
    units: Annotated[int, Field(ge=1, description="width of each layer's state")]
    layers: Layers
    dropout: Dropout


def bag_of_words(features: Features, *, width: Width, units: Hidden, dropout: Dropout) -> keras.Model:
    """Count the tokens so far, whatever their order: the mean of their embeddings, and a hidden layer."""
    hidden = keras.layers.Dense(units, activation="relu")
    return _model(features, "bag_of_words", width, [Mean(), hidden, *_drop(dropout)], None, features.context)


def neural(
    features: Features,
    *,
    reach: Annotated[int, Field(ge=1, description="tokens that are looked at")],
    width: Width,
    units: Hidden,
    dropout: Dropout,
) -> keras.Model:
    """Join the embeddings of the last tokens, and map them by a hidden layer (Bengio et al. 2003)."""
    return _model(features, "neural", width, [Window(reach, units), *_drop(dropout)], None, None)


def rnn(features: Features, **settings: Unpack[Recurrent]) -> keras.Model:
    """Carry a state from token to token (Elman 1990; as a language model Mikolov et al. 2010)."""
    return _recurrent(features, "rnn", settings)


def gru(features: Features, **settings: Unpack[Recurrent]) -> keras.Model:
    """Let gates decide what the state keeps (Cho et al. 2014)."""
    return _recurrent(features, "gru", settings)


def lstm(features: Features, **settings: Unpack[Recurrent]) -> keras.Model:
    """Keep a memory beside the state, behind gates (Hochreiter & Schmidhuber 1997; Zaremba et al. 2014)."""
    return _recurrent(features, "lstm", settings)


def transformer(
    features: Features,
    *,
    width: Width,
    layers: Layers,
    heads: Annotated[int, Field(ge=1, description="attention heads; each is width / heads wide")],
    feed_forward_units: Annotated[int, Field(ge=1, description="width of the hidden layer after each attention")],
    positions: Annotated[
        Literal["learned", "sinusoidal", "rotary"],
        Field(description="how attention knows the order: a learnt vector each, sines, or turned queries and keys"),
    ],
    use_bias: Annotated[bool, Field(description="add a bias in each layer")],
    dropout: Dropout,
) -> keras.Model:
    """Let every token attend to those before it (Radford et al. 2018), normalised before each part."""
    if width % (2 * heads):
        raise UserError("models.transformer.heads", f"the width {width} must be a multiple of twice the heads, {heads}")
    added = {"learned": [LearnedPositions(features.context, Initial)], "sinusoidal": [SinusoidalPositions()]}
    block = {"layers": layers, "rotary": positions == "rotary", "dropout": dropout, "use_bias": use_bias}
    blocks = [DecoderBlock(width, heads, feed_forward_units, **block) for _ in range(layers)]
    norm = keras.layers.LayerNormalization(epsilon=1e-5, center=use_bias)
    parts = [*added.get(positions, []), *_drop(dropout), *blocks, norm]
    return _model(features, "transformer", width, parts, "tied", features.context)


MODELS = {
    "ngram": ngram,
    "bag_of_words": bag_of_words,
    "neural": neural,
    "rnn": rnn,
    "gru": gru,
    "lstm": lstm,
    "transformer": transformer,
}


class Mean(keras.layers.Layer):
    """Average each step with all before it: (B, T, D) -> (B, T, D)."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Average within the whole sequence."""
        return ops.cumsum(x, axis=1) / ops.cumsum(ops.ones_like(x[:, :, :1]), axis=1)

    def start(self, batch: int, length: int) -> keras.KerasTensor:
        """Give the sum of nothing, with a count behind it."""
        return ops.zeros((batch, self.width + 1))

    def build(self, shape: tuple) -> None:
        """Remember the width."""
        self.width = shape[-1]

    def step(self, x: keras.KerasTensor, sums: keras.KerasTensor, position: Any) -> tuple:
        """Go on from the sum so far."""
        counted = ops.concatenate([x, ops.ones_like(x[:, :, :1])], axis=-1)
        sums = sums[:, None] + ops.cumsum(counted, axis=1)
        return sums[:, :, :-1] / sums[:, :, -1:], sums[:, -1]


class Window(keras.layers.Layer):
    """Map each step together with those right before it: (B, T, D) -> (B, T, units), zeros before the first."""

    def __init__(self, reach: int, units: int):
        super().__init__()
        self.reach = reach
        self.map = keras.layers.Conv1D(units, reach, activation="tanh")  # that is: joined, then a dense layer

    def build(self, shape: tuple) -> None:
        """Build the hidden layer."""
        self.width = shape[-1]
        self.map.build(shape)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Map the whole sequence."""
        return self.map(ops.pad(x, ((0, 0), (self.reach - 1, 0), (0, 0))))

    def start(self, batch: int, length: int) -> keras.KerasTensor:
        """Give the zeros before the first step."""
        return ops.zeros((batch, self.reach - 1, self.width))

    def step(self, x: keras.KerasTensor, before: keras.KerasTensor, position: Any) -> tuple:
        """Go on after the steps before."""
        joined = ops.concatenate([before, x], axis=1)
        last = joined[:, ops.shape(joined)[1] - self.reach + 1 :]
        return self.map(joined), ops.reshape(last, (ops.shape(x)[0], self.reach - 1, self.width))


class Recurrence(keras.layers.Layer):
    """Carry a state from step to step: (B, T, D) -> (B, T, units)."""

    def __init__(self, cell: str, units: int):
        super().__init__()
        self.states = 2 if cell == "lstm" else 1
        self.units = units
        self.layer = CELLS[cell](units, return_sequences=True, return_state=True)

    def build(self, shape: tuple) -> None:
        """Build the recurrent layer."""
        self.layer.build(shape)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Start from zeros."""
        return self.layer(x)[0]

    def start(self, batch: int, length: int) -> list[keras.KerasTensor]:
        """Give a state of zeros."""
        return [ops.zeros((batch, self.units)) for _ in range(self.states)]

    def step(self, x: keras.KerasTensor, state: list[keras.KerasTensor], position: Any) -> tuple:
        """Go on from a state."""
        y, *state = self.layer(x, initial_state=state)
        return y, state


class LanguageModel(GenerativeModel):
    """Layers in a row; those with a `step` carry a state, the others map each token on its own."""

    compiled = True

    def __init__(self, embedding: keras.Layer, parts: list, scores: Any, name: str, context: int | None):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        x = embedding(tokens)
        for part in parts:
            x = part(x)
        super().__init__({"tokens": tokens}, scores(x), name=name)
        self.embedding, self.parts, self.scores, self.context = embedding, parts, scores, context

    def attention(self, tokens: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Give how much each token of (B, T) attends to each, layer by layer: (B, H, T, T) each; of others nothing."""
        x, weights = self.embedding(tokens), []
        for part in self.parts:
            if hasattr(part, "attention_weights"):
                weights.append(part.attention_weights(x))
            x = part(x)
        return weights

    def start(self, batch: int, length: int) -> State:
        """Give the state before the first token, with room for `length`."""
        states = [part.start(batch, length) for part in self.parts if hasattr(part, "step")]
        return {"position": ops.zeros((batch,), "int32"), "parts": states}

    def step(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Score what follows each of the next tokens (B, n)."""
        position = state["position"][0]
        x, states, given = self.embedding(tokens), [], iter(state["parts"])
        for part in self.parts:
            if hasattr(part, "step"):
                x, own = part.step(x, next(given), position)
                states.append(own)
            else:
                x = part(x)
        return self.scores(x), {"position": state["position"] + ops.shape(tokens)[1], "parts": states}


def _recurrent(features: Features, cell: str, settings: Recurrent) -> keras.Model:
    parts = []
    for _ in range(settings["layers"]):
        parts += [*_drop(settings["dropout"]), Recurrence(cell, settings["units"])]
    parts += _drop(settings["dropout"])
    tied = "tied" if settings["units"] == settings["width"] else None
    return _model(features, cell, settings["width"], parts, tied, None)


def _model(
    features: Features, name: str, width: int, parts: list, scores: str | None, context: int | None
) -> keras.Model:
    embedding = keras.layers.ReversibleEmbedding(features.tokens, width, embeddings_initializer=Initial)
    # Press & Wolf 2017: the scores come from the embeddings themselves.
    out = partial(embedding, reverse=True) if scores == "tied" else keras.layers.Dense(features.tokens)
    return LanguageModel(embedding, parts, out, name, context)


def _drop(share: float) -> list[keras.Layer]:
    return [keras.layers.Dropout(share)] if share else []
