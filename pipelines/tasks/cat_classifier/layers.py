"""Building blocks of the image models: convolutions, pooling and dense layers with all their settings.

Shapes: B images, H and W positions, C input channels, D width.
"""

import keras

from pipelines.hyperparameters import Initializer
from pipelines.layers.basic import kernel_initializer, regularizer


def convolve(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    stride: int,
    padding: str,
    *,
    activation: str | None,
    l2: float,
    batch_normalization: bool,
    initializer: Initializer,
    **_: float,
) -> keras.KerasTensor:
    """Apply a convolution, batch normalization and an activation: (B, H, W, C) -> (B, H', W', filters)."""
    if kernel_size == 1 and stride > 1:
        # The same positions, selected before the convolution: oneDNN's kernel gradient of a strided 1x1 convolution
        # writes past its memory for fewer than 16 input channels (seen in TensorFlow 2.21 with AVX-512).
        x = keras.layers.MaxPooling2D(1, stride)(x)
        stride = 1
    convolution = keras.layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding,
        use_bias=not batch_normalization,  # batch normalization has a bias
        kernel_initializer=kernel_initializer(initializer, "he_normal"),
        kernel_regularizer=regularizer(l2),
    )
    x = convolution(x)
    if batch_normalization:
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return keras.layers.Activation(activation)(x) if activation else x


def pool(x: keras.KerasTensor, pooling: str, size: int) -> keras.KerasTensor:
    """Pool over windows of `size` by `size` positions."""
    layer = keras.layers.MaxPooling2D if pooling == "max" else keras.layers.AveragePooling2D
    return layer(size, padding="same")(x) if size > 1 else x


def dense_layers(
    x: keras.KerasTensor,
    units: list[int],
    *,
    activation: str,
    dropout: float,
    l2: float,
    batch_normalization: bool,
    initializer: Initializer,
) -> keras.KerasTensor:
    """Apply a stack of dense layers: (B, D) -> (B, units[-1])."""
    for width in units:
        given = {"kernel_initializer": kernel_initializer(initializer, "he_normal")}
        x = keras.layers.Dense(width, kernel_regularizer=regularizer(l2), **given)(x)
        if batch_normalization:
            x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = drop(keras.layers.Activation(activation)(x), dropout)
    return x


def drop(x: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """Apply dropout if its rate is not zero."""
    return keras.layers.Dropout(dropout)(x) if dropout else x
