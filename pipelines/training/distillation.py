"""Distillation: a model learns from the answers of a larger one next to the labels (Hinton et al. 2015).

Shapes: B examples, T positions, C classes, L and S columns of the labels and of the soft labels.
"""

from typing import Annotated, NamedTuple, Protocol

import keras
import tensorflow as tf
from keras import ops
from pydantic import Field

from pipelines.data.batches import Encoder
from pipelines.task import Tensors

ROW = "row of the example"  # column that Taught adds to the examples


class Distillation(NamedTuple):
    """The `distill` section of a config."""

    teacher: str
    temperature: float
    weight: float


def distillation(
    *,
    teacher: Annotated[
        str, Field(min_length=1, description="folder of a finished run of the same task, whose model is the teacher")
    ],
    temperature: Annotated[
        float,
        Field(gt=0, le=100, description="divides the logits of both models; above 1: softens the distributions"),
    ] = 2.0,
    weight: Annotated[
        float, Field(ge=0, le=1, description="weight of the teacher's loss; the labels have the rest")
    ] = 0.5,
) -> Distillation:
    """Train on a teacher's soft predictions in addition to the labels (Hinton et al. 2015)."""
    return Distillation(teacher, temperature, weight)


class Lesson(Protocol):
    """What a teacher says about examples, and how far a model's outputs are from it."""

    def soft_labels(self, raw: Tensors) -> tf.Tensor:
        """Return the soft labels of raw examples (B, S), or of their positions (B, T, S), in the graph."""

    def loss(self, labels: keras.KerasTensor, soft: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the loss of each example (B,), or of each position (B, T), with the soft labels as target."""


class Taught:
    """A preprocessor whose labels are followed by soft labels (B, L + S), so that they are shuffled and mixed alike."""

    def __init__(self, preprocessor: Encoder, soft: tf.Tensor):
        self.preprocessor, self.soft = preprocessor, soft

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Return inputs, labels followed by soft labels, and weights."""
        inputs, labels, weights = self.preprocessor.example(raw, training=training)
        soft = tf.gather(self.soft, tf.cast(raw[ROW], tf.int64))
        if not isinstance(labels, tf.RaggedTensor):
            return inputs, tf.concat([tf.cast(labels, tf.float32), soft], axis=-1), weights
        each = tf.RaggedTensor.from_tensor(soft, lengths=labels.row_lengths()).flat_values
        joined = tf.concat([tf.cast(labels.flat_values, tf.float32)[:, None], each], axis=-1)
        return inputs, labels.with_flat_values(joined), weights

    def augment(
        self, inputs: Tensors, labels: tf.Tensor, weights: tf.Tensor, *, seed: tf.Tensor
    ) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Augment as without a teacher; mixed images have mixed soft labels."""
        return self.preprocessor.augment(inputs, labels, weights, seed=seed)


class Distilled(keras.Loss):
    """Weighted sum of the loss for the labels and of that for the soft labels.

    `rank` and `width` are those of labels with soft labels. Labels without, as those of the validation split, have the
    loss for the labels alone, so that runs with and without a teacher can be compared.
    """

    def __init__(self, plain: keras.Loss, lesson: Lesson, weight: float, rank: int, width: int, soft: int):
        super().__init__(reduction=plain.reduction)
        self.plain, self.lesson_loss, self.weight = plain, lesson.loss, weight
        self.rank, self.width, self.soft = rank, width, soft

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Return the loss of each example (B,) or position (B, T)."""
        if len(y_true.shape) != self.rank or y_true.shape[-1] != self.width:
            return self.plain.call(y_true, y_pred)
        labels, soft = y_true[..., : -self.soft], y_true[..., -self.soft :]
        labels = labels[..., 0] if self.rank == 3 else labels
        taught = self.lesson_loss(labels, soft, y_pred)
        return (1 - self.weight) * self.plain.call(labels, y_pred) + self.weight * taught


def divergence(soft: keras.KerasTensor, scores: keras.KerasTensor, temperature: float) -> keras.KerasTensor:
    """Return the Kullback-Leibler divergence of probabilities (..., C) and scores (..., C), times temperature squared.

    The factor keeps the gradients as large as those of the labels (Hinton et al. 2015, section 2).
    """
    own = ops.log_softmax(scores / temperature, axis=-1)
    return temperature**2 * ops.sum(soft * (ops.log(ops.maximum(soft, 1e-30)) - own), axis=-1)
