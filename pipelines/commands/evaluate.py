"""`evaluate`: measure a finished run again on one split."""

from pathlib import Path

from pipelines.fit import load_fitted, load_run_dataset
from pipelines.run import Run


def evaluate(run: str | Path, split: str = "test") -> dict[str, float]:
    """Answer a split anew, or what its task measures of a large one, and score the answers.

    Raises:
        UserError: where `run` is no finished run or its data is gone or changed.
    """
    opened = Run.open(run)
    fitted = load_fitted(opened)
    dataset = load_run_dataset(fitted.config)
    opened.check_data(dataset.record)
    examples = fitted.task.measured(split, dataset[split])
    return fitted.task.score(examples, fitted.answerer.answer_table(examples))
