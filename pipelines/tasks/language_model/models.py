"""The ladder of language models: counts, a fixed window, recurrent networks, a Transformer.

Every model gives scores of the token after each one (B, T, V). Shapes: B texts, T tokens, V token ids, D features.
"""

from functools import partial
from typing import Annotated, Literal, TypedDict, Unpack

import keras
from pydantic import Field

from pipelines.errors import UserError
from pipelines.hyperparameters import Dropout
from pipelines.layers.transformer import DecoderBlock, LearnedPositions, SinusoidalPositions
from pipelines.tasks.language_model.networks import LanguageModel, Mean, Mixture, Recurrence, Window
from pipelines.tasks.language_model.ngram import Counts, ngram
from pipelines.tasks.language_model.preprocessing import Features

Width = Annotated[int, Field(ge=2, description="width of each token's embedding")]
Hidden = Annotated[int, Field(ge=1, description="width of the hidden layer")]
Layers = Annotated[int, Field(ge=1, description="layers, one upon the other")]
Mixed = Annotated[
    int,
    Field(
        ge=0,
        le=10,
        description="mix the network with counts of n-grams of up to this many tokens, by a share that it learns"
        " (Bengio et al. 2003, section 4); 0: the network alone",
    ),
]


DEVIATION = 0.02  # of embeddings at first: Radford et al. 2018, section 4.1


class Recurrent(TypedDict):
    """What all recurrent rungs share."""

    width: Width
    units: Annotated[int, Field(ge=1, description="width of each layer's state")]
    layers: Layers
    dropout: Dropout
    counts: Mixed


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
    counts: Mixed,
) -> keras.Model:
    """Join the embeddings of the last tokens, and map them by a hidden layer (Bengio et al. 2003)."""
    parts = [Window(reach, units), *_drop(dropout)]
    return _model(features, "neural", width, parts, None, None, counts)


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
    counts: Mixed,
) -> keras.Model:
    """Let every token attend to those before it (Radford et al. 2018), normalised before each part."""
    if width % (2 * heads):
        raise UserError("models.transformer.heads", f"the width {width} must be a multiple of twice the heads, {heads}")
    added = {"learned": [LearnedPositions(features.context, _initial())], "sinusoidal": [SinusoidalPositions()]}
    block = {"layers": layers, "rotary": positions == "rotary", "dropout": dropout, "use_bias": use_bias}
    blocks = [DecoderBlock(width, heads, feed_forward_units, **block) for _ in range(layers)]
    norm = keras.layers.LayerNormalization(epsilon=1e-5, center=use_bias)
    parts = [*added.get(positions, []), *_drop(dropout), *blocks, norm]
    return _model(features, "transformer", width, parts, "tied", features.context, counts)


MODELS = {
    "ngram": ngram,
    "bag_of_words": bag_of_words,
    "neural": neural,
    "rnn": rnn,
    "gru": gru,
    "lstm": lstm,
    "transformer": transformer,
}


def _recurrent(features: Features, cell: str, settings: Recurrent) -> keras.Model:
    parts = []
    for _ in range(settings["layers"]):
        parts += [*_drop(settings["dropout"]), Recurrence(cell, settings["units"])]
    parts += _drop(settings["dropout"])
    tied = "tied" if settings["units"] == settings["width"] else None
    return _model(features, cell, settings["width"], parts, tied, None, settings["counts"])


def _model(
    features: Features, name: str, width: int, parts: list, scores: str | None, context: int | None, counts: int = 0
) -> keras.Model:
    embedding = keras.layers.ReversibleEmbedding(features.tokens, width, embeddings_initializer=_initial())
    # Press & Wolf 2017: the scores come from the embeddings themselves.
    out = partial(embedding, reverse=True) if scores == "tied" else keras.layers.Dense(features.tokens)
    network = (embedding, parts, out, name, context)
    return Mixture(Counts(features, counts), *network) if counts else LanguageModel(*network)


def _initial() -> keras.Initializer:
    """Make an initializer, which draws its seed as it is made: at import that would be before any seed is set."""
    return keras.initializers.RandomNormal(stddev=DEVIATION)


def _drop(share: float) -> list[keras.Layer]:
    return [keras.layers.Dropout(share)] if share else []
