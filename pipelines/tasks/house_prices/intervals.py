"""Intervals of prices by conformalized quantile regression (Romano, Patterson and Candes 2019), in the graph.

The quantiles are distances below and above the model's own price, so every model has them and none changes. A small
network learns them from the training split after the model; the validation split then widens or narrows them.

Shapes: B houses, N houses of a split, I inputs of the network.
"""

from collections.abc import Iterator, Mapping

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import ops

from pipelines.data.batches import raw_batches
from pipelines.statistics.conformal import upper_bound
from pipelines.task import Confidence, Tensors, evenly_spaced
from pipelines.tasks.house_prices.preprocessing import TablePreprocessor

UNITS, EPOCHS, PATIENCE = 32, 60, 5
LEARNING_RATE, L2 = 3e-3, 1e-3
STEPS, SMALLEST_BATCH = 20, 32  # mini-batches per epoch; houses in one at least
MOST_HOUSES = 20_000  # of train; more do not change two quantiles noticeably
HELD_OUT = 0.2  # share of these that early stopping uses
SMALLEST, LARGEST = -7.0, 3.0  # logarithm of a distance, in deviations of the target


def fit_intervals(
    model: keras.Model,
    preprocessor: TablePreprocessor,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    coverage: float,
    seed: int,
) -> Confidence:
    """Learn the distances on the training split, and their correction on the validation split."""
    parts = _errors(model, preprocessor, evenly_spaced(train, MOST_HOUSES), training=True)
    inputs, errors = (np.concatenate(each) for each in zip(*parts, strict=True))
    network = _fit_network(inputs, errors, coverage, seed)
    (hidden, hidden_bias), (kernel, bias) = (layer.get_weights() for layer in network.layers)
    learnt = {"hidden": hidden, "hidden_bias": hidden_bias, "kernel": kernel, "bias": bias}
    outside = []
    for inputs, errors in _errors(model, preprocessor, validation, training=False):
        below, above = distances(learnt, tf.constant(inputs)).numpy().T
        outside.append(np.maximum(-errors - below, errors - above))
    correction = upper_bound(np.concatenate(outside), coverage)
    rest = {"correction": correction, "coverage": coverage, "calibrated_on": len(validation)}
    return {**learnt, **{name: np.array(value, "float32") for name, value in rest.items()}}


def distances(confidence: Confidence, inputs: tf.Tensor) -> tf.Tensor:
    """Return the distances to the lower and the upper quantile (B, 2), as logarithms are learnt, for inputs (B, I)."""
    hidden = tf.nn.relu(inputs @ confidence["hidden"] + confidence["hidden_bias"])
    return tf.exp(tf.clip_by_value(hidden @ confidence["kernel"] + confidence["bias"], SMALLEST, LARGEST))


def interval(confidence: Confidence, inputs: Tensors, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the lower and the upper bound (B,) of scaled prices, for model inputs and scaled prices (B,)."""
    below, above = tf.unstack(distances(confidence, _joined(inputs, label)), axis=1)
    more = confidence["correction"]  # a negative one narrows the interval, but never so far that the price is outside
    return label - tf.maximum(below + more, 0.0), label + tf.maximum(above + more, 0.0)


def interval_metrics(true: np.ndarray, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the share of true prices (N,) in their intervals, and the mean width in the unit of the target."""
    low, high = (answers[name].astype("float64") for name in ("price_low", "price_high"))
    inside = (true >= low) & (true <= high)
    return {"interval_coverage": float(inside.mean()), "interval_width": float((high - low).mean())}


def _joined(inputs: Tensors, label: tf.Tensor) -> tf.Tensor:
    parts = [tf.cast(inputs[name], tf.float32) for name in ("numeric", "category", "text") if name in inputs]
    return tf.concat([*parts, label[:, None]], axis=1)


def _errors(
    model: keras.Model, preprocessor: TablePreprocessor, examples: pd.DataFrame, training: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the inputs of the network (B, I), and the scaled prices minus the model's (B,), batch by batch."""

    @tf.function(autograph=False, reduce_retracing=True)
    def one_batch(raw: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        inputs, labels, _ = preprocessor.example(raw, training=training)
        label = ops.mean(model(inputs, training=False), axis=-1)
        return _joined(inputs, label), labels[:, 0] - label

    for raw in raw_batches(examples):
        inputs, errors = one_batch(raw)
        yield inputs.numpy(), errors.numpy()


def _fit_network(inputs: np.ndarray, errors: np.ndarray, coverage: float, seed: int) -> keras.Model:
    """Fit the logarithms of both distances (B, 2) with the pinball loss (Koenker and Bassett 1978)."""
    level = (1 + coverage) / 2
    start = np.log(np.maximum([np.quantile(-errors, level), np.quantile(errors, level)], np.exp(SMALLEST)))
    order = np.random.default_rng(seed).permutation(len(inputs))
    used, held = np.split(order, [max(1, int(len(order) * (1 - HELD_OUT)))])
    held = held if len(held) else used

    def pinball(true: keras.KerasTensor, logarithm: keras.KerasTensor) -> keras.KerasTensor:
        beyond = ops.concatenate([-true, true], axis=-1) - ops.exp(ops.clip(logarithm, SMALLEST, LARGEST))
        return ops.sum(ops.maximum(level * beyond, (level - 1) * beyond), axis=-1)

    penalty = keras.regularizers.L2(L2)
    first = keras.initializers.HeNormal(seed=seed)
    network = keras.Sequential(
        [
            keras.Input((inputs.shape[1],)),
            keras.layers.Dense(UNITS, "relu", kernel_initializer=first, kernel_regularizer=penalty),
            keras.layers.Dense(2, kernel_initializer="zeros", kernel_regularizer=penalty),
        ]
    )
    network.layers[-1].bias.assign(start)  # the same distance everywhere
    network.compile(keras.optimizers.Adam(LEARNING_RATE), pinball, jit_compile=False)
    steps = np.array_split(used, max(1, min(STEPS, len(used) // SMALLEST_BATCH)))
    best, losses = network.get_weights(), [np.inf]
    while len(losses) <= EPOCHS and np.argmin(losses) >= len(losses) - PATIENCE:
        for step in steps:  # `fit` takes ten times as long to begin and end an epoch as these steps take
            network.train_on_batch(inputs[step], errors[step, None])
        losses.append(float(network.test_on_batch(inputs[held], errors[held, None])))
        best = network.get_weights() if losses[-1] < min(losses[:-1]) else best
    network.set_weights(best)
    return network
