"""Optimisers and learning-rate schedules by name."""

from collections.abc import Callable
from typing import Annotated, TypedDict, Unpack

import keras
from pydantic import Field


class Step(TypedDict):
    """What every optimiser's step has."""

    learning_rate: Annotated[float, Field(gt=0, description="size of a step at the height of the schedule")]
    weight_decay: Annotated[
        float,
        Field(ge=0, description="share of each kernel taken off per step, times the learning rate; not in the loss"),
    ]
    clip_norm: Annotated[
        float | None,
        Field(gt=0, description="longer gradients, all taken together, are cut to this length; null: never"),
    ]
    average_decay: Annotated[
        float | None,
        Field(
            gt=0, lt=1, description="answer with an exponentially weighted average of the weights; null: with the last"
        ),
    ]


Decay = Annotated[float, Field(ge=0, lt=1)]


def gradient_descent(**step: Unpack[Step]) -> keras.Optimizer:
    """Step down the gradient of the mini-batch."""
    return _make(keras.optimizers.SGD, step)


def momentum(
    *,
    momentum: Annotated[Decay, Field(description="share of the last step that goes into the next")] = 0.9,
    **step: Unpack[Step],
) -> keras.Optimizer:
    """Step along a decaying sum of gradients (Polyak 1964)."""
    return _make(keras.optimizers.SGD, step, momentum=momentum)


def rmsprop(
    *, rho: Annotated[Decay, Field(description="decay of the mean squared gradient")] = 0.9, **step: Unpack[Step]
) -> keras.Optimizer:
    """Divide each gradient by its root mean square (Tieleman & Hinton 2012, lecture 6.5)."""
    return _make(keras.optimizers.RMSprop, step, rho=rho)


def adam(**step: Unpack[Step]) -> keras.Optimizer:
    """Average the gradient and its square, each corrected for its start (Kingma & Ba 2015)."""
    return _make(keras.optimizers.Adam, step)


def adamw(
    *, beta_2: Annotated[Decay, Field(description="decay of the mean squared gradient")] = 0.999, **step: Unpack[Step]
) -> keras.Optimizer:
    """Run Adam with its weight decay apart from the gradient (Loshchilov & Hutter 2019)."""
    return _make(keras.optimizers.AdamW, step, beta_2=beta_2)


OPTIMIZERS = {
    "gradient_descent": gradient_descent,
    "momentum": momentum,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}


def _make(kind: Callable[..., keras.Optimizer], step: Step, **own: float) -> keras.Optimizer:
    average = {"use_ema": True, "ema_momentum": step["average_decay"]} if step["average_decay"] else {}
    optimizer = kind(
        step["learning_rate"], weight_decay=step["weight_decay"], global_clipnorm=step["clip_norm"], **average, **own
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


Rate = keras.optimizers.schedules.LearningRateSchedule
WarmupEpochs = Annotated[float, Field(ge=0, description="epochs over which the learning rate first rises from zero")]


class Falling(TypedDict):
    """A learning rate that falls by the same rule for ever."""

    warmup_epochs: WarmupEpochs
    decay_rate: Annotated[float, Field(gt=0, description="how fast the learning rate falls")]
    decay_epochs: Annotated[float, Field(gt=0, description="epochs in which decay_rate applies once")]


def constant(peak: float, steps_per_epoch: int, epochs: int, *, warmup_epochs: WarmupEpochs) -> Rate:
    """Keep the learning rate."""
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
        list[Annotated[float, Field(gt=0)]], Field(min_length=1, description="when the learning rate falls, rising")
    ],
    share: Annotated[float, Field(gt=0, description="what it is multiplied by each time")],
) -> Rate:
    """Multiply the learning rate by `share` at given epochs (He et al. 2016, section 4.2)."""
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
    final_share: Annotated[float, Field(ge=0, le=1, description="share of the learning rate left at the last epoch")],
) -> Rate:
    """Let the learning rate fall along half a cosine to the last epoch (Loshchilov & Hutter 2017)."""
    steps = max(1.0, (epochs - warmup_epochs) * steps_per_epoch)
    return WarmUp(
        keras.optimizers.schedules.CosineDecay(peak, steps, alpha=final_share), warmup_epochs * steps_per_epoch
    )


def inverse_square_root(
    peak: float,
    steps_per_epoch: int,
    epochs: int,
    *,
    warmup_epochs: Annotated[float, Field(gt=0, description="epochs over which the learning rate rises from zero")],
) -> Rate:
    """Divide the learning rate by the root of the steps from the warm-up on (Vaswani et al. 2017, section 5.3)."""
    warmup = max(1.0, warmup_epochs * steps_per_epoch)
    return WarmUp(InverseSquareRoot(peak, warmup), warmup)


def _fall(kind: Callable[..., Rate], peak: float, steps_per_epoch: int, falling: Falling) -> Rate:
    decay = kind(peak, falling["decay_epochs"] * steps_per_epoch, falling["decay_rate"])
    return WarmUp(decay, falling["warmup_epochs"] * steps_per_epoch)


SCHEDULES = {
    "constant": constant,
    "inverse_time": inverse_time,
    "exponential": exponential,
    "step": step,
    "cosine": cosine,
    "inverse_square_root": inverse_square_root,
}


class WarmUp(Rate):
    """Raise the learning rate linearly over `steps`, then follow `after` from its start."""

    def __init__(self, after: Rate, steps: float):
        self.after = after
        self.steps = steps

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Give the learning rate of a step, counted from zero."""
        step = keras.ops.cast(step, "float32")
        rise = keras.ops.minimum(1.0, (step + 1) / max(1.0, self.steps))
        return rise * self.after(keras.ops.maximum(0.0, step - self.steps))

    def get_config(self) -> dict:
        """Give the arguments of this schedule."""
        return {"after": self.after, "steps": self.steps}


class InverseSquareRoot(Rate):
    """Let the learning rate fall as one over the root of (1 + step / scale)."""

    def __init__(self, peak: float, scale: float):
        self.peak = peak
        self.scale = scale

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Give the learning rate of a step, counted from zero."""
        return self.peak * keras.ops.rsqrt(1.0 + keras.ops.cast(step, "float32") / self.scale)

    def get_config(self) -> dict:
        """Give the arguments of this schedule."""
        return {"peak": self.peak, "scale": self.scale}
