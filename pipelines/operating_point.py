"""The probability from which a model says yes, chosen on the validation split after training."""

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
    """A threshold, the rule that chose it, and what it gives on the validation split."""

    threshold: float
    rule: str
    validation: dict[str, float]  # precision, recall, f1 and counts; empty where it was not measured

    def record(self) -> dict[str, Any]:
        """Give what an export keeps."""
        return asdict(self)

    def __str__(self) -> str:
        given = ", ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in self.validation.items())
        return f"{self.threshold:.4g} ({self.rule}){f'; on validation {given}' if given else ''}"


def fixed_threshold(rule: str) -> float | None:
    """Read a rule that is a number; None where it is to be found on the validation split.

    Raises:
        UserError: where it is neither.
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
    """Give a trained model the threshold that a rule chooses, without `validation` one that is a number.

    Raises:
        UserError: where no threshold decides its answers, the rule is none, or none of the thresholds does.
    """
    if trained.preprocessor.threshold is None:
        raise UserError(WHERE, f"no threshold decides what this {trained.config.task} answers")
    fixed = fixed_threshold(rule)
    if validation is not None:
        examples = trained.task.evaluation_examples("validation", validation)
        point = choose(rule, *trained.task.binary_outcomes(examples, trained.answerer.answer_table(examples)))
    elif fixed is not None:
        point = OperatingPoint(fixed, rule, {})
    else:
        raise UserError(f"{WHERE} {rule}", "is chosen on the validation split, which is not at hand; give a number")
    trained.preprocessor.threshold = point.threshold
    return replace(trained), point  # what it answers with is traced anew


def choose(rule: str, true: np.ndarray, probability: np.ndarray) -> OperatingPoint:
    """Choose the threshold that a rule wants, from what is true (N,) and how probable it was answered to be (N,).

    Raises:
        UserError: where the rule is none, or none of the thresholds does.
    """
    fixed = fixed_threshold(rule)
    where = f"{WHERE} {rule}"
    probability = probability.astype("float32")
    if fixed is not None:
        return OperatingPoint(fixed, rule, _figures(np.array([fixed], "float32"), true, probability).iloc[0].to_dict())
    if true.all() or not true.any():
        raise UserError(where, "the validation split holds a single class, so no threshold can be chosen on it")
    found = np.unique(probability)
    # Halfway between two answers, so that an export whose answers differ in the last digit says the same.
    halfway = (np.concatenate([[0.0], found]) + np.concatenate([found, [1.0]])) / 2
    thresholds = np.unique(halfway.astype("float32"))
    thresholds = thresholds[(thresholds > 0) & (thresholds < 1)]
    figures = _figures(thresholds, true, probability)
    goodness = _objective(rule)(figures)
    if not np.isfinite(goodness).any():
        name = rule.partition("=")[0]
        raise UserError(
            where, f"no threshold gives that on validation; the highest {name} is {figures[name].max():.4g}"
        )
    best = len(goodness) - 1 - int(np.argmax(goodness.to_numpy()[::-1]))  # of equal ones the highest
    return OperatingPoint(float(thresholds[best]), rule, figures.iloc[best].to_dict())


def _objective(rule: str) -> Callable[[pd.DataFrame], pd.Series]:
    """Turn a rule into what is to be largest: minus infinity where a threshold will not do."""
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
    """Count and measure what each threshold (T,) gives: a row each."""
    yes = {kind: np.sort(probability[which]) for kind, which in (("positive", true), ("negative", ~true))}
    right = len(yes["positive"]) - np.searchsorted(yes["positive"], thresholds)
    wrong = len(yes["negative"]) - np.searchsorted(yes["negative"], thresholds)
    missed = len(yes["positive"]) - right
    precision, recall = right / np.maximum(right + wrong, 1), right / np.maximum(right + missed, 1)
    f1 = 2 * right / np.maximum(2 * right + wrong + missed, 1)
    return pd.DataFrame(
        {"precision": precision, "recall": recall, "f1": f1, "false_positives": wrong, "false_negatives": missed}
    )
