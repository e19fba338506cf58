"""Say what more training examples would give, from trainings with fewer of them.

Shapes: K sizes, S seeds.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pipelines.comparison.trainings import Candidates, Trainings
from pipelines.diagnosis.gaps import Metric
from pipelines.diagnosis.trainings import OWN
from pipelines.statistics.power_law import PowerLaw, fit_power_law
from pipelines.terminal import short_value

SIZES = 5
SMALLEST = 1 / 16  # share of train
LEAST = 32  # training examples of the smallest size, if there are that many


@dataclass(frozen=True)
class Curve:
    """The errors (S, K) by number of training examples, and the law that fits them."""

    examples: list[int]
    errors: list[list[float]]
    law: PowerLaw

    def sentence(self, metric: Metric) -> str:
        """Say what twice the data would give, in the unit of the metric."""
        found, now = self.law.doubled, float(np.mean([own[-1] for own in self.errors]))
        value, low, high = (float(metric.score(error)) for error in (found.value, found.low, found.high))
        within = " to ".join(map(short_value, sorted([low, high])))
        return (
            f"twice the data would give {metric.name} {short_value(value)} ({within}) on validation; now it is"
            f" {short_value(float(metric.score(now)))} with {self.examples[-1]:,} training examples"
        )

    def record(self) -> dict[str, Any]:
        """Return it for `diagnosis.json`."""
        return asdict(self)


def shares_of(examples: int, own_share: float) -> Candidates:
    """Return the run's own config with smaller shares of train, by name; each size is the same factor larger.

    The largest size is the own config itself. `own_share` is the share of train that the run was trained on.
    """
    smallest = max(SMALLEST, min(0.5, LEAST / examples))
    shares = [float(f"{share:.6g}") for share in np.geomspace(smallest, 1, SIZES)[:-1] * own_share]
    return {f"{share:.3g} of train": {"split.train_share": share} for share in shares}


def curve_of(trainings: Trainings, names: list[str], metric: Metric) -> Curve | None:
    """Fit the seeds that have a score with every size; None if there is no such seed."""
    scores, sizes = trainings.scores(), [*names, OWN]
    seeds = [seed for seed in range(trainings.seeds) if all(seed in scores[name] for name in sizes)]
    if not seeds:
        return None
    counts = [trainings.run_of(trainings.scored(name)[0]).data()["examples"]["train"] for name in sizes]
    errors = np.array([[metric.error(scores[name][seed]) for name in sizes] for seed in seeds])
    return Curve(counts, errors.tolist(), fit_power_law(counts, errors))


def draw_curve(curve: Curve, metric: Metric) -> Figure:
    """Draw the errors by size, the fitted curve, and the interval of twice the data."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    law, most = curve.law, curve.examples[-1]
    for number, own in enumerate(curve.errors):
        axes.plot(curve.examples, own, "o", color="tab:blue", alpha=0.5, label=None if number else "one training")
    n = np.geomspace(curve.examples[0], 2 * most, 100)
    name = f"{short_value(law.a)} + {short_value(law.b)} n$^{{-{short_value(law.c)}}}$"
    axes.plot(n, law.at(n), color="tab:blue", label=name)
    far = law.doubled
    reach = [[max(0.0, far.value - far.low)], [max(0.0, far.high - far.value)]]
    how: dict[str, Any] = {"fmt": "s", "capsize": 4, "color": "tab:orange", "label": "twice the data"}
    axes.errorbar(2 * most, far.value, yerr=reach, **how)
    axes.set_xscale("log")
    ticks = [*curve.examples, 2 * most]
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="training examples", ylabel=f"{metric.words} on validation")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
