"""Compare models that were trained several times, each with the same seeds.

A score is the metric of one training run, and a higher one is better: pass a metric with the sign changed if lower is
better. Shapes: n seeds.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import special  # faster than scipy.stats for single values

from pipelines.statistics.intervals import LEVEL, POWER, Interval

Scores: TypeAlias = Sequence[float] | np.ndarray
MOST_SEEDS = 10_000  # nobody trains more often


@dataclass(frozen=True)
class Comparison:
    """One model's scores against another's: mean difference, two-sided p-value, and P(one > other)."""

    difference: Interval
    p: float
    superiority: Interval


def mean_interval(scores: Scores, overlap: float = 0.0, level: float = LEVEL) -> Interval:
    """Return Student's t interval of the mean over seeds, corrected for splits that overlap.

    If each seed draws its own training and validation examples from the same data, the scores are not independent, and
    their variance is too small. `overlap` is the number of validation examples divided by that of training examples:
    the variance of the mean is taken as s^2 (1 / n + overlap) (Nadeau and Bengio 2003, section 3). It is 0 if all seeds
    have the same splits. The bounds are infinite for a single seed.
    """
    values = np.asarray(scores, float)
    mean, seeds = float(values.mean()), len(values)
    if seeds < 2:
        return Interval(mean, -math.inf, math.inf, math.inf, level)
    error = float(values.std(ddof=1)) * math.sqrt(1 / seeds + overlap)
    reach = float(special.stdtrit(seeds - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - reach, mean + reach, error, level)


def compare_seeds(scores: Scores, others: Scores, overlap: float = 0.0, level: float = LEVEL) -> Comparison:
    """Compare two models that were trained with the same seeds, by the paired and corrected t-test.

    See `mean_interval` for `overlap`. A single seed tells nothing: its p-value is 1.
    """
    differences = np.asarray(scores, float) - np.asarray(others, float)
    mean = mean_interval(differences, overlap, level)
    return Comparison(mean, _p(mean, len(differences)), superiority(differences, level))


def superiority(differences: Scores, level: float = LEVEL) -> Interval:
    """Return P(one > other): how often one model wins with the same seed (Bouthillier et al. 2021, section 4).

    A tie is half a win. They bootstrap the interval, which has no width if one model always wins; here it is the Wilson
    score interval of a share. They call one model better if the lower bound is above 0.5 and P is above 0.75.
    """
    values = np.asarray(differences, float)
    seeds, wins = len(values), float((values > 0).sum() + (values == 0).sum() / 2)
    z = float(special.ndtri((1 + level) / 2))
    share, shrunk = wins / seeds, 1 + z**2 / seeds  # Wilson 1927, also for half wins
    centre = (share + z**2 / (2 * seeds)) / shrunk
    reach = z / shrunk * math.sqrt(share * (1 - share) / seeds + z**2 / (4 * seeds**2))
    error = math.sqrt(share * (1 - share) / seeds)
    return Interval(share, max(0.0, centre - reach), min(1.0, centre + reach), error, level)


def holm(p_values: Scores) -> np.ndarray:
    """Return p-values corrected for their number: the chance of one false finding stays below the level (Holm 1979)."""
    given = np.asarray(p_values, float)
    order = np.argsort(given, kind="stable")
    steps = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(steps, 1)
    return corrected


def seeds_to_tell(
    differences: Scores, overlap: float = 0.0, alpha: float = 1 - LEVEL, power: float = POWER
) -> int | None:
    """Estimate how many seeds would tell two models apart, if their difference and its variance stay as they are.

    The test is that of `compare_seeds` at the level `alpha`, and succeeds with probability `power`, as in
    `more_units_to_tell`. None if no number of seeds would do, because the splits overlap too much: only more examples
    would. Also None for fewer than two seeds, or models without any difference.
    """
    values = np.asarray(differences, float)
    if len(values) < 2 or not values.any():
        return None
    mean, spread = abs(values.mean()), values.std(ddof=1)

    def enough(seeds: int) -> bool:
        errors = special.stdtrit(seeds - 1, 1 - alpha / 2) + special.stdtrit(seeds - 1, power)
        return errors * spread * math.sqrt(1 / seeds + overlap) <= mean

    found = bisect_left(range(MOST_SEEDS), True, lo=2, key=enough)
    return found if found < MOST_SEEDS else None


def _p(mean: Interval, seeds: int) -> float:
    if seeds < 2 or not mean.value:
        return 1.0
    if not mean.error:
        return 0.0  # the same difference with every seed
    return float(2 * special.stdtr(seeds - 1, -abs(mean.value) / mean.error))


def what_would_tell(seeds: int, needed: int | None) -> str:
    """Say what would tell two candidates apart that `seeds` seeds did not; `needed` is from `seeds_to_tell`."""
    if seeds < 2:
        return "try it with more than one seed"
    if needed is None:
        return "by this estimate, no number of seeds is enough, only more examples"
    return f"about {needed:,} seeds needed"
