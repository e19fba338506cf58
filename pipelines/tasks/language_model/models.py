"""Language models: n-grams, feed-forward networks, recurrent networks, a Transformer and published ones.

Every model returns the scores of the token after each token (B, T, V). Shapes: B texts, T tokens, V token ids.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, TypedDict, Unpack

import keras
from pydantic import Field

from pipelines.errors import UserError
from pipelines.hyperparameters import Activation, CellActivation, Dropout, Initializer
from pipelines.layers.basic import kernel_initializer
from pipelines.layers.transformer import DecoderBlock, LearnedPositions, SinusoidalPositions
from pipelines.tasks.language_model.networks import LanguageModel, Mean, Mixture, Recurrence, Window
from pipelines.tasks.language_model.ngram import Counts, ngram
from pipelines.tasks.language_model.preprocessing import Features
from pipelines.tasks.language_model.published import published_model
from pipelines.text.sampling import GenerativeModel
from pipelines.training.pretrained import FineTuning

Width = Annotated[int, Field(ge=2, description="width of the token embeddings")]
Hidden = Annotated[int, Field(ge=1, description="width of the hidden layer")]
Layers = Annotated[int, Field(ge=1, description="number of stacked layers")]
Mixed = Annotated[
    int,
    Field(
        ge=0,
        le=10,
        description="order of the n-gram model interpolated with the network, with a learned weight (Bengio et al."
        " 2003, section 4); 0: only the network",
    ),
]


class Recurrent(TypedDict):
    """Settings that all recurrent models share."""

    width: Width
    units: Annotated[int, Field(ge=1, description="width of the state of each layer")]
    layers: Layers
    activation: CellActivation
    initializer: Initializer
    dropout: Dropout
    counts: Mixed


def bag_of_words(
    features: Features,
    *,
    width: Width,
    units: Hidden,
    activation: Activation,
    initializer: Initializer,
    dropout: Dropout,
) -> GenerativeModel:
    """Feed-forward network on the mean embedding of all tokens so far, regardless of their order."""
    hidden = keras.layers.Dense(units, activation=activation, kernel_initializer=kernel_initializer(initializer))
    parts = [Mean(), hidden, *_drop(dropout)]
    return _model(features, "bag_of_words", width, parts, None, features.context, initializer)


def neural(
    features: Features,
    *,
    reach: Annotated[int, Field(ge=1, description="number of last tokens that the network sees")],
    width: Width,
    units: Hidden,
    activation: Activation,
    initializer: Initializer,
    dropout: Dropout,
    counts: Mixed,
) -> GenerativeModel:
    """Feed-forward network on the concatenated embeddings of the last tokens (Bengio et al. 2003)."""
    parts = [Window(reach, units, activation, initializer), *_drop(dropout)]
    return _model(features, "neural", width, parts, None, None, initializer, counts)


def rnn(features: Features, **settings: Unpack[Recurrent]) -> GenerativeModel:
    """Recurrent neural network (Elman 1990; as a language model Mikolov et al. 2010)."""
    return _recurrent(features, "rnn", settings)


def gru(features: Features, **settings: Unpack[Recurrent]) -> GenerativeModel:
    """Gated recurrent unit (GRU) network (Cho et al. 2014)."""
    return _recurrent(features, "gru", settings)


def lstm(features: Features, **settings: Unpack[Recurrent]) -> GenerativeModel:
    """Long short-term memory (LSTM) network (Hochreiter & Schmidhuber 1997; Zaremba et al. 2014)."""
    return _recurrent(features, "lstm", settings)


def transformer(
    features: Features,
    *,
    width: Width,
    layers: Layers,
    heads: Annotated[int, Field(ge=1, description="number of attention heads; each has a width of width / heads")],
    feed_forward_units: Annotated[
        int, Field(ge=1, description="width of the feed-forward layer after each attention layer")
    ],
    positions: Annotated[
        Literal["learned", "sinusoidal", "rotary", "none"],
        Field(
            description="positional encoding: a learned vector for each position, sinusoids, or rotated queries and"
            " keys; none: the order is known only from the causal mask"
        ),
    ],
    use_bias: Annotated[bool, Field(description="add a bias in each layer")],
    activation: Activation,
    initializer: Initializer,
    dropout: Dropout,
    counts: Mixed,
) -> GenerativeModel:
    """Causal Transformer with normalization before each sublayer (Radford et al. 2018)."""
    if width % (2 * heads):
        raise UserError("models.transformer.heads", f"the width {width} must be a multiple of 2 * heads = {2 * heads}")
    added = {"learned": [LearnedPositions(features.context, _initial())], "sinusoidal": [SinusoidalPositions()]}
    blocks = [
        DecoderBlock(
            width,
            heads,
            feed_forward_units,
            layers=layers,
            rotary=positions == "rotary",
            dropout=dropout,
            use_bias=use_bias,
            activation=activation,
            initializer=initializer,
        )
        for _ in range(layers)
    ]
    norm = keras.layers.LayerNormalization(epsilon=1e-5, center=use_bias)
    parts = [*added.get(positions, []), *_drop(dropout), *blocks, norm]
    return _model(features, "transformer", width, parts, "tied", features.context, initializer, counts)


def pretrained(features: Features, **fine_tuning: Unpack[FineTuning]) -> GenerativeModel:
    """Causal Transformer as published, with its own tokenizer, fine-tuned on the text (Howard & Ruder 2018)."""
    return published_model(features, fine_tuning)


MODELS: dict[str, Callable[..., GenerativeModel]] = {
    "ngram": ngram,
    "bag_of_words": bag_of_words,
    "neural": neural,
    "rnn": rnn,
    "gru": gru,
    "lstm": lstm,
    "transformer": transformer,
    "pretrained": pretrained,
}


def _recurrent(features: Features, cell: str, settings: Recurrent) -> GenerativeModel:
    parts, initializer = [], settings["initializer"]
    for _ in range(settings["layers"]):
        parts += [
            *_drop(settings["dropout"]),
            Recurrence(cell, settings["units"], settings["activation"], initializer),
        ]
    parts += _drop(settings["dropout"])
    tied = "tied" if settings["units"] == settings["width"] else None
    return _model(features, cell, settings["width"], parts, tied, None, initializer, settings["counts"])


def _model(
    features: Features,
    name: str,
    width: int,
    parts: list,
    scores: str | None,
    context: int | None,
    initializer: Initializer,
    counts: int = 0,
) -> GenerativeModel:
    embedding = keras.layers.ReversibleEmbedding(features.tokens, width, embeddings_initializer=_initial())
    # Tied: the scores use the token embeddings (Press & Wolf 2017).
    if scores == "tied":
        out = partial(embedding, reverse=True)
    else:
        out = keras.layers.Dense(features.tokens, kernel_initializer=kernel_initializer(initializer))
    network = (embedding, parts, out, name, context)
    return Mixture(Counts(features, counts), *network) if counts else LanguageModel(*network)


def _initial() -> keras.Initializer:
    """Return a normal initializer (Radford et al. 2018, section 4.1). Each call has its own seed."""
    return keras.initializers.RandomNormal(stddev=0.02)


def _drop(share: float) -> list[keras.Layer]:
    return [keras.layers.Dropout(share)] if share else []
