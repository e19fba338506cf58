"""`evaluate`: measure a finished run again on one split."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines.evaluation import measure
from pipelines.operating_point import OperatingPoint, fixed_threshold, set_threshold
from pipelines.runs.run import Run
from pipelines.trained_model import load_run_dataset, load_trained_model


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a split, those of each class where the task has any, and the threshold where one was chosen."""

    metrics: dict[str, float]
    by_class: pd.DataFrame  # a row a class
    point: OperatingPoint | None = None


def evaluate(run: str | Path, split: str = "test", threshold: str | None = None) -> Evaluation:
    """Answer a split anew, or what its task measures of a large one, and score the answers.

    `threshold` is a rule, such as `f1` or `recall=0.9`, that chooses on validation from which probability the answer is
    yes, or a number.

    Raises:
        UserError: where `run` is no finished run, its data is gone or changed, or no such threshold can be chosen.
    """
    if threshold is not None:
        fixed_threshold(threshold)  # a rule that is none is found before anything is read
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
    return Evaluation(metrics, trained.task.metrics_by_class(examples, answers), point)
