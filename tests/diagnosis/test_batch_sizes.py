"""The size of the mini-batches: the noise of the gradients, and trainings with several sizes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipelines.diagnosis.batch_sizes import batch_sizes_to_try, compare_batch_sizes
from pipelines.diagnosis.gaps import Metric
from pipelines.diagnosis.noise import noise_scale
from pipelines.diagnosis.trainings import OWN
from pipelines.errors import UserError


def of_gradients(true: np.ndarray, spread: float, size: int, count: int, seed: int):
    """Estimate the noise scale from mini-batches of noisy gradients; its true value is the trace by the norm."""
    random = np.random.default_rng(seed)
    found = true + random.normal(0, spread / np.sqrt(size), (count, len(true)))
    return noise_scale((found**2).sum(axis=1).tolist(), [size] * count, float((found.sum(axis=0) ** 2).sum()))


def test_the_noise_scale_is_the_one_that_the_gradients_were_made_with():
    true = np.random.default_rng(0).normal(0, 0.01, 20_000)
    for spread in (0.02, 0.1):
        scale = of_gradients(true, spread, size=32, count=8, seed=1)
        assert scale.value == pytest.approx(len(true) * spread**2 / (true**2).sum(), rel=0.1)
    assert scale.measured_on == 256


def test_mini_batches_that_agree_by_chance_only_have_no_noise_scale():
    scale = of_gradients(np.zeros(2_000), 1.0, size=4, count=8, seed=2)
    assert scale.value > 1_000  # it may be infinite
    assert noise_scale([1.0, 1.0], [4, 4], 3.0) is None
    assert noise_scale([1.0, np.nan, 1.0], [4, 4, 4], 3.0) is None


@pytest.mark.parametrize(("size", "said"), [(10, "larger than 10"), (100, "close to the 100"), (900, "smaller than 9")])
def test_the_sentence_depends_on_the_size_of_a_mini_batch(size, said):
    scale = noise_scale([2.0] * 4, [100] * 4, 4**2 * (1 + 1 / 4))  # |G|^2 = 1, S / 100 = 1
    assert scale.value == pytest.approx(100)
    assert said in scale.sentence(size)


def config(**batches):
    optimizer = {"name": batches.pop("optimizer", "adam"), "learning_rate": 0.01}
    return SimpleNamespace(batches=batches, optimizer=optimizer)


def test_sizes_go_with_a_learning_rate_and_fit_the_data():
    rates = {size: each["optimizer.learning_rate"] for size, each in batch_sizes_to_try(config(size=32), 1000).items()}
    assert rates == {16: 0.00707, 64: 0.0141, 128: 0.02}
    linear = batch_sizes_to_try(config(size=32, optimizer="momentum"), 1000)
    assert [each["optimizer.learning_rate"] for each in linear.values()] == [0.005, 0.02, 0.04]
    raised = batch_sizes_to_try(config(size=64, least_steps=50), 1000)  # which makes them of 20
    assert list(raised) == [10, 40, 80] and all(each["batches.least_steps"] == 1 for each in raised.values())
    assert list(batch_sizes_to_try(config(size="full"), 200)) == [100]
    assert list(batch_sizes_to_try(config(tokens=512), 3)) == [256, 1024, 2048]
    with pytest.raises(UserError, match="too few"):
        batch_sizes_to_try(config(size=1), 1)


class Made:
    """Trainings whose error falls as they are told: the larger the factor, the faster."""

    def __init__(self, **speeds):
        self.speeds = speeds

    def scored(self, name):
        return [SimpleNamespace(name=name, seed=seed) for seed in range(2)] if name in self.speeds else []

    def run_of(self, trial):
        seconds = np.arange(1, 11.0)
        errors = np.exp(-self.speeds[trial.name] * seconds) + 0.001 * trial.seed
        return SimpleNamespace(history=lambda: pd.DataFrame({"seconds": seconds, "validation.accuracy": 1 - errors}))


def test_the_size_that_reaches_first_what_all_reach_is_the_fastest():
    sizes, metric = batch_sizes_to_try(config(size=32), 1000), Metric("accuracy", 1.0)
    made = Made(**{OWN: 0.2, "mini-batches of 16": 0.1, "mini-batches of 64": 0.8})
    compared = compare_batch_sizes(made, config(size=32), 32, sizes, metric)
    assert [each.size for each in compared.sizes] == [16, 32, 64] and compared.fastest.size == 64
    assert [each.seconds for each in compared.sizes] == [10, 5.5, 2]  # the second seed of 32 is a little worse
    said = compared.sentence(metric)
    assert "mini-batches of 64 reach in 2 s what those of 32 reach in 5.5 s" in said
    level = compare_batch_sizes(Made(**{OWN: 0.2, "mini-batches of 16": 0.2}), config(size=32), 32, sizes, metric)
    assert "no other size" in level.sentence(metric)
    assert compare_batch_sizes(Made(**{"mini-batches of 16": 0.2}), config(size=32), 32, sizes, metric) is None
