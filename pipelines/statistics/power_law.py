"""Fit how an error falls with the number of training examples: error = a + b n^-c (Hestness et al. 2017, section 3).

Shapes: K sizes, S seeds, R resamples, C exponents.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.statistics.intervals import LEVEL, Interval

EXPONENTS = np.geomspace(0.02, 2, 200)  # Hestness et al. saw 0.07 to 0.5; 0.02 is almost a straight line in log(n)
RESAMPLES = 500
SMALL = 0.05  # share of the largest error that any error counts as, so that one of 0 does not have all the weight


@dataclass(frozen=True)
class PowerLaw:
    """The law, and the error that it gives with twice the examples, with its interval."""

    a: float
    b: float
    c: float
    doubled: Interval

    def at(self, examples: np.ndarray) -> np.ndarray:
        """Return the error with other numbers of examples."""
        return self.a + self.b * examples**-self.c


def fit_power_law(examples: Sequence[int], errors: np.ndarray, level: float = LEVEL, seed: int = 0) -> PowerLaw:
    """Fit the law to the errors (S, K) of several seeds with the same sizes, largest last; no error is negative.

    Fits are by relative errors, since the spread of an error grows with it. The interval is bootstrapped from the
    residuals at two levels, as errors with the same seed share their validation examples: the mean residual of a seed,
    and what is left of each error (Davison and Hinkley 1997, section 3.8). With few seeds it is rough.
    """
    seeds = len(errors)
    n = np.array(examples) / examples[-1]
    means = errors.mean(axis=0)
    scale = np.maximum(means, SMALL * means.max()) if means.any() else np.ones_like(means)
    (law,) = _fit(n, means[None], scale)
    fitted = _law(n, law)
    residuals = (errors - fitted) / scale
    by_seed = residuals.mean(axis=1)
    rest = residuals - by_seed[:, None]
    # Residuals are smaller than errors by the degrees of freedom of what was fitted.
    by_seed = by_seed * math.sqrt(seeds / max(1, seeds - 1))
    rest = rest * math.sqrt(rest.size / max(1, rest.size - seeds - 2))
    random = np.random.default_rng(seed)
    noise = random.choice(by_seed, (RESAMPLES, seeds)).mean(axis=1)[:, None]
    noise = noise + random.choice(rest.ravel(), (RESAMPLES, *rest.shape)).mean(axis=1)
    drawn = _law(2.0, _fit(n, fitted + scale * noise, scale))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    a, b, c = map(float, law)
    doubled = Interval(float(_law(2.0, law)), float(low), float(high), float(drawn.std(ddof=1)), level)
    return PowerLaw(a, b * examples[-1] ** c, c, doubled)


def _law(n: np.ndarray | float, law: np.ndarray) -> np.ndarray:
    return law[..., 0] + law[..., 1] * n ** -law[..., 2]


def _fit(n: np.ndarray, errors: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return a, b and c (R, 3), none negative, of errors (R, K).

    With a given exponent, a and b are a linear least squares problem; the exponent is the best of a list (variable
    projection, Golub and Pereyra 1973).
    """
    y, one = errors / scale, 1 / scale
    falling = n ** -EXPONENTS[:, None] / scale  # (C, K)
    oo, of, ff = one @ one, falling @ one, (falling**2).sum(axis=1)
    yo, yf = y @ one, y @ falling.T  # (R), (R, C)
    flat = oo * ff - of**2
    both = (yo[:, None] * ff - yf * of) / flat, (yf * oo - yo[:, None] * of) / flat
    inside = (both[0] >= 0) & (both[1] >= 0)
    # Outside, the best is at a bound: only one of the two is above 0.
    only_a = np.maximum(yo / oo, 0)[:, None] + np.zeros_like(yf), np.zeros_like(yf)
    only_b = np.zeros_like(yf), np.maximum(yf / ff, 0)
    found = [
        np.stack([a, b]) for a, b in ((np.where(inside, both[0], 0), np.where(inside, both[1], 0)), only_a, only_b)
    ]
    a, b = np.concatenate(found, axis=-1)  # (R, 3 C)
    gain = 2 * (a * yo[:, None] + b * np.tile(yf, 3)) - (a**2 * oo + 2 * a * b * np.tile(of, 3) + b**2 * np.tile(ff, 3))
    best = gain.argmax(axis=1)
    rows = np.arange(len(y))
    return np.stack([a[rows, best], b[rows, best], np.tile(EXPONENTS, 3)[best]], axis=1)
