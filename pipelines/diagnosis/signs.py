"""Look for the reasons of a verdict: in the history, and in the layers while they see a few training examples.

Shapes: B examples of a mini-batch, U units of a layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.build import build
from pipelines.diagnosis.batch_sizes import own_size
from pipelines.diagnosis.noise import NoiseScale, noise_scale
from pipelines.errors import counted
from pipelines.task import evenly_spaced
from pipelines.trained_model import TrainedModel

SEEN = 512  # training examples at most
FALLING = 0.01  # share of the loss; by more per epoch, over the last quarter of the epochs, it is still falling
RISE = 0.05  # share of the loss of the first epoch
MINI_BATCHES = 8
NEARLY_ALL = 0.95  # share of the examples
MANY = 0.2  # share of a layer's units
SATURATED = 0.98  # of the largest value of tanh or sigmoid: the slope is below 4 % or 8 % of the steepest
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
    """Return the figures of each layer with weights or a known activation, and the noise of the gradients.

    Both are measured on a few mini-batches as in training.
    """
    model, config, task = trained.model, trained.config, trained.task
    model.compile(loss=build(config.loss, task.losses, "name"), jit_compile=False, auto_scale_loss=False)
    how = {**config.batches, **({"least_steps": 1} if "least_steps" in config.batches else {})}  # which are larger
    batches = task.batches(examples, trained.preprocessor, seed=config.seed, **how)
    variables = model.trainable_variables
    total = [tf.zeros(variable.shape) for variable in variables]
    norms, sizes = [], []  # of the gradients of each mini-batch, and its examples
    with _watched(model) as seen:
        for inputs, labels, weights in batches.stream(0).take(min(MINI_BATCHES, batches.steps_per_epoch)):
            with tf.GradientTape() as tape:
                outputs = model(inputs, training=False)
                value = model.compute_loss(inputs, labels, outputs, weights, training=False)
            found = tape.gradient(value, [variable.value for variable in variables]) if variables else []
            total = [one if other is None else one + other for one, other in zip(total, found, strict=True)]
            norms.append(float(sum(tf.reduce_sum(tf.square(each)) for each in found if each is not None)))
            sizes.append(len(tf.nest.flatten(inputs)[0]))
    squares = {v.path: float(tf.reduce_sum(tf.square(each))) for v, each in zip(variables, total, strict=True)}
    layers = []
    for layer in _layers(model):
        own = [variable for variable in layer.trainable_variables if variable.path in squares]
        count = sum(int(np.prod(variable.shape)) for variable in own)
        activation, *values = seen.get(id(layer), [""])
        if count or values:
            rms = float(np.sqrt(sum(squares[variable.path] for variable in own) / count)) if count else None
            layers.append(Layer(layer.name, rms, *_shares(activation, values)))
    return layers, noise_scale(norms, sizes, sum(squares.values()))


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


@contextmanager
def _watched(model: keras.Model) -> Iterator[dict[int, list[Any]]]:
    """Collect the activation's name, then its values (B * positions, U) in each mini-batch, by layer."""
    seen: dict[int, list[Any]] = {}
    own = [layer for layer in _layers(model) if callable(vars(layer).get("activation"))]
    before = {id(layer): layer.activation for layer in own}

    def watch(layer: keras.Layer) -> None:
        activation = layer.activation

        def watching(x: keras.KerasTensor) -> keras.KerasTensor:
            values = activation(x)
            if hasattr(values, "numpy"):  # not inside a graph
                kept = seen.setdefault(id(layer), [getattr(activation, "__name__", "")])
                kept.append(values.numpy().reshape(-1, values.shape[-1]))
            return values

        layer.activation = watching

    for layer in own:
        watch(layer)
    try:
        yield seen
    finally:
        for layer in own:
            layer.activation = before[id(layer)]


def _layers(model: keras.Model) -> list[keras.Layer]:
    """Return the innermost layers."""
    return [each for each in model._flatten_layers(include_self=False) if not list(each._flatten_layers(False))]


def _shares(activation: str, values: list[np.ndarray]) -> tuple[float | None, float | None]:
    """Return the shares of dead and of saturated units."""
    if activation not in ("relu", "tanh", "sigmoid") or not values:
        return None, None
    by_unit = np.concatenate(values)
    if activation == "relu":
        return float((by_unit == 0).all(axis=0).mean()), None
    flat = np.abs(by_unit if activation == "tanh" else 2 * by_unit - 1) > SATURATED
    return None, float((flat.mean(axis=0) > NEARLY_ALL).mean())
