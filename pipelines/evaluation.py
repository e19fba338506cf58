"""Answers to a split, and what they score."""

from collections.abc import Mapping
from functools import partial

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.batches import Cache, evaluation_batches, raw_batches
from pipelines.task import Endpoint, Preprocessor, Task


class Answerer:
    """Raw inputs in, readable answers out: an endpoint, traced once for all batches."""

    def __init__(self, endpoint: Endpoint):
        self.signature = endpoint.signature
        self.function = tf.function(endpoint.answer, input_signature=[endpoint.signature])

    def answer_table(self, examples: pd.DataFrame) -> dict[str, np.ndarray]:
        """Answer every row of a table of raw inputs."""
        raw = raw_batches(examples[list(self.signature)])
        return concatenate([self.function(batch) for batch in raw])


class Evaluator:
    """Score a model on the validation split as it trains."""

    def __init__(self, task: Task, preprocessor: Preprocessor, validation: pd.DataFrame, cache: Cache):
        self.task, self.examples = task, task.measured(validation)
        self.batches = evaluation_batches(self.examples, partial(preprocessor.example, training=False), cache)
        self._step = tf.function(partial(task.measure, preprocessor=preprocessor), reduce_retracing=True)

    def direction(self, metric: str) -> str:
        """Say which way `validation.<metric>` is better: min or max."""
        return self.task.metrics.get(metric.removeprefix("validation."), "min")

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Give the mean loss and the metrics of the validation split."""
        losses, shares, answers = [], [], []
        weighted = model.loss.reduction == "mean_with_sample_weight"
        for inputs, labels, weights in self.batches:
            loss, answer = self._step(model, inputs=inputs, labels=labels, weights=weights)
            losses.append(float(loss))
            shares.append(float(tf.reduce_sum(weights)) if weighted else len(labels))
            answers.append(answer)
        scores = self.task.score(self.examples, concatenate(answers))
        return {"loss": float(np.average(losses, weights=shares)), **scores}


def concatenate(batches: list[Mapping[str, tf.Tensor]]) -> dict[str, np.ndarray]:
    """Join the answers to several batches, those that vary in length filled up with zeros or empty texts."""
    return {name: _join([batch[name].numpy() for batch in batches]) for name in batches[0]}


def _join(parts: list[np.ndarray]) -> np.ndarray:
    lengths = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    fill = b"" if parts[0].dtype == object else 0
    gaps = [[(0, 0), *((0, most - own) for most, own in zip(lengths, part.shape[1:], strict=True))] for part in parts]
    padded_parts = [np.pad(part, gap, constant_values=fill) for part, gap in zip(parts, gaps, strict=True)]
    return np.concatenate(padded_parts)
