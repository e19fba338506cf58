"""Say which of the tried steps helped, against the run's own config with the same seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from pipelines.comparison.trainings import Candidates, Trainings
from pipelines.diagnosis.recipe import Step
from pipelines.diagnosis.trainings import OWN
from pipelines.errors import UserError
from pipelines.statistics.intervals import LEVEL, Interval
from pipelines.statistics.seeds import Comparison, compare_seeds, holm, mean_interval, seeds_to_tell, what_would_tell

Outcome: TypeAlias = Literal["helped", "made it worse", "cannot tell", "failed"]


@dataclass(frozen=True)
class Tried:
    """The mean score of a step over seeds, and the step against the run's own config; None if either has no score."""

    name: str
    seeds: int
    mean: Interval | None = None
    against_own: Comparison | None = None  # positive differences are better
    p: float = 1.0  # corrected for the number of steps
    seeds_needed: int | None = None  # to tell it from the own config; None: no number would do

    @property
    def outcome(self) -> Outcome:
        """Whether it helped significantly."""
        if self.against_own is None:
            return "failed"
        if self.p >= 1 - LEVEL:
            return "cannot tell"
        return "helped" if self.against_own.difference.value > 0 else "made it worse"

    def sentence(self) -> str:
        """Say what came of it, and how many seeds would tell if this did not."""
        name = self.name.replace("-", " ")
        if self.outcome != "cannot tell":
            return f"{name}: {self.outcome}"
        return f"{name}: no significant difference; {what_would_tell(self.seeds, self.seeds_needed)}"

    def record(self) -> dict[str, Any]:
        """Return it for `diagnosis.json`."""
        return {**asdict(self), "outcome": self.outcome}


def first_steps(steps: Sequence[Step], count: int) -> Candidates:
    """Return the changes of the first steps that a training can try: those that keep the splits.

    Raises:
        UserError: If there are none.
    """
    found = [step for step in steps if step.config is not None and step.same_splits]
    if not found:
        raise UserError("--try", "there is nothing to try: no step changes a setting of the training")
    return {step.name: step.changes for step in found[:count]}


def judge_tries(trainings: Trainings, names: Sequence[str]) -> list[Tried]:
    """Compare each step with the own config; the p-values are corrected for the number of steps (Holm 1979)."""
    return compare_with_own(trainings.scores(), names, trainings.direction, trainings.overlap)


def compare_with_own(
    scores: Mapping[str, Mapping[int, float]], names: Sequence[str], direction: str, overlap: float = 0.0
) -> list[Tried]:
    """Compare scores by step and seed with those of the own config; see `statistics.seeds` for `overlap`."""
    sign, own = 1 if direction == "max" else -1, scores[OWN]
    differences = {
        name: sign * np.array([scores[name][seed] - own[seed] for seed in own if seed in scores[name]])
        for name in names
    }
    compared = {
        name: compare_seeds(each, np.zeros(len(each)), overlap) for name, each in differences.items() if len(each)
    }
    corrected = dict(zip(compared, holm([each.p for each in compared.values()]), strict=True))
    tried = []
    for name in names:
        if name not in compared:
            tried.append(Tried(name, len(scores[name])))
            continue
        needed = seeds_to_tell(differences[name], overlap, (1 - LEVEL) / len(compared))
        mean = mean_interval(list(scores[name].values()), overlap)
        tried.append(Tried(name, len(differences[name]), mean, compared[name], float(corrected[name]), needed))
    return tried
