"""Answers to a split, and what they score."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.batches import Cache, evaluation_batches, raw_batches
from pipelines.task import Endpoint, Preprocessor, Task, Tensors


class Answerer:
    """Raw inputs in, readable answers out: an endpoint, traced once for all batches."""

    def __init__(self, endpoint: Endpoint):
        self.signature = endpoint.signature
        self.function = tf.function(endpoint.answer, input_signature=[endpoint.signature])

    def answer_table(self, examples: pd.DataFrame) -> dict[str, np.ndarray]:
        """Answer every row of a table of raw inputs."""
        return answer_table(partial(answer_with, self.signature, self.function), examples[list(self.signature)])


def answer_table(answer: Callable[[Tensors], Tensors], raw: pd.DataFrame) -> dict[str, np.ndarray]:
    """Answer every row of a table of raw inputs, texts of about the same length together, so that little is padding."""
    order = np.argsort(-_lengths(raw), kind="stable")  # the longest first: if memory does not do, that shows at once
    answers = concatenate([answer(batch) for batch in raw_batches(raw.iloc[order])])
    back = np.argsort(order)
    return {name: values[back] for name, values in answers.items()}


def answer_with(signature: Mapping[str, tf.TensorSpec], answer: Callable[[Tensors], Tensors], raw: Tensors) -> Tensors:
    """Answer raw inputs, numbers cast to the types that a signature names."""
    return answer({name: tf.cast(raw[name], spec.dtype) for name, spec in signature.items()})


def _lengths(raw: pd.DataFrame) -> np.ndarray:
    """Give how much text, or how many elements of lists, each row holds."""
    lengths = np.zeros(len(raw), int)
    for _, values in raw.items():
        if len(values) and isinstance(values.iloc[0], str | bytes | list):
            lengths += values.map(len).to_numpy()
    return lengths


class Evaluator:
    """Score a model on the validation split as it trains."""

    def __init__(self, task: Task, preprocessor: Preprocessor, validation: pd.DataFrame, cache: Cache):
        self.task, self.examples = task, task.measured("validation", validation)
        self.batches = evaluation_batches(self.examples, partial(preprocessor.example, training=False), cache)
        self._step = tf.function(partial(task.measure, preprocessor=preprocessor), reduce_retracing=True)
        self._preprocessor, self._answerer = preprocessor, None

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

    def sample(self, model: keras.Model) -> list[dict[str, dict[str, Any]]]:
        """Answer a few validation examples as an export would, where the task wants them kept."""
        if not self.task.samples:
            return []
        if self._answerer is None:  # traced once, for all epochs
            self._answerer = Answerer(self.task.endpoints(model, self._preprocessor)["serve"])
        raw = self.task.raw_inputs(self.examples.head(self.task.samples))
        answers = as_records(self.task, self._answerer.answer_table(raw))
        return [{"input": i, "answer": a} for i, a in zip(raw.to_dict("records"), answers, strict=True)]


def concatenate(batches: list[Mapping[str, tf.Tensor]]) -> dict[str, np.ndarray]:
    """Join the answers to several batches, those that vary in length filled up with zeros or empty texts."""
    return {name: _join([batch[name].numpy() for batch in batches]) for name in batches[0]}


def _join(parts: list[np.ndarray]) -> np.ndarray:
    lengths = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    fill = b"" if parts[0].dtype == object else 0
    gaps = [[(0, 0), *((0, most - own) for most, own in zip(lengths, part.shape[1:], strict=True))] for part in parts]
    padded_parts = [np.pad(part, gap, constant_values=fill) for part, gap in zip(parts, gaps, strict=True)]
    return np.concatenate(padded_parts)


def decoded(texts: np.ndarray) -> np.ndarray:
    """Turn an array of UTF-8 bytes, as TensorFlow gives texts, into an array of texts."""
    return np.char.decode(texts.astype("S"), "utf-8")


def as_records(task: Task, answers: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Turn named arrays of answers into one plain record an example."""
    names = list(answers)
    rows = zip(*answers.values(), strict=True)
    return [task.readable(dict(zip(names, map(_plain, row), strict=True))) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return [_plain(element) for element in value]
    return value.tolist() if isinstance(value, np.generic) else value
