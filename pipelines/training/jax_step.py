"""The training step of a Keras model on JAX; nothing in this module needs TensorFlow."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import jax
import keras
import numpy as np

from pipelines.training.precision import scale_loss, step_in
from pipelines.training.variables import grouped_variables


class JaxStep:
    """Take training steps of a model whose Keras backend is JAX.

    The values of its variables are on the device, and in `values`; the variables of the model do not follow.
    """

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer, loss: keras.Loss, precision: str):
        model.compile(scale_loss(optimizer, precision), loss, auto_scale_loss=False)
        model.optimizer.build(model.trainable_variables)
        self._groups = grouped_variables(model)
        self._step = jax.jit(partial(step_in, model, precision), donate_argnums=0)
        self.state = [[variable.value for variable in group] for group in self._groups]
        self.logs: dict[str, Any] = {}  # of the last step

    def take(self, batch: Any) -> None:
        """Take a step with a mini-batch: inputs, labels and weights.

        The device computes it later. This only waits for the step before, so that few mini-batches are in memory.
        """
        before, (self.logs, self.state) = self.logs, self._step(self.state, batch)
        jax.block_until_ready(before)

    @property
    def device(self) -> str:
        """The kind of the device that computes the steps; "CPU" for a processor, as TensorFlow has it."""
        kind = jax.devices()[0].device_kind
        return "CPU" if kind == "cpu" else kind

    @property
    def values(self) -> list[np.ndarray]:
        """The values of `grouped_variables`, after all steps."""
        return [np.asarray(value) for value in chain(*self.state)]

    @values.setter
    def values(self, values: Sequence[np.ndarray]) -> None:
        given = iter(values)
        self.state = [
            [jax.numpy.asarray(next(given).astype(variable.dtype)) for variable in group] for group in self._groups
        ]
