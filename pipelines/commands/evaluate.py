"""The `evaluate` command: evaluate a finished run on one split."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.errors import DataWarning, UserError
from pipelines.operating_point import OperatingPoint, fixed_threshold, set_threshold
from pipelines.pages.details import split_details
from pipelines.pages.run_page import write_run_page
from pipelines.runs.run import Run
from pipelines.trained_model import load_run_dataset, load_trained_model, measure_split


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a split, the metrics per class if the task has classes, and the threshold if one was chosen."""

    metrics: dict[str, float]
    by_class: pd.DataFrame  # one row per class
    point: OperatingPoint | None = None


def evaluate(run: str | Path, split: str = "test", threshold: str | None = None) -> Evaluation:
    """Predict the evaluation examples of a split and compute the metrics.

    `threshold` is the decision threshold: a number, or a rule such as `f1` or `recall=0.9` that chooses it on the
    validation split. Without it, the page of the run is written again, with the intervals of this split.

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
    metrics = measure_split(trained, split, examples, answers)
    if threshold is None:
        _write_page(opened, split, split_details(trained.task, trained.config.training["monitor"], examples, answers))
    return Evaluation(metrics, trained.task.metrics_by_class(examples, answers), point)


def _write_page(run: Run, split: str, details: Mapping[str, Any]) -> None:
    """Write the page of a run again; a run that cannot be written to, such as a shared one, keeps its page."""
    try:
        run.add_details(split, details)
        write_run_page(run)
    except UserError as error:
        warnings.warn(DataWarning(f"the report of the run stays as it was: {error}"), stacklevel=2)
