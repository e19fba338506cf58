"""Choose XLA compilation and steps per execution by a fixed rule, not by timing."""

from typing import Annotated, Literal

import keras
import tensorflow as tf
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic needs Python 3.12 for the standard one

from pipelines.errors import UserError

MOST_STEPS = 128  # per execution, because the progress display only updates in between
WITHOUT_XLA = (  # layers that make XLA slower on a CPU: its random numbers and convolutions cost more than fusion saves
    keras.layers.Dropout,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
)


Deterministic = Annotated[
    bool,
    Field(
        description="deterministic operations on a GPU, which disables XLA; on a CPU, runs are always"
        " bitwise reproducible"
    ),
]


@with_config(ConfigDict(extra="forbid", strict=True))
class Execution(TypedDict):
    """Execution settings of a compiled training step."""

    jit_compile: Annotated[bool, Field(description="compile the training step with XLA")]
    steps_per_execution: Annotated[int, Field(ge=1, description="number of training steps per call from Python")]


def resolve_execution(
    execution: Execution | Literal["auto"],
    model: keras.Model,
    steps_per_epoch: int,
    varying: bool,
    without_xla: bool = False,
) -> Execution:
    """Resolve `auto` to concrete settings; `benchmarks/results/*_speed.md` has the measurements behind the rule.

    `auto` turns XLA on, with two exceptions: a model with dropout or convolutions on a CPU, and inputs of varying
    length (`varying`), for which XLA would compile the step again for each length. `without_xla` says that XLA cannot
    be used because of several devices.
    Steps per execution is reduced to a divisor of `steps_per_epoch`, so that an epoch keeps its number of steps.

    Raises:
        UserError: If XLA is asked for where it cannot be used.
    """
    if isinstance(execution, str):  # auto
        hindered = any(map(_hinders, model._flatten_layers()))
        on_cpu = not tf.config.list_physical_devices("GPU")
        jit_compile = not (varying or without_xla or (hindered and on_cpu))
        execution = {"jit_compile": jit_compile, "steps_per_execution": MOST_STEPS}
    if execution["jit_compile"] and without_xla:
        problem = "is true, but on several devices, XLA cannot compile batch normalization or the loss of a teacher"
        raise UserError("training.execution.jit_compile", f"{problem}; set it to false, or training.execution to auto")
    return {**execution, "steps_per_execution": _largest_divisor(steps_per_epoch, execution["steps_per_execution"])}


def be_deterministic() -> None:
    """Let operations on a GPU be deterministic, from now on in this process; those on a CPU are without this."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()  # Keras then turns XLA off


def _hinders(layer: keras.Layer) -> bool:
    """Return whether a layer makes XLA slower on a CPU; dropout with rate 0 does not."""
    return isinstance(layer, WITHOUT_XLA) and getattr(layer, "rate", True) != 0


def _largest_divisor(number: int, at_most: int) -> int:
    return next(divisor for divisor in range(min(number, at_most), 0, -1) if number % divisor == 0)
