"""Choose the decision threshold of a binary model on the validation split, after training."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pipelines.errors import UserError
from pipelines.trained_model import TrainedModel

FORMS = "a number between 0 and 1, f1, recall=SHARE, precision=SHARE, or cost=FALSE_POSITIVE:FALSE_NEGATIVE"
WHERE = "--threshold"


@dataclass(frozen=True)
class OperatingPoint:
    """A decision threshold, the rule that chose it, and its metrics on the validation split."""

    threshold: float
    rule: str
    validation: dict[str, float]  # precision, recall, f1 and counts; empty if not measured

    def record(self) -> dict[str, Any]:
        """Return the fields as a dictionary, as written to an export."""
        return asdict(self)

    def __str__(self) -> str:
        given = ", ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in self.validation.items())
        return f"{self.threshold:.4g} ({self.rule}){f'; on the validation split: {given}' if given else ''}"


def fixed_threshold(rule: str) -> float | None:
    """Return the threshold of a numeric rule, or None if the rule chooses it on the validation split.

    Raises:
        UserError: If it is neither a number between 0 and 1 nor a known rule.
    """
    try:
        threshold = float(rule)
    except ValueError:
        _objective(rule)
        return None
    if not 0 < threshold < 1:
        raise UserError(f"{WHERE} {rule}", f"should be {FORMS}")
    return threshold


def set_threshold(
    trained: TrainedModel, rule: str, validation: pd.DataFrame | None
) -> tuple[TrainedModel, OperatingPoint]:
    """Set the threshold of a trained model by a rule; without `validation`, the rule must be a number.

    Raises:
        UserError: If the task has no threshold, the rule is invalid, or no threshold satisfies it.
    """
    if trained.preprocessor.threshold is None:
        raise UserError(WHERE, f"this {trained.config.task} model has no decision threshold")
    fixed = fixed_threshold(rule)
    if validation is not None:
        examples = trained.task.evaluation_examples("validation", validation)
        point = choose(rule, *trained.task.binary_outcomes(examples, trained.answerer.answer_table(examples)))
    elif fixed is not None:
        point = OperatingPoint(fixed, rule, {})
    else:
        raise UserError(f"{WHERE} {rule}", "is chosen on the validation split, which is not available; give a number")
    trained.preprocessor.threshold = point.threshold
    return replace(trained), point  # a copy, because the cached `answerer` was traced with the old threshold


def choose(rule: str, true: np.ndarray, probability: np.ndarray) -> OperatingPoint:
    """Choose a threshold by a rule, from true labels (N,) and predicted probabilities (N,).

    Raises:
        UserError: If the rule is invalid, the labels are all equal, or no threshold satisfies the rule.
    """
    fixed = fixed_threshold(rule)
    where = f"{WHERE} {rule}"
    probability = probability.astype("float32")
    if fixed is not None:
        return OperatingPoint(fixed, rule, _figures(np.array([fixed], "float32"), true, probability).iloc[0].to_dict())
    if true.all() or not true.any():
        raise UserError(where, "the validation split contains a single class, so no threshold can be chosen on it")
    found = np.unique(probability)
    # Halfway between two probabilities, so that rounding differences of an export do not change the decision.
    halfway = (np.concatenate([[0.0], found]) + np.concatenate([found, [1.0]])) / 2
    thresholds = np.unique(halfway.astype("float32"))
    thresholds = thresholds[(thresholds > 0) & (thresholds < 1)]
    figures = _figures(thresholds, true, probability)
    goodness = _objective(rule)(figures)
    if not np.isfinite(goodness).any():
        name = rule.partition("=")[0]
        highest = f"the highest {name} is {figures[name].max():.4g}"
        raise UserError(where, f"no threshold reaches {rule} on the validation split; {highest}")
    best = len(goodness) - 1 - int(np.argmax(goodness.to_numpy()[::-1]))  # ties: take the highest threshold
    return OperatingPoint(float(thresholds[best]), rule, figures.iloc[best].to_dict())


def _objective(rule: str) -> Callable[[pd.DataFrame], pd.Series]:
    """Return the function that a rule maximizes; it returns minus infinity for thresholds that violate the rule."""
    name, _, given = rule.partition("=")
    try:
        numbers = [float(number) for number in given.split(":")] if given else []
    except ValueError:
        numbers = [np.nan]
    if rule == "f1":
        return lambda figures: figures["f1"]
    if name == "cost" and len(numbers) == 2 and min(numbers) >= 0 and 0 < sum(numbers) < np.inf:
        return lambda figures: -numbers[0] * figures["false_positives"] - numbers[1] * figures["false_negatives"]
    other = {"recall": "precision", "precision": "recall"}.get(name)
    if other and len(numbers) == 1 and 0 < numbers[0] <= 1:
        return lambda figures: figures[other].where(figures[name] >= numbers[0], -np.inf)
    raise UserError(f"{WHERE} {rule}", f"should be {FORMS}")


def _figures(thresholds: np.ndarray, true: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Return the metrics and error counts of each threshold (T,), one row per threshold."""
    yes = {kind: np.sort(probability[which]) for kind, which in (("positive", true), ("negative", ~true))}
    right = len(yes["positive"]) - np.searchsorted(yes["positive"], thresholds)
    wrong = len(yes["negative"]) - np.searchsorted(yes["negative"], thresholds)
    missed = len(yes["positive"]) - right
    precision, recall = right / np.maximum(right + wrong, 1), right / np.maximum(right + missed, 1)
    f1 = 2 * right / np.maximum(2 * right + wrong + missed, 1)
    return pd.DataFrame(
        {"precision": precision, "recall": recall, "f1": f1, "false_positives": wrong, "false_negatives": missed}
    )
