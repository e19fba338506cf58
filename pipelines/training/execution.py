"""How a model's training step is executed: XLA and steps per execution, by a rule and not by a race."""

from typing import Annotated, Literal

import keras
import tensorflow as tf
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # pydantic reads the standard one from Python 3.12 on

MOST_STEPS = 128  # per execution: the progress display stands still in between
WITHOUT_XLA = (  # on a CPU: it draws random numbers and convolves at more cost than its fusion saves
    keras.layers.Dropout,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
)


class Execution(TypedDict):
    """The two settings of a compiled training step."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)
    jit_compile: Annotated[bool, Field(description="compile the training step with XLA")]
    steps_per_execution: Annotated[int, Field(ge=1, description="training steps in one call from Python")]


def resolve_execution(
    execution: Execution | Literal["auto"], model: keras.Model, steps_per_epoch: int, varying: bool
) -> Execution:
    """Decide `auto`; `benchmarks/results/*_speed.md` hold the figures behind the rule.

    XLA is on, but for a model with dropout or convolutions on a CPU, and for inputs that vary in length, as it
    would compile the step anew for each length: `varying`.
    Steps per execution are the most that divide an epoch, so that an epoch stays one.
    """
    if execution == "auto":
        hindered = any(map(_hinders, model._flatten_layers()))
        on_cpu = not tf.config.list_physical_devices("GPU")
        jit_compile = not (varying or (hindered and on_cpu))
        execution = {"jit_compile": jit_compile, "steps_per_execution": MOST_STEPS}
    return {**execution, "steps_per_execution": _largest_divisor(steps_per_epoch, execution["steps_per_execution"])}


def _hinders(layer: keras.Layer) -> bool:
    """Say whether a layer, be it within another, keeps XLA from paying; a dropout of nothing does not."""
    return isinstance(layer, WITHOUT_XLA) and getattr(layer, "rate", True) != 0


def _largest_divisor(number: int, at_most: int) -> int:
    return next(divisor for divisor in range(min(number, at_most), 0, -1) if number % divisor == 0)
