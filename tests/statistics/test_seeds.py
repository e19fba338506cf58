"""Comparisons over seeds: against references, and by how often they are wrong on simulated scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipelines.statistics.seeds import compare_seeds, holm, mean_interval, seeds_to_tell, superiority

SCORES = st.lists(st.floats(-10, 10), min_size=3, max_size=12)


def test_without_overlap_it_is_the_paired_t_test():
    one, other = np.random.default_rng(0).normal(size=(2, 8))
    theirs = stats.ttest_rel(one, other)
    ours = compare_seeds(one, other)
    assert ours.p == pytest.approx(theirs.pvalue)
    bounds = theirs.confidence_interval()
    assert (ours.difference.low, ours.difference.high) == pytest.approx((bounds.low, bounds.high))


def test_overlapping_splits_need_the_correction():
    """Scores on splits drawn from the same data share their luck, which the plain test takes for a difference."""
    random, wrong = np.random.default_rng(1), {0.0: 0, 0.25: 0}
    for _ in range(400):
        rows = random.normal(size=200)  # how much better one of two equal models does on each row, by luck
        means = [random.permutation(rows)[:40].mean() for _ in range(10)]  # 40 to validate, 160 to train
        for overlap in wrong:
            wrong[overlap] += compare_seeds(means, np.zeros(10), overlap).p < 0.05
    assert wrong[0.25] / 400 <= 0.06 < 0.12 < wrong[0.0] / 400


def test_mean_interval_covers_the_mean():
    random = np.random.default_rng(2)
    intervals = [mean_interval(random.normal(3, 1, size=5)) for _ in range(1000)]
    assert 0.93 < np.mean([each.low <= 3 <= each.high for each in intervals]) < 0.97


def test_one_seed_tells_nothing():
    assert compare_seeds([3.0], [1.0]).p == 1
    assert not mean_interval([3.0]).tells
    assert seeds_to_tell([3.0]) is None


def test_equal_scores_are_no_difference_and_a_constant_difference_is_one():
    assert compare_seeds([1.0, 2.0], [1.0, 2.0]).p == 1
    assert compare_seeds([2.0, 3.0], [1.0, 2.0]).p == 0


@given(SCORES)
@settings(deadline=None, max_examples=50)
def test_superiority_of_the_other_side_is_the_rest(scores):
    one, other = superiority(scores), superiority(-np.array(scores))
    assert one.value == pytest.approx(1 - other.value)
    assert one.low == pytest.approx(1 - other.high)
    assert 0 <= one.low <= one.value + 1e-12 and one.value <= one.high + 1e-12 <= 1 + 2e-12


def test_superiority_covers_the_true_probability_and_is_that_of_wilson():
    random = np.random.default_rng(3)
    held = [superiority(random.normal(0.5, 1, size=10)) for _ in range(1000)]
    true = stats.norm.cdf(0.5)
    assert 0.9 < np.mean([each.low <= true <= each.high for each in held]) < 0.99
    wilson = stats.binomtest(4, 5).proportion_ci(method="wilson")
    ours = superiority([1, 1, 1, 1, -1])
    assert (ours.low, ours.high) == pytest.approx((wilson.low, wilson.high))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=50)
def test_holm_raises_p_values_and_keeps_their_order(p_values):
    corrected = holm(p_values)
    assert (corrected >= p_values).all() and (corrected <= np.minimum(1, np.array(p_values) * len(p_values))).all()
    assert (np.diff(corrected[np.argsort(p_values)]) >= 0).all()


def test_so_many_seeds_tell_models_apart_with_the_power_that_was_asked_for():
    random = np.random.default_rng(4)
    pilot = stats.zscore(random.normal(size=6), ddof=1) * 0.02 + 0.015
    seeds = seeds_to_tell(pilot)
    told = [compare_seeds(random.normal(0.015, 0.02, size=seeds), np.zeros(seeds)).p < 0.05 for _ in range(500)]
    assert 0.74 < np.mean(told) < 0.9
    assert seeds_to_tell(pilot, alpha=0.01) > seeds
    assert seeds_to_tell(pilot * 1e-3 + pilot - pilot.mean(), overlap=0.25) is None
    assert seeds_to_tell([0.0, 0.0, 0.0]) is None
