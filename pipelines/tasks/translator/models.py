"""The ladder of translators: recurrent networks with or without attention, a Transformer.

Every model gives what the scores of the token after each target token are made from (B, T, D); `scores` makes them.
Shapes: B sentences, S source tokens, T target tokens, V target token ids, D features.
"""

from typing import Annotated, Literal

import keras
from pydantic import Field

from pipelines.hyperparameters import Dropout
from pipelines.layers.translation import Norm
from pipelines.tasks.translator.preprocessing import Features
from pipelines.tasks.translator.recurrent import RecurrentTranslator
from pipelines.tasks.translator.transformers import TransformerTranslator

Width = Annotated[int, Field(ge=2, description="width of each token's embedding")]
Tied = Annotated[
    bool,
    Field(
        description="make scores from the target's embeddings (Press & Wolf 2017); with a shared vocabulary they are"
        " the source's too"
    ),
]


def seq2seq(
    features: Features,
    *,
    cell: Annotated[Literal["gru", "lstm"], Field(description="what carries the state from token to token")],
    width: Width,
    units: Annotated[int, Field(ge=1, description="width of each layer's state, in each direction")],
    encoder_layers: Annotated[int, Field(ge=1, description="layers that read the source")],
    decoder_layers: Annotated[int, Field(ge=1, description="layers that write the target")],
    bidirectional: Annotated[bool, Field(description="read the source from its end too, not only from its start")],
    attention: Annotated[
        Literal["none", "additive", "dot"],
        Field(
            description="how the target looks back at the source: not at all (Sutskever et al. 2014), additive"
            " (Bahdanau et al. 2015) or scaled dot products (Luong et al. 2015, Vaswani et al. 2017)"
        ),
    ],
    tied: Tied,
    dropout: Dropout,
) -> keras.Model:
    """Read the source with one recurrent network, and write the target with another."""
    return RecurrentTranslator(
        features,
        cell=cell,
        width=width,
        units=units,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        bidirectional=bidirectional,
        attention=attention,
        tied=tied,
        dropout=dropout,
    )


def transformer(
    features: Features,
    *,
    width: Width,
    encoder_layers: Annotated[int, Field(ge=1, description="blocks that read the source")],
    decoder_layers: Annotated[int, Field(ge=1, description="blocks that write the target")],
    heads: Annotated[int, Field(ge=1, description="attention heads; each is width / heads wide")],
    feed_forward_units: Annotated[int, Field(ge=1, description="width of the hidden layer after each attention")],
    positions: Annotated[
        Literal["learned", "sinusoidal"],
        Field(description="how attention knows the order: a learnt vector for each position, or sines"),
    ],
    norm: Annotated[
        Norm,
        Field(
            description="normalise before each part (Xiong et al. 2020), or what it gives, as Vaswani et al. 2017 did"
        ),
    ],
    tied: Tied,
    dropout: Dropout,
) -> keras.Model:
    """Let source and target tokens attend to each other (Vaswani et al. 2017)."""
    return TransformerTranslator(
        features,
        layers=(encoder_layers, decoder_layers),
        positions=positions,
        tied=tied,
        width=width,
        heads=heads,
        feed_forward_units=feed_forward_units,
        norm=norm,
        dropout=dropout,
    )


MODELS = {"seq2seq": seq2seq, "transformer": transformer}
