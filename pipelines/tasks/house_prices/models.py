"""Models of house prices: linear regression, MLP, MLP on piecewise-linear embeddings, and TabM.

Every model returns scaled prices (B, K) of B houses. K is the number of ensemble members, which is 1 except for TabM.
The predicted price is their mean.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict, Unpack

import keras
import numpy as np
from pydantic import Field

from pipelines.hyperparameters import L2, Activation, BatchNormalization, Dropout, Initializer, LinearSkip, Units
from pipelines.layers.basic import kernel_initializer, regularizer
from pipelines.tasks.house_prices.layers import MemberDense, MemberHeads, MemberScaling, PiecewiseLinearEmbedding
from pipelines.tasks.house_prices.preprocessing import Features

Bins = Annotated[
    int, Field(ge=2, description="number of bins of each numeric feature, at the quantiles of the training split")
]
EmbeddingWidth = Annotated[int, Field(ge=1, description="width of the embedding of each numeric feature")]


class HiddenLayers(TypedDict):
    """Settings of the hidden layers, shared by all networks."""

    units: Units
    activation: Activation
    dropout: Dropout
    l2: L2
    batch_normalization: BatchNormalization
    linear_skip: LinearSkip
    initializer: Initializer


def linear_regression(features: Features, *, l2: L2) -> keras.Model:
    """Linear regression on all features. This is the baseline for the other models."""
    inputs = _inputs(features)
    outputs = keras.layers.Dense(1, kernel_regularizer=regularizer(l2), name="price")(_join(inputs.values()))
    return keras.Model(inputs, outputs, name="linear_regression")


def mlp(features: Features, **hidden: Unpack[HiddenLayers]) -> keras.Model:
    """Multilayer perceptron on the concatenated features."""
    inputs = _inputs(features)
    outputs = _head(_hidden_layers(_join(inputs.values()), **hidden), inputs, **hidden)
    return keras.Model(inputs, outputs, name="mlp")


def mlp_ple(
    features: Features, *, bins: Bins, embedding_width: EmbeddingWidth, **hidden: Unpack[HiddenLayers]
) -> keras.Model:
    """Multilayer perceptron on piecewise-linear embeddings of the numeric features (Gorishniy et al. 2022)."""
    inputs = _inputs(features)
    outputs = _head(_hidden_layers(_embed(features, inputs, bins, embedding_width), **hidden), inputs, **hidden)
    return keras.Model(inputs, outputs, name="mlp_ple")


def tabm(
    features: Features,
    *,
    members: Annotated[int, Field(ge=2, description="number of ensemble members, whose predictions are averaged")],
    adapters: Annotated[
        Literal["first", "all", "own"],
        Field(
            description="weight sharing between members: first, all but a scaling before the first layer (TabM-mini);"
            " all, all but a scaling at each layer (TabM); own, none (TabM-packed: an ensemble of separate networks)"
        ),
    ],
    bins: Bins,
    embedding_width: EmbeddingWidth,
    **hidden: Unpack[HiddenLayers],
) -> keras.Model:
    """Ensemble of multilayer perceptrons in one model, with shared or separate weights (TabM).

    Gorishniy et al. 2025, "TabM", section 3.3.
    """
    inputs = _inputs(features)
    x = _embed(features, inputs, bins, embedding_width)
    if adapters != "own":
        x = MemberScaling(members, "random_sign", name="members")(x)
    x = _hidden_layers(x, **hidden, members=members, adapters=adapters)
    outputs = _skip(MemberHeads(name="price")(x), inputs, hidden["linear_skip"], hidden["l2"])
    return keras.Model(inputs, outputs, name="tabm")


MODELS: dict[str, Callable[..., keras.Model]] = {
    "linear_regression": linear_regression,
    "mlp": mlp,
    "mlp_ple": mlp_ple,
    "tabm": tabm,
}


def _inputs(features: Features) -> dict[str, keras.KerasTensor]:
    widths = {"numeric": features.numeric, "category": features.categories, "text": features.text}
    return {name: keras.Input((width,), name=name) for name, width in widths.items() if width}


def _embed(features: Features, inputs: dict[str, keras.KerasTensor], bins: int, width: int) -> keras.KerasTensor:
    parts = [inputs[name] for name in ("category", "text") if name in inputs]
    if "numeric" in inputs:
        at = np.linspace(0, features.quantiles.shape[1] - 1, bins + 1).round().astype(int)
        embedding = PiecewiseLinearEmbedding(features.quantiles[:, at], width, name="embedding")
        parts.append(keras.layers.Flatten()(embedding(inputs["numeric"])))
    return _join(parts)


def _join(parts) -> keras.KerasTensor:
    parts = list(parts)
    return keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]


def _hidden_layers(
    x: keras.KerasTensor,
    *,
    units: list[int],
    activation: str,
    dropout: float,
    l2: float,
    batch_normalization: bool,
    initializer: Initializer,
    members: int = 1,
    adapters: str = "first",
    **_: bool,
) -> keras.KerasTensor:
    for number, width in enumerate(units):
        given = {"kernel_initializer": kernel_initializer(initializer), "kernel_regularizer": regularizer(l2)}
        if adapters == "all" and number:
            x = MemberScaling(members, "ones")(x)
        x = MemberDense(members, width, **given)(x) if adapters == "own" else keras.layers.Dense(width, **given)(x)
        if adapters == "all":
            x = MemberScaling(members, "ones")(x)
        if batch_normalization:
            x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Activation(activation)(x)
        if dropout:
            x = keras.layers.Dropout(dropout)(x)
    return x


def _head(
    x: keras.KerasTensor,
    inputs: dict[str, keras.KerasTensor],
    *,
    initializer: Initializer,
    l2: float,
    linear_skip: bool,
    **_: Any,
) -> keras.KerasTensor:
    head = keras.layers.Dense(1, kernel_initializer=kernel_initializer(initializer), kernel_regularizer=regularizer(l2))
    return _skip(head(x), inputs, linear_skip, l2)


def _skip(
    outputs: keras.KerasTensor, inputs: dict[str, keras.KerasTensor], linear_skip: bool, l2: float
) -> keras.KerasTensor:
    if not linear_skip:
        return outputs
    linear = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=regularizer(l2), name="linear_skip")
    return keras.layers.Add()([outputs, linear(_join(inputs.values()))])
