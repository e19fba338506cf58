"""Measure what the page of a run shows beyond its metrics: their intervals, and the worst examples.

It takes no further predictions, and only metrics that are functions of sums, because others would take as long as
training. Shapes: N examples, K sums.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from pipelines.evaluation import wrong_answers
from pipelines.statistics.bootstrap import bootstrap, of_sums
from pipelines.statistics.intervals import Interval, share_interval
from pipelines.task import Task
from pipelines.terminal import shortened

SHOWN = 10  # worst examples
INPUT_CHARACTERS = 200
Terms: TypeAlias = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]  # what `Task.metric_sums` returns


def split_details(
    task: Task, monitor: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return the intervals of the metrics of a split and its worst examples by `monitor`, as plain values.

    An interval has `value`, `low`, `high` and `level`: Wilson's for shares of right answers, else a bootstrap over the
    examples.
    """
    found = {name: task.metric_sums(name, examples, answers) for name in task.metrics}
    terms = {name: each for name, each in found.items() if each is not None}
    intervals = {} if len(examples) < 2 else {name: _interval(name, each) for name, each in terms.items()}
    kept = ("value", "low", "high", "level")
    return {
        "intervals": {name: {part: getattr(each, part) for part in kept} for name, each in intervals.items()},
        "worst": _worst(task, monitor.removeprefix("validation."), examples, answers, terms),
    }


def input_line(row: pd.Series, most: int) -> str:
    """Write the known inputs of an example on one line of at most `most` characters."""
    known = {name: value for name, value in row.items() if value not in ("", None) and value == value}
    texts = [str(value) if len(row) == 1 else f"{name} {value}" for name, value in known.items()]
    return shortened(", ".join(texts), most)


def _interval(name: str, terms: Terms) -> Interval:
    sums, metric = terms
    wrong = wrong_answers(terms)
    if wrong is not None:
        return share_interval(len(sums) - wrong, len(sums))
    return bootstrap(of_sums(sums, lambda drawn: {name: metric(drawn)}), len(sums))[name]


def _worst(
    task: Task, monitor: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray], terms: Mapping[str, Terms]
) -> dict[str, Any]:
    """Return the worst examples by a metric that differs between examples, the monitored one if possible.

    Other metrics decide between equal ones. Examples whose answer is the target are left out: a score may say nothing
    about them, such as the F1 of a sentence without entities.
    """
    scores = _scores_by_example(task, monitor, terms)
    if not scores:
        return {}
    table = task.predictions(examples, answers)
    order = np.lexsort([-scores[name] if task.metrics[name] == "min" else scores[name] for name in reversed(scores)])
    if {"target", "answer"} <= set(table):
        order = order[(table["target"].astype(str) != table["answer"].astype(str)).to_numpy()[order]]
    by, chosen = next(iter(scores)), order[:SHOWN]
    inputs = [name for name in table if name in examples and name != "target"]
    rest = [name for name in table if name not in inputs and name not in scores]
    rows = [
        {
            "row": int(row) + 1,
            **({"input": input_line(table[inputs].iloc[row], INPUT_CHARACTERS)} if inputs else {}),
            **{str(name): _plain(table[name].iloc[row]) for name in rest},
            by: float(scores[by][row]),
        }
        for row in chosen
    ]
    return {"by": by, "rows": rows}


def _scores_by_example(task: Task, monitor: str, terms: Mapping[str, Terms]) -> dict[str, np.ndarray]:
    """Return the metrics that single examples have and differ in, by name, the monitored one first."""
    scores: dict[str, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for name in sorted(terms, key=lambda name: name != monitor):
            sums, metric = terms[name]
            each = metric(sums)
            if np.isfinite(each).all() and np.ptp(each):
                scores[name] = each
    return scores


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value if isinstance(value, int | float) else str(value)
