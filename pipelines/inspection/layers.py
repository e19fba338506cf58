"""The layers of a model, and what they do on a few examples: their values, and the gradients of their weights.

Shapes: B examples of a mini-batch, U units of a layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.build import build
from pipelines.trained_model import TrainedModel

POSITIONS = 4096  # of a layer in a mini-batch, kept at most: images have many
NEARLY_ALL = 0.95  # share of the examples
SATURATED = 0.98  # of the largest value of tanh or sigmoid: the slope is below 4 % or 8 % of the steepest


@dataclass(frozen=True)
class SeenLayer:
    """A layer on a few examples: what its activation gave, if it has one, and the gradients of its weights."""

    name: str
    activation: str
    values: np.ndarray | None  # (B * positions, U)
    gradients: np.ndarray | None  # one for each weight

    @property
    def gradient(self) -> float | None:
        """The root mean square of the gradients."""
        return None if self.gradients is None else float(np.sqrt(np.mean(np.square(self.gradients))))

    @property
    def dead(self) -> float | None:
        """The share of units that are 0 for all examples, of a layer with relu."""
        if self.activation != "relu" or self.values is None:
            return None
        return float((self.values == 0).all(axis=0).mean())

    @property
    def saturated(self) -> float | None:
        """The share of units that are saturated for nearly all examples, of a layer with tanh or sigmoid."""
        if self.activation not in ("tanh", "sigmoid") or self.values is None:
            return None
        flat = np.abs(self.values if self.activation == "tanh" else 2 * self.values - 1) > SATURATED
        return float((flat.mean(axis=0) > NEARLY_ALL).mean())


@dataclass(frozen=True)
class Seen:
    """What was seen over a few mini-batches: the layers, and the squared norms of the gradients of all weights."""

    layers: list[SeenLayer]
    norms: list[float]  # of each mini-batch
    sizes: list[int]  # its examples
    norm_of_sum: float  # of the sum over the mini-batches


def inner_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the innermost layers, in the order in which they were made."""
    # Keras has no public way into the layers of a layer.
    return [each for each in model._flatten_layers(include_self=False) if not list(each._flatten_layers(False))]


def watch_layers(trained: TrainedModel, examples: pd.DataFrame, mini_batches: int) -> Seen:
    """Return each layer with weights or an activation, seen over a few mini-batches that are encoded as in training.

    The gradients are the sums over the mini-batches.
    """
    model, config, task = trained.model, trained.config, trained.task
    model.compile(loss=build(config.loss, task.losses, "name"), jit_compile=False, auto_scale_loss=False)
    how = {**config.batches, **({"least_steps": 1} if "least_steps" in config.batches else {})}  # which are larger
    batches = task.batches(examples, trained.preprocessor, seed=config.seed, **how)
    variables = model.trainable_variables
    total = [tf.zeros(variable.shape) for variable in variables]
    norms, sizes = [], []
    with _watched(model) as seen:
        for inputs, labels, weights in batches.stream(0).take(min(mini_batches, batches.steps_per_epoch)):
            with tf.GradientTape() as tape:
                outputs = model(inputs, training=False)
                value = model.compute_loss(inputs, labels, outputs, weights, training=False)
            found = tape.gradient(value, [variable.value for variable in variables]) if variables else []
            total = [one if other is None else one + other for one, other in zip(total, found, strict=True)]
            norms.append(float(sum(tf.reduce_sum(tf.square(each)) for each in found if each is not None)))
            sizes.append(len(tf.nest.flatten(inputs)[0]))
    gradients = {variable.path: each.numpy().ravel() for variable, each in zip(variables, total, strict=True)}
    layers = []
    for layer in inner_layers(model):
        own = [gradients[each.path] for each in layer.trainable_variables if each.path in gradients]
        activation, *values = seen.get(id(layer), [""])
        if own or values:
            kept = np.concatenate(values) if values else None
            layers.append(SeenLayer(layer.name, activation, kept, np.concatenate(own) if own else None))
    whole = float(sum(np.sum(np.square(each, dtype="float64")) for each in gradients.values()))
    return Seen(layers, norms, sizes, whole)


@contextmanager
def _watched(model: keras.Model) -> Iterator[dict[int, list[Any]]]:
    """Collect the activation's name, then its values (B * positions, U) in each mini-batch, by layer."""
    seen: dict[int, list[Any]] = {}
    own = [layer for layer in inner_layers(model) if callable(vars(layer).get("activation"))]
    before = {id(layer): layer.activation for layer in own}

    def watch(layer: keras.Layer) -> None:
        activation = layer.activation

        def watching(x: keras.KerasTensor) -> keras.KerasTensor:
            values = activation(x)
            if hasattr(values, "numpy"):  # not inside a graph
                kept = seen.setdefault(id(layer), [getattr(activation, "__name__", "")])
                flat = values.numpy().reshape(-1, values.shape[-1])
                kept.append(flat[:: -(-len(flat) // POSITIONS)])
            return values

        layer.activation = watching

    for layer in own:
        watch(layer)
    try:
        yield seen
    finally:
        for layer in own:
            layer.activation = before[id(layer)]
