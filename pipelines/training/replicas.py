"""The training step on several devices: each takes its part of a mini-batch, and the weights are updated once.

Keras's model and optimizer see one device. Only the forward and the backward pass run on all, with the weights as
plain tensors; what is summed between the devices is weighed, so that the sums are those of one device.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from pipelines.losses import batch_weight
from pipelines.training.devices import Devices, worker_loss
from pipelines.training.precision import computing_in

Tensors = list[tf.Tensor]


def train_on(devices: Devices, model: keras.Model, precision: str) -> None:
    """Let `fit` of a compiled model divide each mini-batch among several devices."""

    def make_train_function(force: bool = False) -> None:
        if model.train_function is None or force:
            model.train_function = _train_function(devices, model, precision)

    model.make_train_function = make_train_function


def without_xla(model: keras.Model) -> bool:
    """Return whether XLA cannot compile the forward pass of a model for several devices.

    In batch normalization they exchange values, and a teacher in the loss has its variables on one of them.
    """
    return "compute_loss" in vars(model) or bool(_normalizations(model))


def _normalizations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def _train_function(devices: Devices, model: keras.Model, precision: str) -> Callable[[Iterator], dict]:
    """Return a function that takes as many steps as Keras wants at once, and returns the mean loss of the epoch."""
    update = _update(devices, model, precision)

    @tf.function(reduce_retracing=True)
    def steps(iterator: Iterator) -> None:
        for _ in tf.range(model.steps_per_execution):
            update(next(iterator))

    def train_function(iterator: Iterator) -> dict:
        with worker_loss():
            steps(iterator)
        return model.get_metrics_result()

    return train_function


def _update(devices: Devices, model: keras.Model, precision: str) -> Callable[[Any], None]:
    """Return a function that updates the weights with a mini-batch, of which each replica takes its part."""
    strategy, replicas, optimizer = devices.strategy, devices.replicas, model.optimizer
    assert strategy is not None  # because there are several replicas
    trainable, others = model.trainable_variables, model.non_trainable_variables
    gradients = _gradients(model)
    if model.jit_compile:
        gradients = tf.function(gradients, jit_compile=True, reduce_retracing=True, autograph=False)
    apply = tf.function(
        lambda values: optimizer.apply(values, trainable), jit_compile=model.jit_compile, autograph=False
    )

    def replica(batch: Any, weights: Tensors, state: Tensors, scale: tf.Tensor) -> tuple[Tensors, Tensors]:
        context = tf.distribute.get_replica_context()
        at = context.replica_id_in_sync_group

        def part(values: tf.Tensor) -> tf.Tensor:
            count = tf.shape(values)[0]
            return values[count * at // replicas : count * (at + 1) // replicas]

        with tf.device("CPU:0"):  # where the mini-batch is
            x, y, sample_weight = tf.nest.map_structure(part, batch)
            share = batch_weight(model.loss, y, sample_weight)
        share = tf.math.divide_no_nan(share, context.all_reduce(tf.distribute.ReduceOp.SUM, share))
        own = [_shift(variable, value, at) for variable, value in zip(others, state, strict=True)]
        results, changed = gradients(x, y, sample_weight, weights, own, share, scale)
        changed = [_shift(variable, value, -at) for variable, value in zip(others, changed, strict=True)]
        return context.all_reduce(tf.distribute.ReduceOp.SUM, results), changed

    def update(batch: Any) -> None:
        values = [[tf.convert_to_tensor(variable) for variable in each] for each in (trainable, others)]
        with computing_in(model, precision), _synchronised(model):
            results = strategy.run(replica, args=(batch, *values, optimizer.scale_loss(tf.ones([]))))
        (loss, *summed), changed = tf.nest.map_structure(lambda v: strategy.experimental_local_results(v)[0], results)
        apply(summed)
        for variable, value in zip(others, changed, strict=True):
            variable.assign(value)
        model._loss_tracker.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(batch)[0])[0])

    return update


def _gradients(model: keras.Model) -> Callable[..., tuple[Tensors, Tensors]]:
    """Return a function of a part of a mini-batch: its share of the loss and of the gradients, and the new state.

    Variables of one device cannot be used in a computation that XLA compiles for another, so it is given all values.
    The loss is weighed before the gradient is computed, because devices exchange values within the backward pass too.
    """
    trainable, others = model.trainable_variables, model.non_trainable_variables

    def gradients(
        x: Any,
        y: tf.Tensor,
        sample_weight: tf.Tensor,
        weights: Tensors,
        state: Tensors,
        share: tf.Tensor,
        scale: tf.Tensor,
    ) -> tuple[Tensors, Tensors]:
        mapping = [*zip(trainable, weights, strict=True), *zip(others, state, strict=True)]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            with keras.StatelessScope(state_mapping=mapping) as scope:
                y_pred = model(x, training=True)
                loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            loss = tf.math.multiply_no_nan(loss, tf.cast(share, loss.dtype))  # the part may be empty
            scaled = loss * tf.cast(scale, loss.dtype)
        found = tape.gradient(scaled, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        changed = [scope.get_current_value(variable) for variable in others]
        return [loss, *map(tf.convert_to_tensor, found)], changed

    return gradients


def _shift(variable: keras.Variable, value: tf.Tensor, by: Any) -> tf.Tensor:
    """Give each replica its own random numbers; replica 0 has those of a single device."""
    if not variable.path.endswith("seed_generator_state"):
        return value
    return value + tf.cast(tf.stack([by, 0]), value.dtype)


@contextmanager
def _synchronised(model: keras.Model) -> Iterator[None]:
    """Let batch normalization use the statistics of all devices, in what is traced meanwhile."""
    layers = _normalizations(model)
    for layer in layers:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = False
