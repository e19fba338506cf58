"""Train every model of a task with several seeds, as the trials of a comparison."""

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras
from ruamel.yaml.comments import CommentedMap

from pipelines.comparison.folder import ComparisonFolder, Plan
from pipelines.data import Source, load_dataset
from pipelines.errors import UserError
from pipelines.evaluation import measure
from pipelines.runs.run import Run
from pipelines.tasks import load_task
from pipelines.trained_model import load_trained_model
from pipelines.tuning.journal import Trial
from pipelines.tuning.runner import Runner
from pipelines.tuning.space import Space
from pipelines.tuning.trials import run_rung

SECONDS = {"s": 1, "m": 60, "h": 3600}
SPLIT_SEED = "split.validation_seed"


class Ladder(Runner):
    """A comparison in progress: all models with the first seed, then all with the next."""

    work = staticmethod(run_rung)
    folder: ComparisonFolder

    def __init__(
        self, folder: ComparisonFolder, space: Space, source: Source, plan: Plan, shown: Callable[["Ladder"], None]
    ):
        self.base = space.config({})
        self.plan, self.source = plan, source
        self.dataset = load_dataset(self.base.data, self.base.split, load_task(self.base.task), source)
        shuffles = self.base.split.get("shuffle", True) and self.base.split.get("time") is None
        self.resplits = "validation" not in source.examples and shuffles
        self.most = len(plan.models) * plan.seeds
        super().__init__(folder, space, source, shown, self.base, self.base.training["monitor"])

    @property
    def metric(self) -> str:
        """The metric that the models are compared by, without its split."""
        return self.objective.removeprefix("validation.")

    @property
    def overlap(self) -> float:
        """Validation examples per training example if each seed has its own split, else 0."""
        return len(self.dataset.validation) / len(self.dataset.train) if self.resplits else 0.0

    @property
    def varying(self) -> str:
        """What changes with the seed, in words."""
        if self.resplits:
            return "the initial weights, the order of the batches, and the cut between train and validation"
        return "the initial weights and the order of the batches; all seeds have the same splits"

    @cached_property
    def planned(self) -> list[dict[str, Any]]:
        """The values of all trials, in order. The first seed is that of the config, with its own split."""
        return [self._values(model, seed) for seed in range(self.plan.seeds) for model in self.plan.models]

    def run_of(self, trial: Trial) -> Run:
        """Return the run folder of a trial."""
        return self.folder.trial(trial.number)

    def seed_of(self, trial: Trial) -> int:
        """Return the seed of a trial, counted from 0."""
        return trial.values["seed"] - self.base.seed

    def scored(self, model: str) -> list[Trial]:
        """Return the trials of a model that have a score, by seed."""
        found = [trial for trial in self.trials if trial.values["model"] == model and trial.score is not None]
        return sorted(found, key=self.seed_of)

    def scores(self) -> dict[str, dict[int, float]]:
        """Return the validation scores by model and seed."""
        return {
            model: {self.seed_of(trial): float(trial.score) for trial in self.scored(model) if trial.score is not None}
            for model in self.plan.models
        }

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

    def _values(self, model: str, seed: int) -> dict[str, Any]:
        again = {SPLIT_SEED: self.base.seed + seed} if seed and self.resplits else {}
        return {"model": model, "seed": self.base.seed + seed, **again}

    def _propose(self) -> Trial | None:
        known = [trial.values for trial in self.trials]
        values = next((values for values in self.planned if values not in known), None)
        if values is None:
            return None
        trial = Trial(len(self.trials), values)
        self.trials.append(trial)
        self.folder.note("proposed", trial)
        return trial


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
