"""Models of the image classifier: logistic regression, MLP, CNN, ResNet, Inception and pretrained backbones.

Every model returns logits (B, O): one logit for the positive class, or one per class.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, TypedDict, Unpack

import keras
from pydantic import Field

from pipelines.applications import RANDOM
from pipelines.errors import UserError
from pipelines.hyperparameters import L2, Activation, BatchNormalization, Dropout, Initializer, Units
from pipelines.layers.basic import kernel_initializer, regularizer
from pipelines.tasks.cat_classifier import layers
from pipelines.tasks.cat_classifier.backbones import (
    image_features,
    layer_groups,
    load_image_backbone,
    make_image_backbone,
    scaled,
)
from pipelines.tasks.cat_classifier.preprocessing import Features
from pipelines.training.pretrained import FineTuning, Pretrained, PretrainedModel

Filters = Annotated[int, Field(ge=1)]
KernelSize = Annotated[int, Field(ge=1, description="kernel size in pixels")]
Stride = Annotated[int, Field(ge=1, description="stride of the convolution in pixels")]
Padding = Annotated[
    Literal["same", "valid"], Field(description="same: pad the border of the image with zeros; valid: no padding")
]
Pooling = Annotated[Literal["max", "average"], Field(description="max or average pooling")]
PoolSize = Annotated[int, Field(ge=1, description="size of a pooling window in pixels; 1: no pooling")]


class LayerSettings(TypedDict):
    """Settings of all convolution and dense layers."""

    activation: Activation
    dropout: Dropout
    l2: L2
    batch_normalization: BatchNormalization
    initializer: Initializer


def logistic_regression(features: Features, *, l2: L2) -> keras.Model:
    """Logistic regression on the pixels. This is the baseline for the other models."""
    inputs, x = _start(features)
    return keras.Model(inputs, _head(keras.layers.Flatten()(x), features, l2), name="logistic_regression")


def mlp(
    features: Features,
    *,
    units: Units,
    **layer: Unpack[LayerSettings],
) -> keras.Model:
    """Multilayer perceptron on the flattened pixels."""
    inputs, x = _start(features)
    x = layers.dense_layers(keras.layers.Flatten()(x), units, **layer)
    return keras.Model(inputs, _head(x, features, layer["l2"], layer["initializer"]), name="mlp")


def cnn(
    features: Features,
    *,
    filters: Annotated[list[Filters], Field(min_length=1, description="filters of each convolution, first to last")],
    kernel_size: KernelSize,
    stride: Stride,
    padding: Padding,
    pooling: Pooling,
    pool_size: PoolSize,
    units: Units,
    **layer: Unpack[LayerSettings],
) -> keras.Model:
    """Convolutional network with pooling after each convolution, followed by dense layers (LeCun et al. 1998).

    There is one convolution for each entry of `filters`.
    """
    inputs, x = _start(features)
    for width in filters:
        if padding == "valid" and x.shape[1] < kernel_size:
            left = f"{x.shape[1]} pixel{'s' * (x.shape[1] != 1)}"
            problem = f"the image shrinks to {left}, less than kernel_size {kernel_size}"
            raise UserError("models.cnn.padding", f"{problem}; use same, fewer convolutions or a larger image_size")
        x = layers.convolve(x, width, kernel_size, stride, padding, **layer)
        x = layers.pool(x, pooling, pool_size)
    x = layers.dense_layers(keras.layers.Flatten()(x), units, **layer)
    return keras.Model(inputs, _head(x, features, layer["l2"], layer["initializer"]), name="cnn")


def resnet(
    features: Features,
    *,
    depth: Annotated[
        Literal[8, 14, 20, 26, 32, 44, 56, 110],
        Field(
            description="number of layers with weights: 6n + 2, for three stages of n blocks with two convolutions each"
        ),
    ],
    filters: Annotated[
        int, Field(ge=1, description="filters of the first stage; each further stage has twice as many")
    ],
    kernel_size: KernelSize,
    stem_stride: Annotated[int, Field(ge=1, description="stride of the first convolution; 2 suits larger images")],
    shortcut: Annotated[
        Literal["projection", "identity", "none"],
        Field(
            description="shortcut of a block that halves the image: projection, a 1x1 convolution; identity, every"
            " other pixel, with zeros as additional channels; none: no block has a shortcut (a plain network)"
        ),
    ],
    **layer: Unpack[LayerSettings],
) -> keras.Model:
    """Residual network, or its plain twin (He et al. 2016, "Deep Residual Learning", section 4.2)."""
    inputs, x = _start(features)
    convolve = partial(layers.convolve, padding="same", **layer)
    straight = partial(convolve, activation=None)
    x = convolve(x, filters, kernel_size, stem_stride)
    for stage in range(3):
        width = filters * 2**stage
        for block in range((depth - 2) // 6):
            stride = 2 if stage and not block else 1
            y = straight(convolve(x, width, kernel_size, stride), width, kernel_size, 1)
            if stride > 1 and shortcut == "projection":
                x = straight(x, width, 1, stride)
            elif stride > 1 and shortcut == "identity":
                x = keras.layers.MaxPooling2D(1, stride)(x)
                x = keras.layers.Concatenate()([x, keras.layers.Rescaling(0.0)(x)])
            y = y if shortcut == "none" else keras.layers.Add()([x, y])
            x = keras.layers.Activation(layer["activation"])(y)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = layers.drop(x, layer["dropout"])
    return keras.Model(inputs, _head(x, features, layer["l2"], layer["initializer"]), name="resnet")


def inception(
    features: Features,
    *,
    stem_filters: Annotated[int, Field(ge=1, description="filters of the first convolution")],
    stem_stride: Annotated[int, Field(ge=1, description="stride of the first convolution; 2 suits larger images")],
    modules: Annotated[
        list[Annotated[int, Field(ge=8)]],
        Field(min_length=1, description="filters of each module, over its four branches; pooling follows each module"),
    ],
    bottleneck: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="filters of the 1x1 convolution before each 3x3 and 5x5 convolution, as a fraction of theirs",
        ),
    ],
    pooling: Pooling,
    pool_size: PoolSize,
    **layer: Unpack[LayerSettings],
) -> keras.Model:
    """Inception network: parallel 1x1, 3x3, 5x5 and pooling branches (Szegedy et al. 2015, section 4)."""
    inputs, x = _start(features)
    convolve = partial(layers.convolve, padding="same", **layer)
    x = convolve(x, stem_filters, 3, stem_stride)
    for width in modules:
        widths = {
            1: width // 4,
            3: width // 2,
            5: width // 8,
            "pool": width // 8,
        }  # same proportions as module 3a of the paper
        narrow = {size: max(1, int(bottleneck * widths[size])) for size in (3, 5)}
        branches = [convolve(x, widths[1], 1, 1)]
        branches += [convolve(convolve(x, narrow[size], 1, 1), widths[size], size, 1) for size in (3, 5)]
        branches.append(convolve(keras.layers.MaxPooling2D(3, 1, "same")(x), widths["pool"], 1, 1))
        x = layers.pool(keras.layers.Concatenate()(branches), pooling, pool_size)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = layers.drop(x, layer["dropout"])
    return keras.Model(inputs, _head(x, features, layer["l2"], layer["initializer"]), name="inception")


def pretrained(
    features: Features,
    *,
    weights: Annotated[
        str,
        Field(
            description="published: those of the preset, downloaded once if it is not a folder; none: random; or the"
            " path of a .weights.h5 file for the backbone"
        ),
    ],
    units: Annotated[list[Annotated[int, Field(ge=1)]], Field(description="width of each hidden layer of the head")],
    activation: Activation,
    dropout: Dropout,
    l2: L2,
    initializer: Initializer,
    **fine_tuning: Unpack[FineTuning],
) -> keras.Model:
    """Backbone with published weights, trained on other images, and a new head (Yosinski et al. 2014)."""
    preset, inputs = features.preset, _inputs(features)
    assert preset is not None  # opened with the setting `preset` by `make_preprocessor`
    if weights == RANDOM:
        fine_tuning["unfreeze_after_epochs"] = 0
    backbone = make_image_backbone(preset, features.image_size)
    pixels = scaled(inputs["image"], features, preset)
    vectors = image_features(pixels, backbone, preset, frozen=fine_tuning["freeze"])
    x = layers.dense_layers(
        layers.drop(vectors, dropout),
        units,
        activation=activation,
        dropout=dropout,
        l2=l2,
        batch_normalization=False,
        initializer=initializer,
    )
    load = partial(load_image_backbone, preset, backbone, weights, fine_tuning["lora_rank"])
    return PretrainedModel(
        inputs,
        _head(x, features, l2, initializer),
        pretrained=Pretrained.fine_tuned(layer_groups(backbone), load, fine_tuning),
        features=vectors,
        name="pretrained",
    )


MODELS: dict[str, Callable[..., keras.Model]] = {
    "logistic_regression": logistic_regression,
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "inception": inception,
    "pretrained": pretrained,
}


def _inputs(features: Features) -> dict[str, keras.KerasTensor]:
    return {"image": keras.Input((features.image_size, features.image_size, 3), name="image")}


def _start(features: Features) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor]:
    inputs = _inputs(features)
    scale = 1 / features.deviation
    return inputs, keras.layers.Rescaling(scale.tolist(), (-features.mean * scale).tolist())(inputs["image"])


def _head(x: keras.KerasTensor, features: Features, l2: float, initializer: Initializer = "auto") -> keras.KerasTensor:
    given = {"kernel_initializer": kernel_initializer(initializer), "kernel_regularizer": regularizer(l2)}
    return keras.layers.Dense(features.outputs, name="logits", **given)(x)
