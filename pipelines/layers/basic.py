"""Small building blocks for the models of several tasks."""

import keras
from keras import ops


class IsToken(keras.layers.Layer):
    """Compute the padding mask of token ids: (B, T) -> (B, T), false where the id is 0."""

    def call(self, ids: keras.KerasTensor) -> keras.KerasTensor:
        """Compare each id with 0, the padding id."""
        return ops.not_equal(ids, 0)


def regularizer(l2: float) -> keras.Regularizer | None:
    """Return an L2 regularizer, or None if `l2` is 0."""
    return keras.regularizers.L2(l2) if l2 else None
