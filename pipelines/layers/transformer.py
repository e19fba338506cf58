"""Transformer layers (Vaswani et al. 2017), normalised before each part (Xiong et al. 2020).

Shapes: B sequences, T steps, D features.
"""

import keras
import numpy as np
from keras import ops


class SinusoidalPositions(keras.layers.Layer):
    """Add sines and cosines of each position: (B, T, D) -> (B, T, D) (Vaswani et al. 2017, section 3.5)."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Add them, whatever the length."""
        width = x.shape[-1]
        place = ops.cumsum(ops.ones_like(x[:1, :, :1]), axis=1) - 1.0
        rates = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
        phases = np.where(np.arange(width) % 2, np.pi / 2, 0.0)  # a cosine is a sine a quarter further
        return x + ops.sin(place * rates.astype("float32") + phases.astype("float32"))


def encoder_block(
    x: keras.KerasTensor,
    real: keras.KerasTensor,
    *,
    heads: int,
    feed_forward_units: int,
    dropout: float,
    kernel_regularizer: keras.Regularizer | None = None,
) -> keras.KerasTensor:
    """Let each step attend to all real ones, then map each on its own: (B, T, D), real (B, T) -> (B, T, D)."""
    width = x.shape[-1]
    attend = keras.layers.MultiHeadAttention(
        heads, max(1, width // heads), dropout=dropout, kernel_regularizer=kernel_regularizer
    )
    y = keras.layers.LayerNormalization()(x)
    y = attend(y, y, attention_mask=keras.layers.Reshape((1, -1))(real))
    x = keras.layers.Add()([x, keras.layers.Dropout(dropout)(y)])
    y = keras.layers.LayerNormalization()(x)
    y = keras.layers.Dense(feed_forward_units, activation="relu", kernel_regularizer=kernel_regularizer)(y)
    y = keras.layers.Dense(width, kernel_regularizer=kernel_regularizer)(y)
    return keras.layers.Add()([x, keras.layers.Dropout(dropout)(y)])
