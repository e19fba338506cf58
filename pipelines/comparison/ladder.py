"""Train every model of a task with several seeds, as the trials of a comparison."""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np
from ruamel.yaml.comments import CommentedMap

from pipelines.comparison.folder import ComparisonFolder, Plan
from pipelines.comparison.trainings import Trainings
from pipelines.data import Source, load_dataset
from pipelines.errors import UserError
from pipelines.evaluation import measure
from pipelines.tasks import load_task
from pipelines.trained_model import load_trained_model
from pipelines.tuning.space import Space

SECONDS = {"s": 1, "m": 60, "h": 3600}


class Ladder(Trainings):
    """A comparison in progress: every model of the plan with every seed."""

    folder: ComparisonFolder

    def __init__(
        self,
        folder: ComparisonFolder,
        space: Space,
        source: Source,
        plan: Plan,
        tuned: Mapping[str, Mapping[str, Any]],
        shown: Callable[["Ladder"], None],
    ):
        self.plan = plan
        candidates = {name: {"model": name, **tuned.get(name, {})} for name in plan.models}
        super().__init__(folder, space, source, candidates, plan.seeds, shown)

    @cached_property
    def simple(self) -> dict[str, float]:
        """The scores of the simple models of the task that have the metric, on the split of the first seed."""
        task, validation = load_task(self.base.task), self.dataset.validation
        found = task.simple_metrics(self.dataset.train, task.evaluation_examples("validation", validation))
        return {name: own[self.metric] for name, own in found.items() if np.isfinite(own.get(self.metric, np.nan))}

    def score_test(self) -> None:
        """Measure the test split with every run that has not done so, and record it in the run's metrics.

        Raises:
            UserError: If predictions are NaN or infinite.
        """
        for trial in self.trials:
            run = self.run_of(trial)
            if trial.score is None or "test" in run.metrics():
                continue
            trained = load_trained_model(run)
            dataset = load_dataset(trained.config.data, trained.config.split, trained.task, self.source)
            examples = trained.task.evaluation_examples("test", dataset.test)
            run.add_metrics("test", measure(trained.task, "test", examples, trained.answerer.answer_table(examples)))
            keras.backend.clear_session()


def set_budget(document: CommentedMap, budget: str | None) -> None:
    """Set the budget of each training: a number of epochs, or a time such as 5m.

    Raises:
        UserError: If it is neither.
    """
    if budget is None:
        return
    time = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if time and float(time[1]) > 0:
        document["training"]["max_seconds"] = float(time[1]) * SECONDS[time[2]]
    elif budget.isdecimal() and int(budget) > 0:
        document["training"]["epochs"] = int(budget)
    else:
        raise UserError("--budget", f"'{budget}' is neither a time, such as 90s, 5m or 1h, nor a number of epochs")
