"""Say which size of the mini-batches learns most per second, from trainings with several of them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pipelines.comparison.trainings import Candidates, Trainings
from pipelines.config.load import Config
from pipelines.data.batches import examples_per_batch
from pipelines.diagnosis.gaps import Metric
from pipelines.diagnosis.trainings import OWN
from pipelines.errors import UserError
from pipelines.terminal import short_value

FACTORS = (0.5, 2, 4)  # of the config's own size
LINEAR = ("gradient_descent", "momentum")
NOTICEABLE = 0.8  # of the config's own seconds: a size that needs less than this is faster


@dataclass(frozen=True)
class BatchSize:
    """What trainings with one size took and reached, as means over the seeds."""

    name: str
    size: int  # examples or, where mini-batches are measured in tokens, tokens
    learning_rate: float
    epoch_seconds: float  # of a typical epoch, with its validation
    score: float  # of the best epoch
    seconds: float  # until the error was as low as that of the worst size at its best


@dataclass(frozen=True)
class BatchSizes:
    """The sizes, smallest first; `own` is that of the config."""

    own: int
    sizes: list[BatchSize]

    @property
    def fastest(self) -> BatchSize:
        """The size that reached first what all sizes reach."""
        return min(self.sizes, key=lambda each: each.seconds)

    def sentence(self, metric: Metric) -> str:
        """Say which size is faster than the config's own, and what it reaches at its best."""
        own = next(each for each in self.sizes if each.size == self.own)
        best = self.fastest
        if best.seconds > NOTICEABLE * own.seconds:
            return f"no other size of the mini-batches learns noticeably faster than {self.own}"
        return (
            f"mini-batches of {best.size} reach in {short_value(best.seconds)} s what those of {self.own} reach in"
            f" {short_value(own.seconds)} s; at its best, {metric.name} is {short_value(best.score)} with"
            f" {best.size}, and {short_value(own.score)} with {self.own}"
        )

    def record(self) -> dict[str, Any]:
        """Return it for `diagnosis.json`."""
        return {**asdict(self), "fastest": self.fastest.size}


def own_size(config: Config, examples: int) -> int:
    """Return the size of the mini-batches of a config with `examples` training examples; in tokens if it says so."""
    batches = config.batches
    if "tokens" in batches or "steps" in batches:
        return int(batches.get("tokens") or batches["size"])
    return examples_per_batch(examples, batches["size"], batches.get("least_steps", 1))


def batch_sizes_to_try(config: Config, examples: int) -> dict[int, dict[str, Any]]:
    """Return half, twice and four times the own size, with the settings that go with each.

    The learning rate grows with the size for gradient descent (Goyal et al. 2017), and with its square root for
    optimizers that divide by the size of the gradients (Malladi et al. 2022).

    Raises:
        UserError: If the training split is too small for other sizes.
    """
    own = own_size(config, examples)
    unit = "tokens" if "tokens" in config.batches else "size"
    most = float("inf") if "tokens" in config.batches or "steps" in config.batches else examples / 2
    sizes = [int(own * factor) for factor in FACTORS if 1 <= own * factor <= most]
    if not sizes:
        raise UserError("--batch-sizes", f"the training split has {examples} examples, too few to compare batch sizes")
    power = 1.0 if config.optimizer["name"] in LINEAR else 0.5
    rate = config.optimizer["learning_rate"]
    least = {"batches.least_steps": 1} if "least_steps" in config.batches else {}
    return {
        size: {
            f"batches.{unit}": size,
            **least,
            "optimizer.learning_rate": float(f"{rate * (size / own) ** power:.3g}"),
        }
        for size in sizes
    }


def named(sizes: dict[int, dict[str, Any]]) -> Candidates:
    """Name each size for the journal and the messages."""
    return {f"mini-batches of {size}": changes for size, changes in sizes.items()}


def compare_batch_sizes(
    trainings: Trainings, config: Config, own: int, sizes: dict[int, dict[str, Any]], metric: Metric
) -> BatchSizes | None:
    """Compare the trainings; None if the own size, or each of the others, has none that ended."""
    found = {OWN: (own, config.optimizer["learning_rate"])}
    found |= {f"mini-batches of {size}": (size, each["optimizer.learning_rate"]) for size, each in sizes.items()}
    paths = {name: _histories(trainings, name, metric) for name in found}
    paths = {name: each for name, each in paths.items() if each}
    if OWN not in paths or len(paths) < 2:
        return None
    reached = max(float(np.mean([errors.min() for _, errors in each])) for each in paths.values())
    rows = [
        BatchSize(
            name,
            *found[name],
            epoch_seconds=float(np.mean([np.median(np.diff(seconds, prepend=0.0)) for seconds, _ in each])),
            score=float(metric.score(np.mean([errors.min() for _, errors in each]))),
            seconds=float(np.mean([_first(seconds, errors, reached) for seconds, errors in each])),
        )
        for name, each in paths.items()
    ]
    return BatchSizes(own, sorted(rows, key=lambda row: row.size))


def draw_batch_sizes(trainings: Trainings, compared: BatchSizes, metric: Metric) -> Figure:
    """Draw the error on validation by seconds of training, a line for each training."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, each in enumerate(compared.sizes):
        for seed, (seconds, errors) in enumerate(_histories(trainings, each.name, metric)):
            own = " (own)" if each.size == compared.own else ""
            label = None if seed else f"{each.size}{own}"
            axes.plot(seconds, errors, color=f"C{number}", alpha=0.8, label=label)
    axes.set(xlabel="seconds of training, with validation", ylabel=f"{metric.words} on validation", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(title="size of a mini-batch")
    return figure


def _histories(trainings: Trainings, name: str, metric: Metric) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the seconds and the errors of the epochs of each training that has a score."""
    histories = [trainings.run_of(trial).history() for trial in trainings.scored(name)]
    column = f"validation.{metric.name}"
    return [(each["seconds"].to_numpy(), metric.error(each[column].to_numpy())) for each in histories]


def _first(seconds: np.ndarray, errors: np.ndarray, reached: float) -> float:
    """Return when an error was reached; the time of the lowest error if a seed never reached it."""
    low = np.flatnonzero(errors <= reached)
    return float(seconds[low[0]] if len(low) else seconds[errors.argmin()])
