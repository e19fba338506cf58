"""The smallest parts, which models of several tasks begin or end with."""

import keras
from keras import ops


class IsToken(keras.layers.Layer):
    """Tell tokens from padding, whose id is 0: ids (B, T) -> (B, T), true for tokens."""

    def call(self, ids: keras.KerasTensor) -> keras.KerasTensor:
        """Compare with the id of padding."""
        return ops.not_equal(ids, 0)


def regularizer(l2: float) -> keras.Regularizer | None:
    """Give the penalty on squared kernels, or none."""
    return keras.regularizers.L2(l2) if l2 else None
