"""Look for the reasons of a verdict: in the history, and in the layers while they see a few training examples."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipelines.diagnosis.batch_sizes import own_size
from pipelines.diagnosis.noise import NoiseScale, noise_scale
from pipelines.errors import counted
from pipelines.inspection.layers import watch_layers
from pipelines.task import evenly_spaced
from pipelines.trained_model import TrainedModel

SEEN = 512  # training examples at most
FALLING = 0.01  # share of the loss; by more per epoch, over the last quarter of the epochs, it is still falling
RISE = 0.05  # share of the loss of the first epoch
MINI_BATCHES = 8
MANY = 0.2  # share of a layer's units
VANISHING = 1e-4  # share of the largest gradient per weight of all layers


@dataclass(frozen=True)
class Layer:
    """What a layer does on a few training examples: the shares of units are None without a known activation."""

    name: str
    gradient: float | None  # root mean square over the weights
    dead: float | None = None  # share of units that are 0 for all examples
    saturated: float | None = None  # share of units that are saturated for nearly all examples


@dataclass(frozen=True)
class Signs:
    """What the history and the layers show, in sentences, with the figures of the layers."""

    still_learning: bool
    sentences: list[str]
    layers: list[Layer]
    noise: NoiseScale | None = None  # of the gradients; None if it cannot be measured

    def record(self) -> dict[str, Any]:
        """Return them for `diagnosis.json`."""
        return asdict(self)


def find_signs(history: pd.DataFrame, trained: TrainedModel, train: pd.DataFrame, monitor: str) -> Signs:
    """Look at the history and at the layers; the examples are encoded as for training."""
    config = trained.config
    layers, noise = look_at_layers(trained, evenly_spaced(train, SEEN))
    still, sentences = read_history(history, config.training["epochs"], monitor)
    about_noise = []
    if noise is not None:
        in_tokens = "tokens" in config.batches
        about_noise = [noise.sentence(noise.per_batch if in_tokens else own_size(config, len(train)))]
    return Signs(still, [*sentences, *_about(layers), *about_noise], layers, noise)


def read_history(history: pd.DataFrame, epochs: int, monitor: str) -> tuple[bool, list[str]]:
    """Return whether training ended too early, and what the history shows."""
    said, count = [], len(history)
    loss, best = history["loss"].to_numpy(), int(history["best_epoch"].iloc[-1])
    last = loss[-max(2, count // 4) :]
    falls = (last[0] - last[-1]) / abs(last[0]) / (len(last) - 1) if len(last) > 1 and last[0] else 0.0
    if falls > FALLING:
        said.append(f"the training loss was still falling at the end, by {falls:.1%} per epoch")
    if best == count and count > 1:
        said.append(f"the best epoch is the last one ({count})")
    elif best < count and loss[-1] < loss[best - 1]:
        said.append(
            f"after the best epoch ({best} of {count}) the training loss still fell, but {monitor} did not improve"
        )
    rises = np.flatnonzero(np.diff(loss) > RISE * abs(loss[0]))
    if len(rises):
        rate = history["learning_rate"].to_numpy()[rises + 1].max()
        said.append(
            f"the training loss jumped up after {counted(len(rises), 'epoch')}; the learning rate, {rate:.2g} there,"
            " may be too large"
        )
    return best == count > 1 or (falls > FALLING and count == epochs), said


def look_at_layers(trained: TrainedModel, examples: pd.DataFrame) -> tuple[list[Layer], NoiseScale | None]:
    """Return the figures of each layer with weights or an activation, and the noise of the gradients.

    Both are measured on a few mini-batches as in training.
    """
    seen = watch_layers(trained, examples, MINI_BATCHES)
    layers = [Layer(each.name, each.gradient, each.dead, each.saturated) for each in seen.layers]
    return layers, noise_scale(seen.norms, seen.sizes, seen.norm_of_sum)


def _about(layers: list[Layer]) -> Iterator[str]:
    for layer in layers:
        if (layer.dead or 0) > MANY:
            yield (
                f"{layer.dead:.0%} of the units of {layer.name} are dead: 0 for every example; a smaller"
                " learning rate or another activation helps"
            )
        if (layer.saturated or 0) > MANY:
            yield f"{layer.saturated:.0%} of the units of {layer.name} are saturated, so that they hardly learn"
    sizes = {layer.name: layer.gradient for layer in layers if layer.gradient is not None}
    largest = max(sizes.values(), default=0.0)
    small = [name for name, size in sizes.items() if size < VANISHING * largest]
    if not all(map(np.isfinite, sizes.values())):
        yield "some gradients are NaN or infinite"
    elif small:
        yield f"the gradients of {', '.join(small[:3])} vanish: below {VANISHING:g} of the largest"
