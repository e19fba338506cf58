"""Train several candidates, each with the same seeds, in a pool with a journal."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

from pipelines.data import Source, load_dataset
from pipelines.runs.run import Run
from pipelines.tasks import load_task
from pipelines.tuning.journal import SearchFolder, Trial
from pipelines.tuning.runner import PlannedRunner
from pipelines.tuning.space import Space
from pipelines.tuning.trials import run_rung

SPLIT_SEED = "split.validation_seed"
Candidates: TypeAlias = Mapping[str, Mapping[str, Any]]  # name -> the settings that it changes, by dotted path


class Trainings(PlannedRunner):
    """Trainings in progress: all candidates with the first seed, then all with the next.

    The journal may hold trainings that are not asked for this time; they are kept, and not continued.
    """

    work = staticmethod(run_rung)

    def __init__(
        self,
        folder: SearchFolder,
        space: Space,
        source: Source,
        candidates: Candidates,
        seeds: int,
        shown: Callable[[Any], None],
        objective: str | None = None,
    ):
        self.base = space.config({})
        self.candidates, self.seeds, self.source = candidates, seeds, source
        self.dataset = load_dataset(self.base.data, self.base.split, load_task(self.base.task), source)
        self.shuffles = self.base.split.get("shuffle", True) and self.base.split.get("time") is None
        self.resplits = "validation" not in source.examples and self.shuffles
        super().__init__(folder, space, source, shown, self.base, objective or self.base.training["monitor"])
        self.waiting = [trial for trial in self.waiting if trial.values in self.planned]
        over = [trial.values for trial in self.ended]
        self.most = len(over) + sum(values not in over for values in self.planned)

    @property
    def metric(self) -> str:
        """The metric that the candidates are compared by, without its split."""
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
        return [self._values(name, seed) for seed in range(self.seeds) for name in self.candidates]

    def run_of(self, trial: Trial) -> Run:
        """Return the run folder of a trial."""
        return self.folder.trial(trial.number)

    def seed_of(self, trial: Trial) -> int:
        """Return the seed of a trial, counted from 0."""
        return trial.values["seed"] - self.base.seed

    def of(self, name: str) -> list[Trial]:
        """Return the trials of a candidate, by seed."""
        wanted = [self._values(name, seed) for seed in range(self.seeds)]
        return sorted((trial for trial in self.trials if trial.values in wanted), key=self.seed_of)

    def scored(self, name: str) -> list[Trial]:
        """Return the trials of a candidate that have a score, by seed."""
        return [trial for trial in self.of(name) if trial.score is not None]

    def scores(self) -> dict[str, dict[int, float]]:
        """Return the validation scores by candidate and seed."""
        return {
            name: {self.seed_of(trial): float(trial.score) for trial in self.scored(name) if trial.score is not None}
            for name in self.candidates
        }

    def failures(self) -> list[str]:
        """Say which trainings failed, and why."""
        return [
            f"failed: {name} with seed {trial.values['seed']}: {trial.reason}"
            for name in self.candidates
            for trial in self.of(name)
            if trial.reason is not None
        ]

    def _values(self, name: str, seed: int) -> dict[str, Any]:
        again = {SPLIT_SEED: self.base.seed + seed} if seed and self.resplits else {}
        return {**self.candidates[name], "seed": self.base.seed + seed, **again}
