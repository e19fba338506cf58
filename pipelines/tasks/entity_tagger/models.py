"""Models of the entity tagger: a window model, recurrent networks, a Transformer encoder and pretrained encoders.

Every model returns scores of the tags (B, T, K), or with a CRF the potentials (B, T, K, K).
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypedDict, Unpack

import keras
from pydantic import Field

from pipelines.data.vectors import read_vectors
from pipelines.hyperparameters import L2, Activation, CellActivation, Dropout, Initializer, Units
from pipelines.layers.basic import IsToken, kernel_initializer, regularizer
from pipelines.layers.crf import ConditionalRandomField
from pipelines.layers.recurrent import recur
from pipelines.layers.transformer import SinusoidalPositions, encoder_block
from pipelines.presets import sequence_model
from pipelines.tasks.entity_tagger.layers import (
    CharacterCNN,
    CharacterLSTM,
    FirstPieces,
    Sum,
    Window,
    WindowIds,
    Windows,
    WordDropout,
)
from pipelines.tasks.entity_tagger.preprocessing import Features
from pipelines.training.pretrained import FineTuning, Pretrained, PretrainedModel, layer_groups

LONGEST = 512  # pieces at once, for backbones that state no limit
WordWidth = Annotated[int, Field(ge=1, description="width of the word embeddings")]
CRF = Annotated[
    bool,
    Field(
        description="score adjacent tags jointly with a linear-chain conditional random field (Lafferty et al. 2001)"
    ),
]
CasingWidth = Annotated[
    int, Field(ge=0, description="width of the embedding of a token's casing (digits, Title, UPPER ...); 0: none")
]
Layers = Annotated[int, Field(ge=1, description="number of stacked layers")]


class Token(TypedDict):
    """Settings of the token features, shared by all models."""

    word_width: WordWidth
    characters: Annotated[
        Literal["none", "cnn", "lstm"],
        Field(
            description="encoder of each token's characters: a CNN (Ma & Hovy 2016) or a BiLSTM (Lample et al. 2016)"
        ),
    ]
    character_width: Annotated[int, Field(ge=1, description="width of the character embeddings")]
    character_units: Annotated[int, Field(ge=1, description="width of the character encoder's output")]
    kernel_size: Annotated[int, Field(ge=1, description="kernel size of the character CNN")]
    casing_width: CasingWidth
    affix_width: Annotated[int, Field(ge=0, description="width of the embedding of each prefix and suffix; 0: none")]
    word_dropout: Annotated[
        float, Field(ge=0, lt=1, description="fraction of words replaced with the unknown word during training")
    ]
    dropout: Dropout
    l2: L2
    crf: CRF
    initializer: Initializer


class Recurrent(Token):
    """Settings that all recurrent models share."""

    activation: CellActivation
    units: Annotated[int, Field(ge=1, description="width of the state, in each direction")]
    layers: Layers
    bidirectional: Annotated[
        bool, Field(description="also read the sentence from end to start (Schuster & Paliwal 1997)")
    ]
    variational: Annotated[
        bool,
        Field(
            description="one dropout mask for all time steps of a sentence, after each recurrent layer (as in Gal &"
            " Ghahramani 2016), instead of a new mask at each time step"
        ),
    ]


def window(
    features: Features,
    *,
    reach: Annotated[int, Field(ge=0, description="number of neighboring tokens on each side")],
    encoding: Annotated[
        Literal["one_hot", "embedded"],
        Field(
            description="one_hot: a separate row of the first kernel for each word at each position of the window;"
            " embedded: one embedding for each word"
        ),
    ],
    units: Units,
    activation: Activation,
    **token: Unpack[Token],
) -> keras.Model:
    """Feed-forward network on a window of tokens (Collobert et al. 2011, section 3.2)."""
    inputs, mask = _inputs(features)
    if encoding == "one_hot":
        words = WordDropout(token["word_dropout"])(inputs["words"])
        kernel = keras.layers.Embedding(
            (2 * reach + 1) * features.words,
            units[0],
            embeddings_initializer=kernel_initializer(token["initializer"], "uniform"),
            embeddings_regularizer=regularizer(token["l2"]),
        )
        kernel.axis_parts = {"embeddings": {0: [features.words] * (2 * reach + 1)}}
        x = keras.layers.Activation(activation)(Sum()(kernel(WindowIds(reach, features.words)(words))))
        x, later = keras.layers.Dropout(token["dropout"])(x), units[1:]
    else:
        x, later = Window(reach)(_tokens(features, inputs, token), mask), units
    for width in later:
        x = keras.layers.Dense(width, activation=activation, **_kernel(token))(x)
        x = keras.layers.Dropout(token["dropout"])(x)
    return _model(features, inputs, mask, x, token, "window", encoding == "embedded")


def rnn(features: Features, **settings: Unpack[Recurrent]) -> keras.Model:
    """Recurrent neural network (Elman 1990)."""
    return _recurrent(features, "rnn", settings)


def gru(features: Features, **settings: Unpack[Recurrent]) -> keras.Model:
    """Gated recurrent unit (GRU) network (Cho et al. 2014)."""
    return _recurrent(features, "gru", settings)


def lstm(features: Features, **settings: Unpack[Recurrent]) -> keras.Model:
    """Long short-term memory (LSTM) network (Hochreiter & Schmidhuber 1997; with a CRF Huang et al. 2015)."""
    return _recurrent(features, "lstm", settings)


def transformer(
    features: Features,
    *,
    width: Annotated[int, Field(ge=2, description="width of the token vectors between the layers")],
    layers: Layers,
    heads: Annotated[int, Field(ge=1, description="number of attention heads; each has a width of width / heads")],
    feed_forward_units: Annotated[
        int, Field(ge=1, description="width of the feed-forward layer after each attention layer")
    ],
    positions: Annotated[
        Literal["sinusoidal", "none"],
        Field(description="positional encoding: sinusoids; none: no positional encoding"),
    ],
    activation: Activation,
    **token: Unpack[Token],
) -> keras.Model:
    """Bidirectional Transformer (the encoder of Vaswani et al. 2017)."""
    inputs, mask = _inputs(features)
    x = keras.layers.Dense(width, **_kernel(token))(_tokens(features, inputs, token))
    if positions == "sinusoidal":
        x = SinusoidalPositions()(x)
    for _ in range(layers):
        x = encoder_block(
            x,
            mask,
            heads=heads,
            feed_forward_units=feed_forward_units,
            dropout=token["dropout"],
            activation=activation,
            initializer=token["initializer"],
            kernel_regularizer=regularizer(token["l2"]),
        )
    return _model(features, inputs, mask, keras.layers.LayerNormalization()(x), token, "transformer")


def pretrained(
    features: Features,
    *,
    casing_width: CasingWidth,
    dropout: Dropout,
    crf: CRF,
    **fine_tuning: Unpack[FineTuning],
) -> keras.Model:
    """Fine-tune a published text encoder, which reads a token at its first piece (Devlin et al. 2019, section 5.3)."""
    preset = features.preset
    assert preset is not None  # because this model has a setting `preset`
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("pieces", "firsts", "casings")}
    tokenizer, room = preset.tokenizer, preset.config.get("max_sequence_length", LONGEST) - 2
    windows = Windows(room, tokenizer.start_token_id, tokenizer.end_token_id, tokenizer.pad_token_id)
    backbone = preset.make_backbone()
    encoder = sequence_model(backbone)
    read = windows(inputs["pieces"])
    x = FirstPieces(room)(encoder({name: read[name] for name in backbone.input}), inputs["firsts"])
    x = keras.layers.Dropout(dropout)(x)
    if casing_width:
        x = keras.layers.Concatenate()(
            [x, _embedding(features.casings, casing_width, "casing_embedding")(inputs["casings"])]
        )
    load = partial(preset.load_weights, backbone, "models.pretrained.preset", fine_tuning["lora_rank"])
    return PretrainedModel(
        inputs,
        _scores(features, x, IsToken()(inputs["firsts"]), {}, crf),
        pretrained=Pretrained.fine_tuned(layer_groups(encoder), load, fine_tuning),
        name="pretrained",
    )


MODELS: dict[str, Callable[..., keras.Model]] = {
    "window": window,
    "rnn": rnn,
    "gru": gru,
    "lstm": lstm,
    "transformer": transformer,
    "pretrained": pretrained,
}


def _recurrent(features: Features, cell: str, settings: Recurrent) -> keras.Model:
    inputs, mask = _inputs(features)
    x = _tokens(features, inputs, settings)
    drop = keras.layers.SpatialDropout1D if settings["variational"] else keras.layers.Dropout
    for _ in range(settings["layers"]):
        x = recur(
            x,
            mask,
            cell,
            settings["units"],
            bidirectional=settings["bidirectional"],
            activation=settings["activation"],
            initializer=settings["initializer"],
            kernel_regularizer=regularizer(settings["l2"]),
        )
        x = drop(settings["dropout"])(x)
    return _model(features, inputs, mask, x, settings, cell)


def _inputs(features: Features) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor]:
    inputs = {
        "words": keras.Input((None,), dtype="int32", name="words"),
        "characters": keras.Input((None, None), dtype="int32", name="characters"),
        "casings": keras.Input((None,), dtype="int32", name="casings"),
    }
    if features.affixes:
        inputs["affixes"] = keras.Input((None, len(features.affixes)), dtype="int32", name="affixes")
    return inputs, IsToken()(inputs["words"])


def _tokens(features: Features, inputs: dict[str, keras.KerasTensor], token: Token) -> keras.KerasTensor:
    """Concatenate the features of each token: (B, T, D)."""
    words = WordDropout(token["word_dropout"])(inputs["words"])
    parts = [_embedding(features.words, token["word_width"], "word_embedding")(words)]
    sizes = (features.characters, token["character_width"])
    if token["characters"] == "cnn":
        kernel_size, dropout = token["kernel_size"], token["dropout"]
        parts.append(CharacterCNN(*sizes, token["character_units"], kernel_size, dropout)(inputs["characters"]))
    elif token["characters"] == "lstm":
        parts.append(CharacterLSTM(*sizes, token["character_units"], token["dropout"])(inputs["characters"]))
    if token["casing_width"]:
        parts.append(_embedding(features.casings, token["casing_width"], "casing_embedding")(inputs["casings"]))
    if token["affix_width"]:
        for number, size in enumerate(features.affixes):
            ids = inputs["affixes"][:, :, number]
            parts.append(_embedding(size, token["affix_width"], f"affix_{number}_embedding")(ids))
    joined = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    return keras.layers.Dropout(token["dropout"])(joined)


def _model(
    features: Features,
    inputs: dict[str, keras.KerasTensor],
    mask: keras.KerasTensor,
    x: keras.KerasTensor,
    token: Token,
    name: str,
    embedded: bool = True,
) -> keras.Model:
    outputs = _scores(features, x, mask, _kernel(token), token["crf"])
    if features.vectors is None or not embedded:
        return keras.Model(inputs, outputs, name=name)
    embedding = next(layer for layer in keras.Model(inputs, outputs).layers if layer.name == "word_embedding")
    load = partial(_load_vectors, embedding, features.vectors, features.vector_rows)
    return PretrainedModel(inputs, outputs, pretrained=Pretrained([[embedding]], load), name=name)


def _kernel(token: Token) -> dict[str, Any]:
    """Return the settings of the kernel of one layer."""
    return {
        "kernel_initializer": kernel_initializer(token["initializer"]),
        "kernel_regularizer": regularizer(token["l2"]),
    }


def _scores(
    features: Features, x: keras.KerasTensor, mask: keras.KerasTensor, kernel: dict[str, Any], crf: bool
) -> keras.KerasTensor:
    """Return the scores of the tags, or the potentials of a CRF."""
    scores = keras.layers.Dense(features.tags, **kernel, name="tags")(x)
    return ConditionalRandomField(features.allowed, name="crf")(scores, mask) if crf else scores


def _load_vectors(embedding: keras.layers.Embedding, path: str, rows: Callable[[str], list[int]]) -> None:
    (table,) = embedding.get_weights()
    read_vectors(path, rows(path), table)
    embedding.embeddings.assign(table)


def _embedding(count: int, width: int, name: str) -> keras.layers.Embedding:
    limit = (3 / width) ** 0.5  # Ma & Hovy 2016, section 3.1
    return keras.layers.Embedding(count, width, keras.initializers.RandomUniform(-limit, limit), name=name)
