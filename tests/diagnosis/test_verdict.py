"""The verdict: the course's examples, what is too small to tell, and how often luck is taken for a gap."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.diagnosis.gaps import SplitError
from pipelines.diagnosis.verdict import find_gaps, sentence
from pipelines.statistics.intervals import LEVEL

COIN = 0.5  # the error of a model of two equal classes that ignores its inputs


def shares(**percent: float):
    """Errors of splits, each as percent and examples."""
    return {name: share(name, round(error / 100 * count), count) for name, (error, count) in percent.items()}


def share(name: str, wrong: int, count: int) -> SplitError:
    value = wrong / count
    return SplitError(name, value, (value * (1 - value) / count) ** 0.5, count, wrong)


def statuses(gaps) -> dict[str, str]:
    return {gap.kind: gap.status for gap in gaps}


@pytest.mark.parametrize("count", [1000, 4000, 100_000])
@pytest.mark.parametrize(
    ("train", "validation", "blamed"),
    [(1, 11, {"variance"}), (15, 16, {"bias"}), (15, 30, {"bias", "variance"}), (0.5, 1, set())],
)
def test_the_four_examples_of_the_course(train, validation, blamed, count):
    gaps = find_gaps(shares(train=(train, 10 * count), validation=(validation, count)), human=0.0, ignorant=COIN)
    known = {kind for kind, status in statuses(gaps).items() if status == "matters"}
    assert known <= blamed
    if count > 1000 or (train, validation) != (15, 16):  # 1 point of 1,000 examples may be luck, or 3.5 points
        assert known == blamed and "cannot tell" not in statuses(gaps).values()
    else:
        assert statuses(gaps) == {"bias": "matters", "variance": "cannot tell"}


def test_few_examples_tell_nothing_but_how_many_would():
    (gap,) = find_gaps(shares(train=(15, 6000), validation=(20, 60)), human=None, ignorant=COIN)
    assert gap.status == "cannot tell"
    assert f"about {gap.more:,} more validation examples would tell" in sentence([gap])
    enough = shares(train=(15, 300_000), validation=(20, 60 + gap.more))
    assert statuses(find_gaps(enough, human=None, ignorant=COIN)) == {"variance": "matters"}


def test_train_examples_that_were_not_answered_can_be():
    errors = shares(train=(4.5, 500), validation=(6, 576))
    (gap,) = find_gaps(errors, human=None, ignorant=COIN)
    assert gap.status == "cannot tell" and gap.more is None and "examples of train and validation" in sentence([gap])
    (gap,) = find_gaps({**errors, "train": replace(errors["train"], whole=100_000)}, human=None, ignorant=COIN)
    assert 500 < gap.more < 5000


def test_train_dev_tells_variance_from_mismatch():
    mismatch = shares(train=(1, 20_000), train_dev=(1.5, 5000), validation=(10, 5000), test=(10, 5000))
    found = statuses(find_gaps(mismatch, human=0.0, ignorant=COIN, alike=False))
    assert found == {"bias": "small", "variance": "small", "mismatch": "matters", "validation overfitted": "small"}
    del mismatch["train_dev"]
    gaps = find_gaps(mismatch, human=0.0, ignorant=COIN, alike=False)
    assert statuses(gaps)["variance or mismatch"] == "matters" and "or data mismatch" in sentence(gaps)


def test_the_error_that_is_possible_is_not_the_models_fault():
    (bias, _) = find_gaps(shares(train=(15, 9000), validation=(15, 9000)), human=0.14, ignorant=COIN)
    assert bias.status == "small" and bias.interval.value == pytest.approx(0.01)


def test_errors_that_are_no_shares_have_the_interval_of_their_standard_errors():
    errors = {"train": SplitError("train", 0.09, 0.001, 1800), "validation": SplitError("validation", 0.13, 0.006, 450)}
    (gap,) = find_gaps(errors, human=None, ignorant=0.4)
    assert gap.status == "matters" and gap.interval.low == pytest.approx(0.04 - 1.96 * 0.00608, abs=1e-4)
    assert find_gaps({**errors, "validation": SplitError("validation", 0.13, 0.06, 450)}, None, 0.4)[0].status == (
        "cannot tell"
    )


def test_a_model_that_is_no_better_than_ignorance_underfits():
    gaps = find_gaps(shares(train=(50, 1000), validation=(50, 1000)), human=None, ignorant=COIN)
    assert "high bias" in sentence(gaps, underfits=True) and "high bias" not in sentence(gaps)


@pytest.mark.parametrize("validation", [100, 1000])
def test_luck_is_rarely_taken_for_a_gap(validation):
    random, counts = np.random.default_rng(1), {"train": 4 * validation, "validation": validation, "test": validation}
    wrong = 0
    for _ in range(200):
        errors = {name: share(name, int(random.binomial(count, 0.1)), count) for name, count in counts.items()}
        wrong += "matters" in statuses(find_gaps(errors, human=0.1, ignorant=COIN)).values()
    assert wrong <= (1 - LEVEL) * 200


def test_luck_in_squared_errors_is_rarely_taken_for_a_gap():
    random, wrong = np.random.default_rng(2), 0
    for _ in range(200):
        errors = {}
        for name, count in {"train": 400, "validation": 30, "test": 30}.items():
            squares = random.normal(size=count) ** 2
            rmse = float(np.sqrt(squares.mean()))
            errors[name] = SplitError(name, rmse, float(squares.std(ddof=1) / count**0.5 / (2 * rmse)), count)
        wrong += "matters" in statuses(find_gaps(errors, human=None, ignorant=2.0)).values()
    assert wrong <= (1 - LEVEL) * 200
