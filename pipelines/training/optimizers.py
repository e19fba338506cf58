"""Optimizers and learning-rate schedules by name."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, TypeAlias, TypedDict, Unpack

import keras
from pydantic import Field

from pipelines.build import build
from pipelines.training.precision import unscaled
from pipelines.training.pretrained import learning_rate_factors


class Step(TypedDict):
    """Settings shared by all optimizers."""

    learning_rate: Annotated[float, Field(gt=0, description="peak learning rate of the schedule")]
    weight_decay: Annotated[
        float,
        Field(
            ge=0,
            description="decoupled weight decay of the kernels, scaled by the learning rate; not added to the loss",
        ),
    ]
    clip_norm: Annotated[
        float | None,
        Field(gt=0, description="maximum global norm of the gradients; null: no clipping"),
    ]
    average_decay: Annotated[
        float | None,
        Field(gt=0, lt=1, description="decay of the exponential moving average of the weights; null: no averaging"),
    ]


Decay = Annotated[float, Field(ge=0, lt=1)]


def gradient_descent(**step: Unpack[Step]) -> keras.Optimizer:
    """Return an SGD optimizer without momentum."""
    return _make(keras.optimizers.SGD, step)


def momentum(
    *,
    momentum: Annotated[Decay, Field(description="fraction of the previous update added to the next")] = 0.9,
    **step: Unpack[Step],
) -> keras.Optimizer:
    """Return an SGD optimizer with momentum (Polyak 1964)."""
    return _make(keras.optimizers.SGD, step, momentum=momentum)


def rmsprop(
    *, rho: Annotated[Decay, Field(description="decay rate of the mean squared gradient")] = 0.9, **step: Unpack[Step]
) -> keras.Optimizer:
    """Return an RMSprop optimizer: gradients are divided by their RMS (Tieleman & Hinton 2012, lecture 6.5)."""
    return _make(keras.optimizers.RMSprop, step, rho=rho)


def adam(**step: Unpack[Step]) -> keras.Optimizer:
    """Return an Adam optimizer: bias-corrected averages of the gradient and its square (Kingma & Ba 2015)."""
    return _make(keras.optimizers.Adam, step)


def adamw(
    *,
    beta_2: Annotated[Decay, Field(description="decay rate of the mean squared gradient")] = 0.999,
    **step: Unpack[Step],
) -> keras.Optimizer:
    """Return an Adam optimizer with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return _make(keras.optimizers.AdamW, step, beta_2=beta_2)


OPTIMIZERS: dict[str, Callable[..., keras.Optimizer]] = {
    "gradient_descent": gradient_descent,
    "momentum": momentum,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}


@cache
def _with_factors(kind: type[keras.Optimizer]) -> type[keras.Optimizer]:
    """Return an optimizer class whose attribute `factors` scales the learning rate of variables, by their path.

    Its averages of the weights change with each update; those of Keras also change with mini-batches in between. The
    gradients of a row of an embedding are summed first. Keras would square them one by one, for the norm and for Adam.
    """

    def apply(self: Any, grads: Any, trainable_variables: Any = None) -> None:
        kind.apply(self, list(map(_dense, grads)), trainable_variables)

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        path = self._trainable_variables[self._get_variable_index(variable)].path  # TensorFlow's variables have none
        kind.update_step(self, gradient, variable, learning_rate * self.factors.get(path, 1.0))

    def average(self: Any, variables: Any) -> None:
        averages = self._model_variables_moving_average if self.use_ema else []
        before = [keras.ops.copy(each) for each in averages]
        kind._update_model_variables_moving_average(self, variables)
        if self.gradient_accumulation_steps:
            updates = (self._iterations + 1) % self.gradient_accumulation_steps == 0
            for each, value in zip(averages, before, strict=True):
                each.assign(keras.ops.where(updates, each.value, value))

    own = {"factors": {}, "apply": apply, "update_step": update_step, "_update_model_variables_moving_average": average}
    return type(kind.__name__, (kind,), own)


