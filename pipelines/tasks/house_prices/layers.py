"""Layers of the house-price models: embeddings of numbers, and layers with separate weights per ensemble member.

Shapes: B houses, F numeric features, T bins, D width of an embedding, K members, I and O widths of a dense layer.
"""

import keras
import numpy as np
from keras import ops


class PiecewiseLinearEmbedding(keras.layers.Layer):
    """Embed each numeric feature: (B, F) -> (B, F, D).

    The embedding is a linear map of the feature plus a linear map of its piecewise-linear encoding. Gorishniy et al.
    2022, "On Embeddings for Numerical Features in Tabular Deep Learning", section 3.2, in the form of TabM (Gorishniy
    et al. 2025, appendix D.6), in which the map of the encoding starts at zero.
    """

    def __init__(self, edges: np.ndarray, width: int, **kwargs):
        super().__init__(**kwargs)
        self.edges = np.asarray(edges, "float32")  # (F, T + 1), ascending; bins of zero width are ignored
        self.width = width

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights of both maps."""
        features, bins = len(self.edges), self.edges.shape[1] - 1
        uniform = keras.initializers.RandomUniform(-1, 1)
        self.slope = self.add_weight(shape=(features, self.width), initializer=uniform, name="slope")
        self.offset = self.add_weight(shape=(features, self.width), initializer=uniform, name="bias")
        self.kernel = self.add_weight(shape=(features, bins, self.width), initializer="zeros", name="kernel")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Embed each feature separately."""
        linear = inputs[:, :, None] * self.slope + self.offset
        return linear + ops.einsum("bft,ftd->bfd", self._encode(inputs), self.kernel)

    def _encode(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        wide = high > low
        share = (inputs[:, :, None] - low) / np.where(wide, high - low, 1.0)  # (B, F, T)
        # The encoding continues linearly beyond the first and the last bin, as in equation 1 of the paper.
        floor = np.where(np.arange(low.shape[1]) == 0, -np.inf, 0.0)
        ceiling = np.where(np.arange(low.shape[1]) == low.shape[1] - 1, np.inf, 1.0)
        return ops.clip(share, floor.astype("float32"), ceiling.astype("float32")) * wide.astype("float32")


class MemberScaling(keras.layers.Layer):
    """Multiply the features by factors of each ensemble member: (B, D) or (B, K, D) -> (B, K, D).

    This is the rank-one adapter of BatchEnsemble (Wen et al. 2020, section 3.1).
    """

    def __init__(self, members: int, initializer: str, **kwargs):
        super().__init__(**kwargs)
        self.members = members
        self.initializer = initializer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the factors. Random signs make the members differ, and ones leave the input unchanged."""
        random_sign = self.initializer == "random_sign"
        initializer = _random_sign if random_sign else keras.initializers.get(self.initializer)
        shape = (self.members, input_shape[-1])
        self.factors = self.add_weight(shape=shape, initializer=initializer, name="factors")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Multiply the inputs by the factors."""
        return (inputs if len(inputs.shape) == 3 else inputs[:, None, :]) * self.factors


class MemberDense(keras.layers.Layer):
    """Apply a separate dense layer for each ensemble member: (B, I) or (B, K, I) -> (B, K, O)."""

    def __init__(
        self,
        members: int,
        units: int,
        kernel_initializer: str | keras.Initializer,
        kernel_regularizer: keras.Regularizer | None,
    ):
        super().__init__()
        self.members, self.units = members, units
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = kernel_regularizer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create a kernel and a bias for each member. Each kernel is initialized as that of a single layer."""

        def each(shape: tuple[int, ...], dtype: str | None = None) -> keras.KerasTensor:
            return ops.stack([self.kernel_initializer.clone()(shape[1:], dtype) for _ in range(shape[0])])

        shape = (self.members, input_shape[-1], self.units)
        self.kernel = self.add_weight(shape=shape, initializer=each, regularizer=self.kernel_regularizer, name="kernel")
        self.bias = self.add_weight(shape=(self.members, self.units), initializer="zeros", name="bias")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Apply the layer of each member."""
        equation = "bi,kio->bko" if len(inputs.shape) == 2 else "bki,kio->bko"
        return ops.einsum(equation, inputs, self.kernel) + self.bias


class MemberHeads(keras.layers.Layer):
    """Apply a separate linear output for each ensemble member: (B, K, D) -> (B, K)."""

    def build(self, input_shape: tuple[int | None, int, int]) -> None:
        """Create a kernel and a bias for each member."""
        _, members, width = input_shape
        uniform = keras.initializers.RandomUniform(-(width**-0.5), width**-0.5)
        self.kernel = self.add_weight(shape=(members, width), initializer=uniform, name="kernel")
        self.bias = self.add_weight(shape=(members,), initializer="zeros", name="bias")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Apply the output of each member."""
        return ops.sum(inputs * self.kernel, axis=-1) + self.bias


def _random_sign(shape: tuple[int, ...], dtype: str | None = None) -> keras.KerasTensor:
    seeds = keras.random.SeedGenerator()
    return ops.cast(ops.where(keras.random.uniform(shape, seed=seeds) < 0.5, -1.0, 1.0), dtype or "float32")
