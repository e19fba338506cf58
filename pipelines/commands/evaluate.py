"""The `evaluate` command: evaluate a finished run on one split."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines.evaluation import measure
from pipelines.operating_point import OperatingPoint, fixed_threshold, set_threshold
from pipelines.runs.run import Run
from pipelines.trained_model import confidence_metrics, load_run_dataset, load_trained_model


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a split, the metrics per class if the task has classes, and the threshold if one was chosen."""

    metrics: dict[str, float]
    by_class: pd.DataFrame  # one row per class
    point: OperatingPoint | None = None


def evaluate(run: str | Path, split: str = "test", threshold: str | None = None) -> Evaluation:
    """Predict the evaluation examples of a split and compute the metrics.

    `threshold` is the decision threshold: a number, or a rule such as `f1` or `recall=0.9` that chooses it on the
    validation split.

    Raises:
        UserError: If `run` is not a finished run, its data is missing or changed, or no such threshold can be chosen.
    """
    if threshold is not None:
        fixed_threshold(threshold)  # reject an invalid rule before reading anything
    opened = Run.open(run)
    trained = load_trained_model(opened)
    dataset = load_run_dataset(trained.config)
    opened.check_data(dataset.record)
    point = None
    if threshold is not None:
        trained, point = set_threshold(trained, threshold, dataset.validation)
    examples = trained.task.evaluation_examples(split, dataset[split])
    answers = trained.answerer.answer_table(examples)
    metrics = measure(trained.task, split, examples, answers)
    if split != "train":
        metrics |= confidence_metrics(trained, examples, answers)
    return Evaluation(metrics, trained.task.metrics_by_class(examples, answers), point)
