"""The intervals against their sources, against `scipy.stats.bootstrap`, and by how often they hold the true value."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipelines.statistics.bootstrap import bootstrap, bootstrap_gap, difference, of_sums, of_units
from pipelines.statistics.intervals import Interval, more_units_to_tell, share_gap_interval, share_interval


@given(st.integers(1, 500).flatmap(lambda units: st.tuples(st.integers(0, units), st.just(units))))
@settings(deadline=None, max_examples=50)
def test_share_interval_holds_the_share_and_stays_between_0_and_1(counts):
    interval = share_interval(*counts)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_share_interval_covers_the_true_share():
    hits = np.arange(41)
    intervals = [share_interval(int(each), 40) for each in hits]
    for share in (0.1, 0.5, 0.83, 0.97):
        inside = np.array([interval.low <= share <= interval.high for interval in intervals])
        assert 0.92 < stats.binom.pmf(hits, 40, share)[inside].sum() < 0.99


def test_share_gap_interval_is_that_of_newcombe():
    gap = share_gap_interval(56, 70, 48, 80)  # Newcombe 1998, table II, example a
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert gap.tells and not share_gap_interval(9, 10, 8, 10).tells


def test_more_units_are_needed_for_a_smaller_gap_and_a_fixed_error_can_make_them_useless():
    gap = Interval(0.02, -0.02, 0.06, 0.02)
    more = more_units_to_tell(gap, 100)
    error = 0.02 * math.sqrt(100 / (100 + more))
    assert stats.norm.sf(1.96 - 0.02 / error) == pytest.approx(0.8, abs=0.01)  # the power that was asked for
    assert more_units_to_tell(Interval(0.01, -0.03, 0.05, 0.02), 100) > 3 * more
    assert more_units_to_tell(gap, 100, fixed_error=0.0199) == math.inf
    assert more_units_to_tell(Interval(0.0, -0.04, 0.04, 0.02), 100) == math.inf
    assert more_units_to_tell(Interval(0.2, 0.16, 0.24, 0.02), 100) == 0


def rmse(errors):
    """The RMSE of drawn rows, in both forms."""
    squares = np.stack([errors**2, np.ones(len(errors))], axis=1)
    slow = of_units(lambda rows: {"rmse": float(np.sqrt((errors[rows] ** 2).mean()))})
    fast = of_sums(squares, lambda sums: {"rmse": np.sqrt(sums[:, 0] / sums[:, 1])})
    return slow, fast


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_agrees_with_scipy(method):
    errors = np.random.default_rng(1).standard_t(4, size=150)
    slow, fast = (bootstrap(each, 150, 4000, method=method)["rmse"] for each in rmse(errors))
    assert vars(slow) == pytest.approx(vars(fast))
    name = {"bca": "BCa"}.get(method, method)
    theirs = stats.bootstrap(
        (errors,), lambda x, axis: np.sqrt((x**2).mean(axis)), n_resamples=4000, method=name, rng=2
    )
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert fast.low == pytest.approx(theirs.confidence_interval.low, abs=0.06 * width)
    assert fast.high == pytest.approx(theirs.confidence_interval.high, abs=0.06 * width)
    assert fast.error == pytest.approx(theirs.standard_error, rel=0.06)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_intervals_cover_the_true_value(method):
    random = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        _, statistic = rmse(random.normal(size=100))
        interval = bootstrap(statistic, 100, 400, method=method)["rmse"]
        held += interval.low <= 1 <= interval.high
    assert 0.90 <= held / 300 <= 0.985


def test_a_paired_difference_is_told_apart_where_two_intervals_overlap():
    random = np.random.default_rng(4)
    shared = random.normal(size=200)
    one, other = rmse(shared * 1.02)[1], rmse(shared)[1]
    alone, paired = bootstrap(one, 200)["rmse"], bootstrap(difference(one, other), 200)["rmse"]
    assert alone.low < bootstrap(other, 200)["rmse"].value < alone.high
    assert paired.tells and paired.error < alone.error / 10
    assert not bootstrap(difference(one, one), 200)["rmse"].tells


def test_a_gap_of_two_splits_has_the_error_of_both():
    random = np.random.default_rng(5)
    one, other = rmse(random.normal(size=400))[1], rmse(random.normal(size=100))[1]
    gap = bootstrap_gap(one, 400, other, 100)["rmse"]
    parts = bootstrap(one, 400)["rmse"].error, bootstrap(other, 100)["rmse"].error
    assert gap.error == pytest.approx(math.hypot(*parts), rel=0.1)
    held = 0
    for _ in range(200):
        one, other = rmse(random.normal(size=80))[1], rmse(random.normal(size=60))[1]
        gap = bootstrap_gap(one, 80, other, 60, 300)["rmse"]
        held += gap.low <= 0 <= gap.high
    assert 0.90 <= held / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval():
    _, statistic = rmse(np.random.default_rng(6).normal(size=50))
    assert bootstrap(statistic, 50, seed=1) == bootstrap(statistic, 50, seed=1)
    assert bootstrap(statistic, 50, seed=1) != bootstrap(statistic, 50, seed=2)


def test_a_metric_that_few_resamples_have_gets_no_interval():
    positive = np.zeros(30, bool)
    positive[0] = True  # absent from a third of the resamples
    statistic = of_units(lambda rows: {"kept": 1.0 if positive[rows].any() else np.nan, "lost": np.nan})
    found = bootstrap(statistic, 30, 200)
    assert (found["kept"].low, found["kept"].high) == (1, 1)
    assert math.isnan(found["lost"].low) and not found["lost"].tells
