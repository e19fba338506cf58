"""The law of errors by number of training examples, on errors whose law is known."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from pipelines.statistics.power_law import fit_power_law


def learning(random, a, c, seeds=3, examples=1600, spread=0.02):
    """Errors a + n^-c of five sizes, with noise that a seed's errors share, and noise of each error."""
    counts = [round(examples * share) for share in np.geomspace(1 / 16, 1, 5)]
    errors = a + np.array(counts, float) ** -c
    return counts, errors * (1 + random.normal(0, spread, (seeds, 1)) + random.normal(0, spread, (seeds, 5)))


def test_the_interval_covers_what_twice_the_data_would_give():
    covered, widths = 0, []
    for seed in range(60):
        random = np.random.default_rng(seed)
        a, c = random.uniform(0, 0.1), random.uniform(0.2, 0.6)
        found = fit_power_law(*learning(random, a, c), level=0.9).doubled
        covered += found.low <= a + 3200.0**-c <= found.high
        widths.append((found.high - found.low) / found.value)
    assert covered >= 60 * 0.78 and np.median(widths) < 0.15  # three seeds: rough


def test_without_noise_it_is_the_fit_of_scipy():
    counts, errors = learning(np.random.default_rng(0), 0.05, 0.4, spread=0.0)
    found = fit_power_law(counts, errors)
    (a, b, c), _ = curve_fit(lambda n, a, b, c: a + b * n**-c, counts, errors[0], p0=[0.01, 1, 0.5])
    assert (found.a, found.b, found.c) == pytest.approx((a, b, c), rel=0.15)
    assert found.doubled.value == pytest.approx(0.05 + 3200**-0.4, rel=5e-3)
    assert found.doubled.high - found.doubled.low < 0.02 * found.doubled.value


def test_errors_that_do_not_fall_stay():
    flat = fit_power_law([100, 200, 400, 800, 1600], np.full((3, 5), 0.3))
    assert flat.doubled.value == pytest.approx(0.3) and flat.doubled.high == pytest.approx(0.3)
    rising = fit_power_law([100, 200, 400, 800, 1600], np.tile([0.1, 0.2, 0.3, 0.4, 0.5], (3, 1)))
    assert rising.doubled.value < 0.5 and rising.b >= 0
    assert fit_power_law([100, 200], np.zeros((2, 2))).doubled.value == 0
