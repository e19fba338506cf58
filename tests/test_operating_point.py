"""A threshold that is chosen on validation is the best of all that could be chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.operating_point import choose, fixed_threshold

TRUE = np.array([True, True, False, True, False, False])
PROBABILITY = np.float32([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])


@pytest.mark.parametrize(
    ("rule", "between", "figures"),
    [
        ("f1", (0.2, 0.6), {"recall": 1.0, "precision": 0.75}),
        ("recall=1", (0.2, 0.6), {"recall": 1.0, "precision": 0.75}),
        ("recall=0.5", (0.7, 0.8), {"recall": 2 / 3, "precision": 1.0}),
        ("precision=1", (0.7, 0.8), {"recall": 2 / 3, "precision": 1.0}),
        ("precision=0.7", (0.2, 0.6), {"recall": 1.0, "precision": 0.75}),
        ("cost=10:1", (0.7, 0.8), {"false_positives": 0, "false_negatives": 1}),
        ("cost=1:10", (0.2, 0.6), {"false_positives": 1, "false_negatives": 0}),
        ("cost=0:1", (0.2, 0.6), {"false_negatives": 0}),
        ("0.65", (0.65, 0.65), {"false_positives": 1, "false_negatives": 1}),
    ],
)
def test_each_rule_chooses_what_it_says(rule, between, figures):
    point = choose(rule, TRUE, PROBABILITY)
    assert between[0] <= point.threshold <= between[1] and point.rule == rule
    assert {name: point.validation[name] for name in figures} == pytest.approx(figures)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 40), st.sampled_from(["f1", "recall=0.8", "precision=0.6", "cost=2:3"]))
def test_no_other_threshold_is_better(seed, count, rule):
    random = np.random.default_rng(seed)
    true = random.random(count) < 0.4
    true[:2] = True, False
    probability = random.choice(np.float32([0, 1e-7, 0.1, 0.3, 0.5, 0.5001, 0.9, 1]), count)
    thresholds = np.float32([5e-8, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.50005, 0.5001, 0.7, 0.9, 0.95])

    def value(said):
        precision = true[said].mean() if said.any() else 0.0
        recall = said[true].mean()
        f1 = 2 * precision * recall / (precision + recall) if recall else 0.0
        costs = 2 * (said & ~true).sum() + 3 * (true & ~said).sum()
        of = {
            "f1": f1,
            "recall=0.8": precision if recall >= 0.8 else -np.inf,
            "precision=0.6": recall if precision >= 0.6 else -np.inf,
            "cost=2:3": -costs,
        }
        return of[rule]

    best = max(value(probability >= threshold) for threshold in thresholds)
    try:
        point = choose(rule, true, probability)
    except UserError as error:
        assert best == -np.inf and f"no threshold reaches {rule} on the validation split" in str(error)
        return
    assert value(probability >= np.float32(point.threshold)) >= best - 1e-12
    assert np.abs(probability - point.threshold).min() > 0, "an answer at the threshold may fall to either side"


@pytest.mark.parametrize(
    "rule",
    "bogus f2 recall recall= recall=0 recall=1.1 recall=nan precision=-1 cost=1 cost=1:2:3 cost=-1:2 cost=0:0 cost=a:b"
    " cost=inf:1 0 1 1.5 -0.1 nan inf f1=0.5".split(),
)
def test_a_rule_that_is_none_gets_one_line(rule):
    with pytest.raises(UserError) as error:
        fixed_threshold(rule)
    assert "should be a number between 0 and 1, f1, recall=SHARE" in str(error.value)
    assert str(error.value).startswith(f"--threshold {rule}")


@pytest.mark.parametrize("true", [np.zeros(4, bool), np.ones(4, bool)])
def test_one_class_gives_no_threshold(true):
    with pytest.raises(UserError, match="the validation split contains a single class"):
        choose("f1", true, np.float32([0.1, 0.2, 0.3, 0.4]))