def _dense(gradient: Any) -> Any:
    if keras.backend.backend() != "tensorflow":
        return gradient
    import tensorflow as tf

    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient


def _make(kind: Any, step: Step, **own: float) -> keras.Optimizer:
    average = {"use_ema": True, "ema_momentum": step["average_decay"]} if step["average_decay"] else {}
    optimizer = _with_factors(kind)(
        step["learning_rate"], weight_decay=step["weight_decay"], global_clipnorm=step["clip_norm"], **average, **own
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def make_optimizer(
    optimizer: Mapping[str, Any],
    schedule: Mapping[str, Any],
    model: keras.Model,
    epochs: int,
    steps_per_epoch: int,
    accumulate_batches: int,
) -> keras.Optimizer:
    """Return the optimizer of a model, with the sections `optimizer` and `schedule` of a config."""
    peak = optimizer["learning_rate"]
    rate = build(schedule, SCHEDULES, "name", peak, math.ceil(steps_per_epoch / accumulate_batches), epochs)
    made = build({**optimizer, "learning_rate": rate}, OPTIMIZERS, "name")
    made.factors = learning_rate_factors(model, peak)
    if accumulate_batches > 1:
        accumulate_gradients(made, rate, accumulate_batches)
    return made


def accumulate_gradients(optimizer: Any, rate: "Rate", batches: int) -> None:
    """Let an optimizer update the weights after several mini-batches, by the mean of their gradients.

    Keras counts mini-batches. Here all that depends on time counts updates: the schedule `rate`, and the average of the
    weights. `LastUpdate` takes the last update of an epoch.
    """
    optimizer.gradient_accumulation_steps = batches
    optimizer.learning_rate = PerUpdate(rate, batches)


Rate: TypeAlias = keras.optimizers.schedules.LearningRateSchedule
WarmupEpochs = Annotated[
    float, Field(ge=0, description="number of epochs in which the learning rate first rises from zero")
]


class Falling(TypedDict):
    """Settings of schedules that decay without end."""

    warmup_epochs: WarmupEpochs
    decay_rate: Annotated[float, Field(gt=0, description="decay rate of the learning rate")]
    decay_epochs: Annotated[
        float, Field(gt=0, description="number of epochs after which decay_rate has been applied once")
    ]


def constant(peak: float, steps_per_epoch: int, epochs: int, *, warmup_epochs: WarmupEpochs) -> Rate:
    """Keep the learning rate constant after the warm-up."""
    flat = keras.optimizers.schedules.PolynomialDecay(peak, 1, end_learning_rate=peak)
    return WarmUp(flat, warmup_epochs * steps_per_epoch)


def inverse_time(peak: float, steps_per_epoch: int, epochs: int, **falling: Unpack[Falling]) -> Rate:
    """Divide the learning rate by 1 + decay_rate x epochs / decay_epochs."""
    return _fall(keras.optimizers.schedules.InverseTimeDecay, peak, steps_per_epoch, falling)


def exponential(peak: float, steps_per_epoch: int, epochs: int, **falling: Unpack[Falling]) -> Rate:
    """Multiply the learning rate by decay_rate every decay_epochs."""
    return _fall(keras.optimizers.schedules.ExponentialDecay, peak, steps_per_epoch, falling)


def step(
    peak: float,
    steps_per_epoch: int,
    epochs: int,
    *,
    warmup_epochs: WarmupEpochs,
    at_epochs: Annotated[
        list[Annotated[float, Field(gt=0)]],
        Field(min_length=1, description="epochs at which the learning rate drops, in ascending order"),
    ],
    share: Annotated[float, Field(gt=0, description="factor that the learning rate is multiplied by at each drop")],
) -> Rate:
    """Multiply the learning rate by `share` at the given epochs (He et al. 2016, section 4.2)."""
    boundaries = [int((at - warmup_epochs) * steps_per_epoch) for at in at_epochs]
    values = [peak * share**falls for falls in range(len(boundaries) + 1)]
    return WarmUp(
        keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values), warmup_epochs * steps_per_epoch
    )


