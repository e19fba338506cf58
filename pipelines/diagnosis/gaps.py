"""Measure the error of a trained model on each split, with its standard error.

An error is lower if better: the metric itself, or how far it is from perfect, such as 1 - accuracy. Shapes: N examples,
R resamples, K sums.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from pipelines.data import Dataset
from pipelines.errors import UserError
from pipelines.evaluation import measure, metric_statistic, wrong_answers
from pipelines.statistics.bootstrap import RESAMPLES, bootstrap
from pipelines.task import Task, evenly_spaced
from pipelines.trained_model import TrainedModel

Answers: TypeAlias = Mapping[str, np.ndarray]
SPLITS = ("train", "train_dev", "validation", "test")  # in the order of the gaps
LEAST_MEASURED = 1000  # examples of a split that are answered, or as many as validation has if these are more
SLOW_RESAMPLES = 200  # of a metric without sums: enough for a standard error (Efron and Tibshirani 1993, section 6.4)


@dataclass(frozen=True)
class Metric:
    """A metric as an error: lower is better. `perfect` is the value of a metric that is maximized, else None."""

    name: str
    perfect: float | None = None

    def error(self, score: Any) -> Any:
        """Return the error that a score stands for."""
        return score if self.perfect is None else self.perfect - score

    def score(self, error: Any) -> Any:
        """Return the score that an error stands for."""
        return self.error(error)  # which is its own inverse

    @property
    def words(self) -> str:
        """What the error is, in words."""
        return self.name if self.perfect is None else f"{self.perfect:g} - {self.name}"


@dataclass(frozen=True)
class SplitError:
    """The error of a split: its value, its standard error, and the examples; `wrong` of them if it is a share."""

    name: str
    value: float
    error: float
    examples: int
    wrong: int | None = None
    whole: int | None = None  # examples of the split, if fewer were answered

    @property
    def least_error(self) -> float:
        """The standard error if all of the split were answered, as they are next to a validation split of its size."""
        return self.error * math.sqrt(self.examples / (self.whole or self.examples))

    def record(self) -> dict[str, Any]:
        """Return it for `diagnosis.json`."""
        return {"error": self.value, "standard_error": self.error, "examples": self.examples}


def measure_splits(trained: TrainedModel, dataset: Dataset) -> tuple[Metric, dict[str, SplitError]]:
    """Answer the examples of every split as those of a client, and return the error of each.

    The metric is the task's first one if it is a share of right answers, which people's errors are known in; else the
    monitored one. The first one also stands in for a loss that is no metric.

    Raises:
        UserError: If predictions or the metric are NaN or infinite.
    """
    task = trained.task
    most = max(LEAST_MEASURED, len(dataset.validation))
    answered = {}
    for name in SPLITS:
        if name in dataset.splits:
            examples = task.evaluation_examples(name, dataset[name])
            examples = evenly_spaced(examples, most)
            answered[name] = examples, trained.answerer.answer_table(examples)
    first, monitored = next(iter(task.metrics)), trained.config.training["monitor"].removeprefix("validation.")
    is_share = wrong_answers(task.metric_sums(first, *answered["validation"])) is not None
    name = first if is_share or monitored not in task.metrics else monitored
    metric = Metric(name, task.perfect.get(name, 1.0) if task.metrics[name] == "max" else None)
    errors = {split: _measure(task, metric, split, *each) for split, each in answered.items()}
    return metric, {split: replace(error, whole=len(dataset[split])) for split, error in errors.items()}


def _measure(task: Task, metric: Metric, split: str, examples: pd.DataFrame, answers: Answers) -> SplitError:
    score = measure(task, split, examples, answers)[metric.name]
    if not np.isfinite(score):
        raise UserError(split, f"{metric.name} is {score}, so nothing can be compared; train with another monitor")
    terms = task.metric_sums(metric.name, examples, answers)
    wrong = wrong_answers(terms)
    if wrong is not None:
        error = float(np.sqrt(score * (1 - score) / len(examples)))
    else:
        error = _standard_error(task, metric, examples, answers, SLOW_RESAMPLES if terms is None else RESAMPLES)
    return SplitError(split, metric.error(score), error, len(examples), wrong)


def _standard_error(task: Task, metric: Metric, examples: pd.DataFrame, answers: Answers, resamples: int) -> float:
    """Return the bootstrap standard error of a metric over its examples, infinite for a single one."""
    count = len(examples)
    if count < 2:
        return np.inf
    statistic = metric_statistic(task, [metric.name], examples, answers)
    found = bootstrap(statistic, count, resamples)[metric.name].error
    return found * float(np.sqrt(count / (count - 1)))  # resamples of N have the variance of N - 1 (Hesterberg 2015)
