"""Compute training steps in lower precision, while weights, validation and exports stay in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import keras
from pydantic import Field

Precision = Annotated[
    Literal["float32", "mixed_bfloat16", "mixed_float16"],
    Field(
        description="number format of the layers in a training step (Micikevicius et al. 2018); mixed_float16 also"
        " scales the loss. Weights, validation, metrics and exports are always in float32"
    ),
]


@contextmanager
def computing_in(model: keras.Model, precision: str) -> Iterator[None]:
    """Give all layers of a model a Keras dtype policy for what is traced meanwhile.

    The variables are shared with graphs that were traced in another precision: those of a mixed policy are in float32
    too.
    """
    if precision == "float32":
        yield
        return
    layers = model._flatten_layers()
    before = [(layer, layer.dtype_policy) for layer in layers]
    for layer, _ in before:
        layer.dtype_policy = precision
    try:
        yield
    finally:
        for layer, policy in before:
            layer.dtype_policy = policy


def step_in(model: keras.Model, precision: str, *given: Any) -> Any:
    """Call the training step of Keras, in a precision that only it has."""
    with computing_in(model, precision):
        return type(model).train_step(model, *given)


def scale_loss(optimizer: keras.Optimizer, precision: str) -> keras.Optimizer:
    """Return an optimizer that scales the loss if gradients in this precision could underflow."""
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


def unscaled(optimizer: Any) -> Any:
    """Return the optimizer that updates the weights, of one that may scale the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)