def cosine(
    peak: float,
    steps_per_epoch: int,
    epochs: int,
    *,
    warmup_epochs: WarmupEpochs,
    final_share: Annotated[float, Field(ge=0, le=1, description="final learning rate as a fraction of the peak")],
) -> Rate:
    """Decay the learning rate along half a cosine until the last epoch (Loshchilov & Hutter 2017)."""
    steps = max(1.0, (epochs - warmup_epochs) * steps_per_epoch)
    return WarmUp(
        keras.optimizers.schedules.CosineDecay(peak, steps, alpha=final_share), warmup_epochs * steps_per_epoch
    )


def inverse_square_root(
    peak: float,
    steps_per_epoch: int,
    epochs: int,
    *,
    warmup_epochs: Annotated[
        float, Field(gt=0, description="number of epochs in which the learning rate rises from zero")
    ],
) -> Rate:
    """Decay the learning rate by the inverse square root of the step (Vaswani et al. 2017, section 5.3)."""
    warmup = max(1.0, warmup_epochs * steps_per_epoch)
    return WarmUp(InverseSquareRoot(peak, warmup), warmup)


def _fall(kind: Callable[..., Rate], peak: float, steps_per_epoch: int, falling: Falling) -> Rate:
    decay = kind(peak, falling["decay_epochs"] * steps_per_epoch, falling["decay_rate"])
    return WarmUp(decay, falling["warmup_epochs"] * steps_per_epoch)


SCHEDULES: dict[str, Callable[..., Rate]] = {
    "constant": constant,
    "inverse_time": inverse_time,
    "exponential": exponential,
    "step": step,
    "cosine": cosine,
    "inverse_square_root": inverse_square_root,
}


class WarmUp(Rate):
    """A linear warm-up over `steps`, followed by the schedule `after`."""

    def __init__(self, after: Rate, steps: float):
        self.after = after
        self.steps = steps

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Return the learning rate of a step, counted from zero."""
        step = keras.ops.cast(step, "float32")
        rise = keras.ops.minimum(1.0, (step + 1) / max(1.0, self.steps))
        return rise * self.after(keras.ops.maximum(0.0, step - self.steps))

    def get_config(self) -> dict:
        """Return the constructor arguments of this schedule."""
        return {"after": self.after, "steps": self.steps}


class PerUpdate(Rate):
    """A schedule of updates, for an optimizer that counts mini-batches, of which each update has several."""

    def __init__(self, rate: Rate, batches: int):
        self.rate = rate
        self.batches = batches

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Return the learning rate of a mini-batch, counted from zero."""
        return self.rate(step // self.batches)

    def get_config(self) -> dict:
        """Return the constructor arguments of this schedule."""
        return {"rate": self.rate, "batches": self.batches}


class LastUpdate(keras.callbacks.Callback):
    """Take the last update of each epoch, if fewer mini-batches are left for it than an update has."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Update the weights by the mean of the gradients that are left, and count this as a whole update."""
        optimizer, variables = unscaled(self.model.optimizer), self.model.trainable_variables
        batches = optimizer.gradient_accumulation_steps
        left = int(optimizer._iterations) % batches
        if left:
            for total in optimizer._accumulated_gradients:
                total.assign(total * (batches / left))
            optimizer._iterations.assign_add(batches - left - 1)
            optimizer.apply([keras.ops.zeros_like(variable) for variable in variables], variables)


class InverseSquareRoot(Rate):
    """A learning rate of `peak / sqrt(1 + step / scale)`."""

    def __init__(self, peak: float, scale: float):
        self.peak = peak
        self.scale = scale

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Return the learning rate of a step, counted from zero."""
        return self.peak * keras.ops.rsqrt(1.0 + keras.ops.cast(step, "float32") / self.scale)

    def get_config(self) -> dict:
        """Return the constructor arguments of this schedule."""
        return {"peak": self.peak, "scale": self.scale}
