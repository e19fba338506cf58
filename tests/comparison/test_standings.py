"""What scores over seeds tell, on simulated scores."""

import numpy as np
import pytest

from pipelines.comparison.standings import judge


def simulated(random, means, seeds=5, noise=1.0, shared=1.0):
    """Scores of models by seed: each seed's split is easier or harder for all."""
    luck = random.normal(0, shared, seeds)
    return {model: dict(enumerate(mean + luck + random.normal(0, noise, seeds))) for model, mean in means.items()}


@pytest.mark.parametrize("models", [2, 6])
def test_the_same_model_under_several_names_is_not_told_apart(models):
    random, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        found = judge(simulated(random, dict.fromkeys(map(str, range(models)), 10.0)), "max")
        wrong += any(standing.told_apart for standing in found)
    assert wrong / 400 <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_a_model_that_is_much_worse_is_told_apart_and_the_best_is_first():
    random, told = np.random.default_rng(1), 0
    for _ in range(100):
        best, *others = judge(simulated(random, {"bad": 20.0, "good": 0.0, "same": 0.0}), "min")
        told += any(standing.model == "bad" and standing.told_apart for standing in others)
        assert best.best_against_it is None and best.model != "bad"
    assert told >= 95


def test_so_many_seeds_as_it_says_tell_the_models_apart():
    random = np.random.default_rng(2)
    needed = [judge(simulated(random, {"a": 1.0, "b": 0.0}), "max")[1].seeds_needed for _ in range(200)]
    seeds = int(np.median([each or 1e9 for each in needed]))  # 17 for the true difference and noise
    told = [judge(simulated(random, {"a": 1.0, "b": 0.0}, seeds), "max")[1].told_apart for _ in range(200)]
    assert 10 <= seeds <= 30 and np.mean(told) > 0.5


def test_luck_that_seeds_share_does_not_hide_a_difference():
    random = np.random.default_rng(3)
    scores = simulated(random, {"a": 1.0, "b": 0.0}, noise=0.1, shared=50.0)
    best, other = judge(scores, "max")
    assert other.told_apart and best.mean.high - best.mean.value > 10
    assert (other.best_against_it.superiority.value, other.best_against_it.difference.low > 0) == (1.0, True)


def test_overlapping_splits_make_it_more_careful():
    scores = simulated(np.random.default_rng(4), {"a": 1.5, "b": 0.0}, seeds=8)
    assert judge(scores, "max", 0.25)[1].p > judge(scores, "max")[1].p


def test_a_model_that_failed_with_a_seed_is_not_the_best_and_is_compared_on_the_others():
    scores = {"whole": {0: 1.0, 1: 1.1, 2: 0.9}, "broken": {0: 5.0, 2: 5.1}, "never": {}}
    best, other = judge(scores, "max")
    assert (best.model, other.model, other.seeds) == ("whole", "broken", 2)
    assert other.best_against_it.difference.value == pytest.approx(-4.1)
    assert judge({"never": {}}, "max") == []


def test_one_seed_tells_nothing():
    _, other = judge({"a": {0: 1.0}, "b": {0: 0.0}}, "max")
    assert (other.told_apart, other.p, other.seeds_needed) == (False, 1.0, None)
