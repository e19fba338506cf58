"""Let another process take the training steps of a model, with Keras on JAX.

This process keeps TensorFlow: it makes the mini-batches, validates, writes checkpoints and stops early, as always. Both
have the same model. Before an epoch, the other process is given the values of all variables; after it, they come back.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from multiprocessing import Pipe
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from pipelines.config.validation import Config
from pipelines.data.batches import Batches
from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.task import Preprocessor
from pipelines.training.devices import cluster_size
from pipelines.training.jax_worker import Recipe
from pipelines.training.variables import grouped_variables
from pipelines.tuning.pools import ending

SETTING = "training.backend"
ROOT = str(Path(__file__).parents[2])
STDERR = 2  # file descriptor: what a library prints must not mix with what a command prints
SHORTEST = 8  # length that shorter sequences are padded to

BackendName = Annotated[
    Literal["auto", "tensorflow", "jax"],
    Field(
        description="library that computes the training steps; jax: in a second process, while TensorFlow makes the"
        " mini-batches, validates and exports; auto: tensorflow"
    ),
]


class JaxProcess:
    """The process that takes the training steps, on a `device` such as "NVIDIA H200"."""

    def __init__(self, batches: Batches):
        self.device = ""
        self._steps_per_epoch, self._specs, self._any_size = batches.steps_per_epoch, batches.specs, batches.of_any_size
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")])),
            "XLA_PYTHON_CLIENT_PREALLOCATE": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),
        }
        self._connection, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "pipelines.training.jax_worker", str(theirs.fileno())]
        self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], stdout=STDERR)
        theirs.close()

    def prepare(self, config: Config, preprocessor: Preprocessor, model: keras.Model) -> None:
        """Let the process build the model of a config, with the weights that `model` has."""
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "model.weights.h5"
            model.save_weights(weights)
            given = loaded_code(), pickle.dumps(config), preprocessor.state, weights, self._steps_per_epoch
            self._send(Recipe(*given))
            self._send(("device", None))
            self.device = self._answer()  # once it has read the weights

    def assign(self, values: list[np.ndarray]) -> None:
        """Give all variables their values, in the order of `grouped_variables`."""
        self._send(("assign", values))

    def take(self, batch: Any) -> None:
        """Take a step with a mini-batch, later."""
        self._send(("batch", with_few_shapes(batch, self._specs, self._any_size)))

    def values(self) -> list[np.ndarray]:
        """Return the values of all variables after the steps so far."""
        self._send(("values", None))
        return self._answer()

    def end(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            self._answer()
            raise

    def _answer(self) -> Any:
        """Return what the process answers.

        Raises:
            UserError: If the process raised one, or was killed.
        """
        try:
            what, given = self._connection.recv()
        except (EOFError, OSError):
            self._process.wait()
            problem = f"the process that trains on JAX ended with {ending(self._process.returncode)}"
            raise UserError(SETTING, f"{problem}; continue with --resume") from None
        if what == "mistake":
            raise UserError(*given)
        if what == "bug":
            raise RuntimeError(f"training on JAX failed:\n{given}")
        return given


@contextmanager
def backend_process(
    config: Config, model: keras.Model, learner: keras.Model, preprocessor: Preprocessor, batches: Batches
) -> Iterator[JaxProcess | None]:
    """Start the process that takes the training steps of a config, and end it; None if this process takes them.

    `learner` is what is trained of `model`.

    Raises:
        UserError: If the config cannot be trained on JAX.
    """
    if backend_of(config) != "jax" or not learner.trainable_variables:
        yield None
        return
    check_backend(config)
    process = JaxProcess(batches)
    try:
        process.prepare(config, preprocessor, model)
        yield process
    finally:
        process.end()


def backend_of(config: Config) -> str:
    """Return the library that computes the training steps of a config."""
    backend = config.whole["training"]["backend"]
    return "tensorflow" if backend == "auto" else backend


def check_backend(config: Config) -> None:
    """Check that the library that a config trains with is installed, and can do what the config asks for.

    Raises:
        UserError: If not.
    """
    if backend_of(config) != "jax":
        return
    if find_spec("jax") is None:
        raise UserError(SETTING, "is jax, which is not installed; install it with: pip install '.[jax]' in the clone")
    devices = config.whole["training"]["devices"]
    if devices["strategy"] not in ("auto", "one") or (devices["count"] or 1) > 1:
        raise UserError("training.devices", f"asks for several devices, but {SETTING} is jax; set it to tensorflow")
    if cluster_size() > 1:
        raise UserError(SETTING, "is jax, which trains in one process; start only one, or set it to tensorflow")
    if config.distill is not None:
        raise UserError("distill", f"cannot be used while {SETTING} is jax; set it to tensorflow")
    model = config.models[config.model]
    for name, off in (("unfreeze_after_epochs", "0"), ("lora_rank", "null")):
        if model.get(name) and not model.get("freeze"):
            problem = f"cannot be used while {SETTING} is jax; set it to {off}, or {SETTING} to tensorflow"
            raise UserError(f"models.{config.model}.{name}", problem)


class Exchange(keras.callbacks.Callback):
    """Give the values of all variables to the other process before an epoch, and take them back after it.

    They also come back when the `Keeper` wants to write a checkpoint within an epoch.
    """

    def __init__(self, process: JaxProcess, due: Callable[[], bool]):
        super().__init__()
        self.process, self.due = process, due

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Give the values, after all callbacks that begin an epoch."""
        if batch == 0:
            self.process.assign([variable.numpy() for variable in chain(*grouped_variables(self.model))])

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Take the values back, before the callbacks that use them."""
        if batch + 1 == self.params["steps"] or self.due():
            for variable, value in zip(chain(*grouped_variables(self.model)), self.process.values(), strict=True):
                variable.assign(value.astype(variable.dtype))


def train_in(process: JaxProcess, model: keras.Model) -> None:
    """Let `fit` of a compiled model hand each mini-batch to the other process."""

    def train_function(iterator: Iterator) -> dict:
        process.take(next(iterator))
        return {"loss": np.nan}  # Keras computes it from the variables at the end of the epoch

    def make_train_function(force: bool = False) -> None:
        model.train_function = train_function

    model.make_train_function = make_train_function


def with_few_shapes(batch: Any, specs: Any, any_size: bool) -> Any:
    """Return a mini-batch as arrays, padded to one of a few lengths, because JAX compiles the step for each shape.

    Only what already has a length that depends on the other examples is padded: with zeros, whose weights are zero too.
    So is the number of examples, if it may be `any_size`.
    """
    rows = len(tf.nest.flatten(batch)[0])
    wanted = _rounded(rows) if any_size else rows

    def padded(tensor: tf.Tensor, spec: tf.TensorSpec) -> np.ndarray:
        array = tensor.numpy()
        own = zip(array.shape[1:], spec.shape[1:], strict=True)
        sizes = [wanted, *(_rounded(size) if fixed is None else size for size, fixed in own)]
        return np.pad(array, [(0, size - has) for size, has in zip(sizes, array.shape, strict=True)])

    return tf.nest.map_structure(padded, batch, specs)


def _rounded(size: int) -> int:
    """Return the next of 8, 12, 16, 24, 32, 48, ..."""
    power = max(SHORTEST, 1 << (size - 1).bit_length())
    return power * 3 // 4 if power > SHORTEST and size <= power * 3 // 4 else power
