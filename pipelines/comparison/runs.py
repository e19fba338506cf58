"""Compare finished runs: their settings, their metrics on the same examples, and the examples where they differ most.

Shapes: N examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.comparison.settings import differing_settings, letters
from pipelines.config.load import Config, load_config
from pipelines.data import Dataset
from pipelines.errors import UserError
from pipelines.evaluation import measure, metric_by_example, metric_statistic
from pipelines.pages.details import input_line
from pipelines.runs.run import Run
from pipelines.statistics.bootstrap import RESAMPLES, bootstrap, difference
from pipelines.statistics.intervals import Interval
from pipelines.task import Task
from pipelines.trained_model import load_run_dataset, load_trained_model

SHOWN = 8  # examples where the runs differ most
INPUT_CHARACTERS = 60

Answers = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ComparedRuns:
    """Finished runs, named A, B, ... in the given order, and how they differ.

    `settings` has the differing settings by dotted path, and `examples` the examples where the runs differ most, by
    the metric `by`; both have a column per run. `metrics` are those of each run, and `gaps` how much more each other
    run has than the first, both with intervals over the examples.
    """

    runs: dict[str, Path]
    split: str
    settings: pd.DataFrame
    metrics: dict[str, dict[str, Interval]]  # run -> metric
    gaps: dict[str, dict[str, Interval]]
    by: str | None
    examples: pd.DataFrame
    notes: list[str]


def compare_runs(folders: Sequence[str | Path], split: str = "validation", resamples: int = RESAMPLES) -> ComparedRuns:
    """Compare finished runs on the examples of a split, which all of them answer again.

    Intervals are bootstrapped over the examples; all runs see the same resamples.

    Raises:
        UserError: If a folder is not a finished run, the runs have different tasks or data, or their data is missing.
    """
    names = letters(len(folders))
    opened = [Run.open(folder) for folder in folders]
    configs = [load_config(run.config) for run in opened]
    notes = _check_same(opened, configs, split)
    dataset = load_run_dataset(configs[0])
    opened[0].check_data(dataset.record)
    task, examples, answers = _answers(opened, dataset, split)
    # A metric with a dot in its name is that of one class.
    shown = [name for name in measure(task, split, examples, answers[0]) if "." not in name]
    first, *others = statistics = [metric_statistic(task, shown, examples, each) for each in answers]
    metrics = [bootstrap(statistic, len(examples), resamples) for statistic in statistics]
    # With the same seed, all see the same resamples.
    gaps = [bootstrap(difference(other, first), len(examples), resamples) for other in others]
    monitor = configs[0].training["monitor"].removeprefix("validation.")
    by, scores = _scores_by_example(task, examples, answers, monitor)
    return ComparedRuns(
        runs=dict(zip(names, map(Path, folders), strict=True)),
        split=split,
        settings=differing_settings(configs, names),
        metrics=dict(zip(names, metrics, strict=True)),
        gaps=dict(zip(names[1:], gaps, strict=True)),
        by=by,
        examples=_differing(task, examples, answers, names, by, scores),
        notes=notes,
    )


def _check_same(runs: Sequence[Run], configs: Sequence[Config], split: str) -> list[str]:
    """Check that all runs can answer the same examples; return a note if they were trained on different ones."""
    first = runs[0].data()["fingerprint"]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        if config.task != configs[0].task:
            problem = f"is a run of {config.task}, and {runs[0].folder} is one of {configs[0].task}"
            raise UserError(str(run.folder), f"{problem}; compare runs of the same task")
        if run.data()["fingerprint"][split] != first[split]:
            problem = (
                f"its {split} examples are not those of {runs[0].folder}; compare runs with the same data and split"
            )
            raise UserError(str(run.folder), problem)
    if any(run.data()["fingerprint"]["train"] != first["train"] for run in runs[1:]):
        return ["the runs were trained on different examples"]
    return []


def _answers(runs: Sequence[Run], dataset: Dataset, split: str) -> tuple[Task, pd.DataFrame, list[Answers]]:
    answers: list[Answers] = []
    for run in runs:
        trained = load_trained_model(run)
        examples = trained.task.evaluation_examples(split, dataset[split])
        answers.append(trained.answerer.answer_table(examples))
    return trained.task, examples, answers


def _scores_by_example(
    task: Task, examples: pd.DataFrame, answers: Sequence[Answers], monitor: str
) -> tuple[str | None, np.ndarray]:
    """Return the first metric that single examples have and that differs between runs, and its values (runs, N)."""
    for metric in sorted(task.metrics, key=lambda name: name != monitor):
        scores = np.stack([metric_by_example(task, metric, examples, each) for each in answers])
        if np.isfinite(scores).all() and np.ptp(scores, axis=0).any():
            return metric, scores
    return None, np.zeros((len(answers), len(examples)))


def _differing(
    task: Task,
    examples: pd.DataFrame,
    answers: Sequence[Answers],
    names: Sequence[str],
    by: str | None,
    scores: np.ndarray,
) -> pd.DataFrame:
    """Return the examples whose scores differ most: row, input, target, then answer and score of each run."""
    if by is None:
        return pd.DataFrame()
    spread = np.ptp(scores, axis=0)
    chosen = [row for row in np.argsort(-spread, kind="stable")[:SHOWN] if spread[row]]
    tables = [task.predictions(examples, each).iloc[chosen] for each in answers]
    inputs = [name for name in tables[0] if name in examples]
    shown = pd.DataFrame(
        {
            "row": np.array(chosen) + 1,
            "input": [input_line(row, INPUT_CHARACTERS) for _, row in tables[0][inputs].iterrows()],
        }
    )
    if "target" in tables[0]:
        shown["target"] = tables[0]["target"].to_numpy()
    for name, table, own in zip(names, tables, scores, strict=True):
        if "answer" in table:
            shown[f"answer {name}"] = table["answer"].to_numpy()
        shown[f"{by} {name}"] = own[chosen]
    return shown
