"""Models of the translator: recurrent encoder-decoders, a Transformer and pretrained models.

Every model returns hidden states (B, T, D). Its method `scores` turns them into the scores of the token after each
target token. Shapes: B sentences, T target tokens, D features.
"""

from collections.abc import Callable
from typing import Annotated, Literal, Unpack

from pydantic import Field

from pipelines.hyperparameters import Activation, CellActivation, Dropout, Initializer
from pipelines.layers.translation import Norm
from pipelines.tasks.translator.preprocessing import Features
from pipelines.tasks.translator.published import encoder_decoder, encoder_translator
from pipelines.tasks.translator.recurrent import RecurrentTranslator
from pipelines.tasks.translator.transformers import transformer_translator
from pipelines.tasks.translator.translation import Translator
from pipelines.text.published import EncoderTokenizer
from pipelines.training.pretrained import FineTuning

Width = Annotated[int, Field(ge=2, description="width of the token embeddings")]
Tied = Annotated[
    bool,
    Field(
        description="compute the scores with the target embeddings (Press & Wolf 2017); with a shared vocabulary, the"
        " source uses the same embeddings"
    ),
]


def seq2seq(
    features: Features,
    *,
    cell: Annotated[Literal["gru", "lstm"], Field(description="type of recurrent cell")],
    width: Width,
    units: Annotated[int, Field(ge=1, description="width of the state of each layer, in each direction")],
    encoder_layers: Annotated[int, Field(ge=1, description="number of layers of the encoder")],
    decoder_layers: Annotated[int, Field(ge=1, description="number of layers of the decoder")],
    bidirectional: Annotated[bool, Field(description="also read the source from end to start")],
    attention: Annotated[
        Literal["none", "additive", "dot"],
        Field(
            description="attention from the target to the source: none (Sutskever et al. 2014), additive (Bahdanau et"
            " al. 2015) or scaled dot product (Luong et al. 2015, Vaswani et al. 2017)"
        ),
    ],
    tied: Tied,
    activation: CellActivation,
    initializer: Initializer,
    dropout: Dropout,
) -> Translator:
    """Recurrent encoder-decoder, optionally with attention."""
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
        activation=activation,
        initializer=initializer,
        dropout=dropout,
    )


def transformer(
    features: Features,
    *,
    width: Width,
    encoder_layers: Annotated[int, Field(ge=1, description="number of blocks of the encoder")],
    decoder_layers: Annotated[int, Field(ge=1, description="number of blocks of the decoder")],
    heads: Annotated[int, Field(ge=1, description="number of attention heads; each has a width of width / heads")],
    feed_forward_units: Annotated[
        int, Field(ge=1, description="width of the feed-forward layer after each attention layer")
    ],
    positions: Annotated[
        Literal["learned", "sinusoidal", "none"],
        Field(
            description="positional encoding: a learned vector for each position, or sinusoids; none: the encoder"
            " takes the source as a bag of tokens"
        ),
    ],
    norm: Annotated[
        Norm,
        Field(
            description="where layer normalization is applied: pre, before each sublayer (Xiong et al. 2020), or post,"
            " after it (Vaswani et al. 2017)"
        ),
    ],
    tied: Tied,
    activation: Activation,
    initializer: Initializer,
    dropout: Dropout,
) -> Translator:
    """Sequence-to-sequence Transformer (Vaswani et al. 2017)."""
    return transformer_translator(
        features,
        layers=(encoder_layers, decoder_layers),
        positions=positions,
        tied=tied,
        width=width,
        heads=heads,
        feed_forward_units=feed_forward_units,
        norm=norm,
        activation=activation,
        initializer=initializer,
        dropout=dropout,
    )


def pretrained(
    features: Features,
    *,
    decoder_layers: Annotated[int, Field(ge=1, description="for a text encoder: number of blocks of the new decoder")],
    width: Annotated[int, Field(ge=2, description="for a text encoder: width of the new decoder")],
    heads: Annotated[int, Field(ge=1, description="for a text encoder: attention heads of the new decoder")],
    feed_forward_units: Annotated[
        int, Field(ge=1, description="for a text encoder: width of the new decoder's feed-forward layers")
    ],
    dropout: Annotated[float, Field(ge=0, lt=1, description="for a text encoder: dropout rate of the new decoder")],
    **fine_tuning: Unpack[FineTuning],
) -> Translator:
    """Fine-tune a published encoder-decoder (T5, BART), or a text encoder with a new decoder (Rothe et al. 2020)."""
    if not isinstance(features.source, EncoderTokenizer):
        return encoder_decoder(features, fine_tuning)
    return encoder_translator(
        features,
        fine_tuning,
        layers=decoder_layers,
        width=width,
        heads=heads,
        feed_forward_units=feed_forward_units,
        dropout=dropout,
    )


MODELS: dict[str, Callable[..., Translator]] = {
    "seq2seq": seq2seq,
    "transformer": transformer,
    "pretrained": pretrained,
}
