"""The ladder of house-price models: linear regression, MLP, MLP on piecewise-linear embeddings, TabM.

Shapes: B houses, F numeric features, T bins, D width of an embedding, K members of an ensemble. Every model gives
(B, K) scaled prices, where K is 1 but for TabM; the answer is their mean.
"""

from typing import Annotated, Any, Literal, TypedDict, Unpack

import keras
import numpy as np
from keras import ops
from pydantic import Field

from pipelines.hyperparameters import L2, Activation, BatchNormalization, Dropout, Initializer, LinearSkip, Units
from pipelines.tasks.house_prices.preprocessing import Features

Bins = Annotated[int, Field(ge=2, description="bins of each numeric feature, at its quantiles in the training split")]
EmbeddingWidth = Annotated[int, Field(ge=1, description="width of each numeric feature's embedding")]


class HiddenLayers(TypedDict):
    """The stack of hidden layers that all networks here share."""

    units: Units
    activation: Activation
    dropout: Dropout
    l2: L2
    batch_normalization: BatchNormalization
    linear_skip: LinearSkip
    initializer: Initializer


# Layers


class PiecewiseLinearEmbedding(keras.layers.Layer):
    """Embed each numeric feature: a linear map of it plus one of its piecewise-linear encoding.

    (B, F) -> (B, F, D). Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning",
    section 3.2, in the form of TabM (Gorishniy et al. 2025, appendix D.6), where the encoding's own map starts at zero.
    """

    def __init__(self, edges: np.ndarray, width: int, **kwargs):
        super().__init__(**kwargs)
        self.edges = np.asarray(edges, "float32")  # (F, T + 1), rising; bins of no width carry no signal
        self.width = width

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the two maps."""
        features, bins = len(self.edges), self.edges.shape[1] - 1
        uniform = keras.initializers.RandomUniform(-1, 1)
        self.slope = self.add_weight(shape=(features, self.width), initializer=uniform, name="slope")
        self.offset = self.add_weight(shape=(features, self.width), initializer=uniform, name="bias")
        self.kernel = self.add_weight(shape=(features, bins, self.width), initializer="zeros", name="kernel")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Embed each feature on its own."""
        linear = inputs[:, :, None] * self.slope + self.offset
        return linear + ops.einsum("bft,ftd->bfd", self._encode(inputs), self.kernel)

    def _encode(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        wide = high > low
        share = (inputs[:, :, None] - low) / np.where(wide, high - low, 1.0)  # (B, F, T)
        # Inside the outermost bins' outer sides the encoding goes on linearly, as in the paper's equation 1.
        floor = np.where(np.arange(low.shape[1]) == 0, -np.inf, 0.0)
        ceiling = np.where(np.arange(low.shape[1]) == low.shape[1] - 1, np.inf, 1.0)
        return ops.clip(share, floor.astype("float32"), ceiling.astype("float32")) * wide.astype("float32")


class MemberScaling(keras.layers.Layer):
    """Scale each feature by each member's own factors: (B, D) or (B, K, D) -> (B, K, D).

    The rank-one adapter of BatchEnsemble (Wen et al. 2020, section 3.1).
    """

    def __init__(self, members: int, initializer: str, **kwargs):
        super().__init__(**kwargs)
        self.members = members
        self.initializer = initializer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the factors: random signs tell the members apart, ones leave the layer as it is."""
        random_sign = self.initializer == "random_sign"
        initializer = _random_sign if random_sign else keras.initializers.get(self.initializer)
        shape = (self.members, input_shape[-1])
        self.factors = self.add_weight(shape=shape, initializer=initializer, name="factors")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Scale."""
        return (inputs if len(inputs.shape) == 3 else inputs[:, None, :]) * self.factors


class MemberDense(keras.layers.Layer):
    """Give each member a dense layer of its own: (B, I) or (B, K, I) -> (B, K, O)."""

    def __init__(
        self,
        members: int,
        units: int,
        kernel_initializer: keras.Initializer,
        kernel_regularizer: keras.Regularizer | None,
    ):
        super().__init__()
        self.members, self.units = members, units
        self.kernel_initializer, self.kernel_regularizer = kernel_initializer, kernel_regularizer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make one kernel and one bias a member, each kernel drawn as a layer's alone would be."""

        def each(shape: tuple[int, ...], dtype: str | None = None) -> keras.KerasTensor:
            return ops.stack([self.kernel_initializer.clone()(shape[1:], dtype) for _ in range(shape[0])])

        shape = (self.members, input_shape[-1], self.units)
        self.kernel = self.add_weight(shape=shape, initializer=each, regularizer=self.kernel_regularizer, name="kernel")
        self.bias = self.add_weight(shape=(self.members, self.units), initializer="zeros", name="bias")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Map each member's features."""
        equation = "bi,kio->bko" if len(inputs.shape) == 2 else "bki,kio->bko"
        return ops.einsum(equation, inputs, self.kernel) + self.bias


class MemberHeads(keras.layers.Layer):
    """Give each member a linear output of its own: (B, K, D) -> (B, K)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make one kernel and one bias a member."""
        members, width = input_shape[1:]
        uniform = keras.initializers.RandomUniform(-(width**-0.5), width**-0.5)
        self.kernel = self.add_weight(shape=(members, width), initializer=uniform, name="kernel")
        self.bias = self.add_weight(shape=(members,), initializer="zeros", name="bias")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Predict."""
        return ops.sum(inputs * self.kernel, axis=-1) + self.bias


def _random_sign(shape: tuple[int, ...], dtype: str | None = None) -> keras.KerasTensor:
    seeds = keras.random.SeedGenerator()
    return ops.cast(ops.where(keras.random.uniform(shape, seed=seeds) < 0.5, -1.0, 1.0), dtype or "float32")


# Models


def linear_regression(features: Features, *, l2: L2) -> keras.Model:
    """Weigh every feature once: the baseline that all others have to beat."""
    inputs = _inputs(features)
    outputs = keras.layers.Dense(1, kernel_regularizer=_regularizer(l2), name="price")(_join(inputs.values()))
    return keras.Model(inputs, outputs, name="linear_regression")


def mlp(features: Features, **hidden: Unpack[HiddenLayers]) -> keras.Model:
    """Stack fully connected layers with a non-linearity after each (multilayer perceptron)."""
    inputs = _inputs(features)
    outputs = _head(_hidden_layers(_join(inputs.values()), **hidden), inputs, **hidden)
    return keras.Model(inputs, outputs, name="mlp")


def mlp_ple(
    features: Features, *, bins: Bins, embedding_width: EmbeddingWidth, **hidden: Unpack[HiddenLayers]
) -> keras.Model:
    """Put piecewise-linear embeddings of the numbers before an MLP (Gorishniy et al. 2022)."""
    inputs = _inputs(features)
    outputs = _head(_hidden_layers(_embed(features, inputs, bins, embedding_width), **hidden), inputs, **hidden)
    return keras.Model(inputs, outputs, name="mlp_ple")


def tabm(
    features: Features,
    *,
    members: Annotated[int, Field(ge=2, description="networks that share their weights and are averaged")],
    adapters: Annotated[
        Literal["first", "all", "own"],
        Field(
            description="where members differ: first, before the first layer (TabM-mini); all, at each layer (TabM);"
            " own, in every weight (TabM-packed: an ensemble of separate networks)"
        ),
    ],
    bins: Bins,
    embedding_width: EmbeddingWidth,
    **hidden: Unpack[HiddenLayers],
) -> keras.Model:
    """Train an ensemble of MLPs as one (Gorishniy et al. 2025, "TabM", section 3.3), which may share weights."""
    inputs = _inputs(features)
    x = _embed(features, inputs, bins, embedding_width)
    if adapters != "own":
        x = MemberScaling(members, "random_sign", name="members")(x)
    x = _hidden_layers(x, **hidden, members=members, adapters=adapters)
    outputs = _skip(MemberHeads(name="price")(x), inputs, hidden["linear_skip"], hidden["l2"])
    return keras.Model(inputs, outputs, name="tabm")


MODELS = {"linear_regression": linear_regression, "mlp": mlp, "mlp_ple": mlp_ple, "tabm": tabm}


def _inputs(features: Features) -> dict[str, keras.KerasTensor]:
    widths = {"numeric": features.numeric, "category": features.categories}
    return {name: keras.Input((width,), name=name) for name, width in widths.items() if width}


def _embed(features: Features, inputs: dict[str, keras.KerasTensor], bins: int, width: int) -> keras.KerasTensor:
    parts = [inputs["category"]] if "category" in inputs else []
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
    initializer: str,
    members: int = 1,
    adapters: str = "first",
    **_: bool,
) -> keras.KerasTensor:
    for number, width in enumerate(units):
        given = {"kernel_initializer": _initializer(initializer), "kernel_regularizer": _regularizer(l2)}
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
    initializer: str,
    l2: float,
    linear_skip: bool,
    **_: Any,
) -> keras.KerasTensor:
    head = keras.layers.Dense(1, kernel_initializer=_initializer(initializer), kernel_regularizer=_regularizer(l2))
    return _skip(head(x), inputs, linear_skip, l2)


def _skip(
    outputs: keras.KerasTensor, inputs: dict[str, keras.KerasTensor], linear_skip: bool, l2: float
) -> keras.KerasTensor:
    if not linear_skip:
        return outputs
    linear = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=_regularizer(l2), name="linear_skip")
    return keras.layers.Add()([outputs, linear(_join(inputs.values()))])


def _initializer(name: str) -> keras.Initializer:
    return keras.initializers.RandomNormal(stddev=0.01) if name == "small_random" else keras.initializers.get(name)


def _regularizer(l2: float) -> keras.Regularizer | None:
    return keras.regularizers.L2(l2) if l2 else None
