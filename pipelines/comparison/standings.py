"""Say which models the scores of several seeds tell apart from the best one."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipelines.statistics.intervals import LEVEL, Interval
from pipelines.statistics.seeds import Comparison, compare_seeds, holm, mean_interval, seeds_to_tell


@dataclass(frozen=True)
class Standing:
    """A model's mean score over seeds, and how the best model compares with it; None for the best model itself."""

    model: str
    seeds: int
    mean: Interval
    best_against_it: Comparison | None = None
    p: float = 1.0  # corrected for the number of comparisons
    seeds_needed: int | None = None  # to tell it apart from the best one; None: no number would do

    @property
    def told_apart(self) -> bool:
        """Whether the best model is significantly better."""
        return self.best_against_it is not None and self.p < 1 - LEVEL


def judge(scores: Mapping[str, Mapping[int, float]], direction: str, overlap: float = 0.0) -> list[Standing]:
    """Rank models by their mean score, and compare each with the best one; `scores` are by model and seed.

    The best model is one that has scores of all seeds, if there is any. The p-values of all pairs of models, not only
    of those with the best one, are corrected by Holm's method: the best one was chosen by the same scores, and of many
    equal models the luckiest is far from the unluckiest. `overlap` is that of `statistics.seeds.mean_interval`.
    """
    sign = 1 if direction == "max" else -1
    means = {model: mean_interval(list(own.values()), overlap) for model, own in scores.items() if own}
    most = max((len(scores[model]) for model in means), default=0)
    ranked = sorted(means, key=lambda model: (len(scores[model]) < most, -sign * means[model].value))
    pairs = list(combinations(ranked, 2))
    compared = {pair: _compare(scores, *pair, sign, overlap) for pair in pairs}
    corrected = dict(zip(pairs, holm([each.p for each in compared.values()]), strict=True))
    standings = [Standing(model, len(scores[model]), means[model]) for model in ranked[:1]]
    for model in ranked[1:]:
        pair = (ranked[0], model)
        needed = seeds_to_tell(_differences(scores, *pair), overlap, (1 - LEVEL) / len(pairs))
        p = float(corrected[pair])
        standings.append(Standing(model, len(scores[model]), means[model], compared[pair], p, needed))
    return standings


def _compare(scores: Mapping[str, Mapping[int, float]], one: str, other: str, sign: int, overlap: float) -> Comparison:
    differences = sign * _differences(scores, one, other)
    return compare_seeds(differences, np.zeros(len(differences)), overlap)


def _differences(scores: Mapping[str, Mapping[int, float]], one: str, other: str) -> np.ndarray:
    """Return the differences with the seeds that both have."""
    return np.array([score - scores[other][seed] for seed, score in scores[one].items() if seed in scores[other]])
