"""Bootstrap intervals of any metric of a table of examples and answers.

The metric is computed again from units that are drawn with replacement: rows of a table, sentences for F1 and BLEU,
blocks of text for perplexity. Shapes: N units, R resamples, K sums.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from pipelines.statistics.intervals import LEVEL, Interval

Statistic: TypeAlias = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # units (R, n) -> name -> values (R,)
Method = Literal["percentile", "bca"]
RESAMPLES = 1000
AT_ONCE = 2**20  # drawn units that are in memory at the same time
LEAST_FINITE = 0.5  # share of the resamples without NaN, such as an AUC of one class, below which there is no interval


def of_units(compute: Callable[[np.ndarray], Mapping[str, float]]) -> Statistic:
    """Return a statistic that calls `compute` with the numbers of the drawn units, once per resample.

    For example, `of_units(lambda rows: task.compute_metrics(examples.iloc[rows], {"price": price[rows]}))`.
    """

    def statistic(units: np.ndarray) -> dict[str, np.ndarray]:
        computed = [compute(drawn) for drawn in units]
        return {name: np.array([each[name] for each in computed], float) for name in computed[0]}

    return statistic


def of_sums(sums: np.ndarray, metrics: Callable[[np.ndarray], Mapping[str, np.ndarray]]) -> Statistic:
    """Return a fast statistic for metrics that depend on sums over the units only.

    `sums` (N, K) has what each unit adds, such as squared error and 1, or the counts of BLEU. `metrics` gets the sums
    of each resample (R, K), and returns values (R,).
    """

    def statistic(units: np.ndarray) -> Mapping[str, np.ndarray]:
        places = units + len(sums) * np.arange(len(units))[:, None]
        counts = np.bincount(places.ravel(), minlength=len(units) * len(sums)).reshape(len(units), len(sums))
        return metrics(counts @ sums)

    return statistic


def difference(one: Statistic, other: Statistic) -> Statistic:
    """Return the difference of two statistics of the same units: two models that answered the same examples.

    Both see the same resamples, so what makes a resample easy or hard for both cancels out: the paired bootstrap of
    Koehn 2004.
    """

    def statistic(units: np.ndarray) -> dict[str, np.ndarray]:
        ours, theirs = one(units), other(units)
        return {name: ours[name] - theirs[name] for name in ours if name in theirs}

    return statistic


def bootstrap(
    statistic: Statistic,
    units: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    method: Method = "percentile",
    seed: int = 0,
) -> dict[str, Interval]:
    """Return the bootstrap interval of each value of a statistic (Efron and Tibshirani 1993, chapters 13 and 14).

    `bca` corrects the bias and the skew of the percentile interval, and computes the statistic `units` times more. The
    bounds are NaN if too many resamples have no finite value.
    """
    value = statistic(np.arange(units)[None])
    drawn = _collected(statistic, _draws(units, resamples, np.random.default_rng(seed)))
    left_out = _collected(statistic, _left_out(units)) if method == "bca" else {}
    return {name: _interval(float(value[name][0]), drawn[name], level, left_out.get(name)) for name in value}


def bootstrap_gap(
    one: Statistic,
    units: int,
    other: Statistic,
    other_units: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return the interval of the difference of a statistic between different units, such as two splits.

    Each side is drawn on its own (Efron and Tibshirani 1993, chapter 8).
    """
    first, second = np.random.default_rng(seed).spawn(2)
    ours, theirs = one(np.arange(units)[None]), other(np.arange(other_units)[None])
    drawn = _collected(one, _draws(units, resamples, first))
    others = _collected(other, _draws(other_units, resamples, second))
    return {
        name: _interval(float(ours[name][0] - theirs[name][0]), drawn[name] - others[name], level)
        for name in ours
        if name in theirs
    }


def _draws(units: int, resamples: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    size = max(1, AT_ONCE // units)
    for start in range(0, resamples, size):
        yield random.integers(units, size=(min(size, resamples - start), units))


def _left_out(units: int) -> Iterator[np.ndarray]:
    """Yield all units but one, for each of them."""
    size = max(1, AT_ONCE // units)
    for start in range(0, units, size):
        out = np.arange(start, min(start + size, units))[:, None]
        kept = np.arange(units - 1)[None]
        yield kept + (kept >= out)


def _collected(statistic: Statistic, draws: Iterator[np.ndarray]) -> dict[str, np.ndarray]:
    parts = [statistic(units) for units in draws]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _interval(value: float, drawn: np.ndarray, level: float, left_out: np.ndarray | None = None) -> Interval:
    finite = drawn[np.isfinite(drawn)]
    if len(finite) < max(2, LEAST_FINITE * len(drawn)) or not np.isfinite(value):
        return Interval(value, np.nan, np.nan, np.nan, level)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if left_out is not None:
        tails = _bca_tails(value, finite, left_out[np.isfinite(left_out)], tails)
    low, high = np.quantile(finite, tails)
    return Interval(value, float(low), float(high), float(finite.std(ddof=1)), level)


def _bca_tails(value: float, drawn: np.ndarray, left_out: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Return the corrected probabilities of the two tails (Efron and Tibshirani 1993, section 14.3)."""
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    influence = left_out.mean() - left_out
    spread = (influence**2).sum()
    if not 0 < below < 1 or not spread:  # all resamples on one side, or a constant: there is nothing to correct by
        return tails
    bias, acceleration = stats.norm.ppf(below), (influence**3).sum() / (6 * spread**1.5)
    shifted = bias + stats.norm.ppf(tails)
    return stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
