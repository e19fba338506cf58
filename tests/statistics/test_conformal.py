"""Coverage and calibration, against simulated data whose truth is known."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from pipelines.statistics.calibration import (
    best_temperature,
    expected_calibration_error,
    set_metrics,
    temperature_losses,
)
from pipelines.statistics.conformal import least_examples, least_probability, upper_bound


@pytest.mark.parametrize(("count", "coverage"), [(19, 0.9), (99, 0.9), (200, 0.8), (999, 0.95)])
def test_the_bound_covers_new_scores_as_often_as_asked(count, coverage):
    random = np.random.default_rng(0)
    covered = [
        (random.exponential(size=50) <= upper_bound(random.exponential(size=count), coverage)).mean()
        for _ in range(2000)
    ]
    expected = min(np.ceil((count + 1) * coverage), count) / (count + 1)  # exact for continuous scores
    assert np.mean(covered) == pytest.approx(expected, abs=0.006)
    assert expected >= coverage - 1e-9


def test_few_scores_give_their_largest_and_sets_of_all_classes():
    assert least_examples(0.9) == 9 and least_examples(0.95) == 19
    assert upper_bound(np.array([3.0, 1.0, 2.0]), 0.9) == 3.0
    assert least_probability(np.full(8, 0.7), 0.9) == 0.0
    assert least_probability(np.full(9, 0.7), 0.9) == 0.7


def test_sets_of_simulated_classes_cover_as_often_as_asked():
    random = np.random.default_rng(1)
    logits = random.normal(size=(4000, 5)) * 2
    probabilities = softmax(logits, axis=1)
    true = (probabilities.cumsum(axis=1) < random.random((4000, 1))).sum(axis=1)
    own = probabilities[np.arange(4000), true]
    least = least_probability(own[:2000], 0.9)
    assert (own[2000:] >= least).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_made_the_scores_is_found(temperature):
    random = np.random.default_rng(2)
    honest = random.normal(size=(20000, 4)) * 2
    true = (softmax(honest, axis=1).cumsum(axis=1) < random.random((20000, 1))).sum(axis=1)
    found = best_temperature(temperature_losses(honest * temperature, true))
    assert found == pytest.approx(temperature, rel=0.03)


def test_the_loss_of_a_temperature_is_that_of_scikit_learn_for_many_examples():
    random = np.random.default_rng(3)
    logits, true = random.normal(size=(50000, 3)), random.integers(0, 3, 50000)
    loss = temperature_losses(logits, true)[30]  # of the temperature 1, in the middle
    assert loss == pytest.approx(log_loss(true, softmax(logits, axis=1)), abs=1e-3)
    assert np.isfinite(log_softmax(logits, axis=1)).all()


def test_a_model_without_mistakes_on_few_examples_does_not_become_certain():
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    assert best_temperature(temperature_losses(logits, np.array([0, 1, 0, 1]))) > 0.5


def test_the_calibration_error_of_one_bin_is_the_distance_of_its_means():
    right = np.array([1.0, 1.0, 0.0, 0.0])
    assert expected_calibration_error(right, np.full(4, 0.9)) == pytest.approx(0.4)
    assert expected_calibration_error(right, np.array([1.0, 1.0, 0.0, 0.0])) == 0.0


def test_a_class_that_the_model_does_not_know_is_never_covered():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    found = set_metrics(np.array([-1, 1]), probabilities, probabilities, np.ones((2, 2), bool))
    assert found["set_coverage"] == 0.5 and found["set_size"] == 2.0
    assert found["nll"] == pytest.approx(-np.log(0.8)) and found["nll"] == found["nll_uncalibrated"]
