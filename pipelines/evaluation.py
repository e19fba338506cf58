"""Answers to a split, and what they score."""

from collections.abc import Mapping
from functools import partial

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.batches import Cache, evaluation_batches, raw_batches
from pipelines.task import Preprocessor, Task, Tensors


class Answerer:
    """Raw inputs in, readable answers out: what evaluation measures and what export writes."""

    def __init__(self, task: Task, preprocessor: Preprocessor, model: keras.Model):
        self.task, self.preprocessor, self.model = task, preprocessor, model
        self.function = tf.function(self.answer, input_signature=[preprocessor.signature])

    def answer(self, raw: Tensors) -> Tensors:
        """Answer a batch of raw inputs, in graph."""
        return self.task.answer(self.model, self.preprocessor, self.preprocessor.inputs(raw))

    def answer_table(self, examples: pd.DataFrame) -> dict[str, np.ndarray]:
        """Answer every row of a table of raw inputs."""
        raw = raw_batches(examples[list(self.preprocessor.signature)])
        return concatenate([self.function(batch) for batch in raw])


class Evaluator:
    """Score a model on the validation split as it trains."""

    def __init__(self, task: Task, preprocessor: Preprocessor, validation: pd.DataFrame, cache: Cache):
        self.task, self.examples = task, validation
        self.preprocessor = preprocessor
        self.batches = evaluation_batches(validation, partial(preprocessor.example, training=False), cache)
        self._step = tf.function(self._loss_and_answer, reduce_retracing=True)

    def direction(self, metric: str) -> str:
        """Say which way `validation.<metric>` is better: min or max."""
        return self.task.metrics.get(metric.removeprefix("validation."), "min")

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Give the mean loss and the metrics of the validation split."""
        losses, counts, answers = [], [], []
        for inputs, labels, weights in self.batches:
            loss, answer = self._step(model, inputs, labels, weights)
            losses.append(float(loss))
            counts.append(len(labels))
            answers.append(answer)
        scores = self.task.score(self.examples, concatenate(answers))
        return {"loss": float(np.average(losses, weights=counts)), **scores}

    def _loss_and_answer(self, model, inputs, labels, weights) -> tuple[tf.Tensor, Tensors]:
        outputs = model(inputs, training=False)
        loss = model.compute_loss(y=labels, y_pred=outputs, sample_weight=weights)
        return loss, self.task.answer(model, self.preprocessor, inputs, outputs)


def concatenate(batches: list[Mapping[str, tf.Tensor]]) -> dict[str, np.ndarray]:
    """Join the answers to several batches."""
    return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]}
