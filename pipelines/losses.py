"""Losses for classification tasks, one value per example."""

from typing import Annotated

import keras
from keras import ops
from pydantic import Field

Smoothing = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="label smoothing: fraction of each label spread evenly over the classes (Szegedy et al. 2016)",
    ),
]


def batch_weight(loss: keras.Loss, labels: keras.KerasTensor, weights: keras.KerasTensor) -> keras.KerasTensor:
    """Return by how much the loss of a mini-batch, a mean, counts in the mean over several."""
    if loss.reduction == "mean_with_sample_weight":
        return ops.cast(ops.sum(weights), "float32")
    return ops.cast(ops.shape(labels)[0], "float32")


class CrossEntropy(keras.Loss):
    """Cross-entropy from logits: sigmoid for one logit, softmax for several."""

    def __init__(self, label_smoothing: float):
        super().__init__()
        self.label_smoothing = label_smoothing

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Return the loss of each example (B,) from labels and logits (B, O)."""
        binary = y_pred.shape[-1] == 1
        loss = keras.losses.binary_crossentropy if binary else keras.losses.categorical_crossentropy
        return loss(y_true, y_pred, from_logits=True, label_smoothing=self.label_smoothing)


def cross_entropy(*, label_smoothing: Smoothing) -> keras.Loss:
    """Return the cross-entropy of the true class."""
    return CrossEntropy(label_smoothing)
