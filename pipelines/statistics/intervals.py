"""Intervals of proportions and of their differences, and the number of examples that makes a difference significant."""

import math
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.95
POWER = 0.8  # probability to notice a difference of the size that was seen


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; `error` is the standard error."""

    value: float
    low: float
    high: float
    error: float
    level: float = LEVEL

    @property
    def tells(self) -> bool:
        """Whether the interval excludes 0: for a difference, whether it is significant."""
        return self.low > 0 or self.high < 0


def share_interval(hits: int, units: int, level: float = LEVEL) -> Interval:
    """Return the Wilson score interval of a share, such as an accuracy (Wilson 1927).

    It keeps its level where the share is near 0 or 1, and for few units (Brown, Cai and DasGupta 2001).
    """
    share = hits / units
    bounds = stats.binomtest(hits, units).proportion_ci(level, method="wilson")
    return Interval(share, float(bounds.low), float(bounds.high), math.sqrt(share * (1 - share) / units), level)


def share_gap_interval(hits: int, units: int, other_hits: int, other_units: int, level: float = LEVEL) -> Interval:
    """Return the interval of the difference of two shares of different units, such as of two splits.

    It combines the two Wilson intervals (Newcombe 1998, method 10).
    """
    one, other = share_interval(hits, units, level), share_interval(other_hits, other_units, level)
    gap = one.value - other.value
    low = gap - math.hypot(one.value - one.low, other.high - other.value)
    high = gap + math.hypot(one.high - one.value, other.value - other.low)
    return Interval(gap, low, high, math.hypot(one.error, other.error), level)


def more_units_to_tell(gap: Interval, units: int, fixed_error: float = 0.0, power: float = POWER) -> float:
    """Estimate how many more units, such as examples, would tell a difference of this size from 0.

    A standard error falls with the square root of the units, and a test at `gap.level` notices the difference with
    probability `power` once it is z(1 - alpha / 2) + z(power) standard errors wide (Cohen 1988, chapter 2).
    `fixed_error` is the part of `gap.error` from units that do not become more: those of the other split. Infinite if
    no number of units would do.
    """
    needed = abs(gap.value) / (stats.norm.ppf((1 + gap.level) / 2) + stats.norm.ppf(power))
    variable = gap.error**2 - fixed_error**2  # the squares of independent errors add up
    if needed <= fixed_error:
        return math.inf
    return max(0.0, math.ceil(units * variable / (needed**2 - fixed_error**2)) - units)
