"""Small building blocks for the models of several tasks."""

import keras
from keras import ops

from pipelines.hyperparameters import Initializer

SMALL = 0.01  # standard deviation of the initializer `small_random`


class IsToken(keras.layers.Layer):
    """Compute the padding mask of token ids: (B, T) -> (B, T), false where the id is 0."""

    def call(self, ids: keras.KerasTensor) -> keras.KerasTensor:
        """Compare each id with 0, the padding id."""
        return ops.not_equal(ids, 0)


def regularizer(l2: float) -> keras.Regularizer | None:
    """Return an L2 regularizer, or None if `l2` is 0."""
    return keras.regularizers.L2(l2) if l2 else None


def kernel_initializer(
    setting: Initializer, auto: str | keras.Initializer = "glorot_uniform"
) -> str | keras.Initializer:
    """Return the `kernel_initializer` of a layer: the one that a setting asks for, or `auto` if it leaves the choice.

    Call it for each layer: layers that share an initializer start with the same values.
    """
    if isinstance(setting, dict):
        return keras.initializers.RandomNormal(stddev=setting["stddev"])
    if setting == "small_random":
        return keras.initializers.RandomNormal(stddev=SMALL)
    return auto if setting == "auto" else setting
