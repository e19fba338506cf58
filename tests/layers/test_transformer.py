"""Rotary positions against their definition."""

import numpy as np
from keras import ops

from pipelines.layers.transformer import rotate


def test_rotate_multiplies_by_a_complex_number_of_the_position():
    """Su et al. 2021, equation 34, with the features of a pair half the width apart."""
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype("float32")
    pairs = x[..., :4] + 1j * x[..., 4:]
    angles = (7 + np.arange(5))[:, None] * 10000.0 ** (-np.arange(4) / 4)
    expected = pairs * np.exp(1j * angles)
    np.testing.assert_allclose(
        ops.convert_to_numpy(rotate(x, position=7)), np.concatenate([expected.real, expected.imag], -1), atol=1e-5
    )
