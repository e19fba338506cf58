"""Predict the examples of a split and compute its metrics."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.batches import Cache, Encoder, evaluation_batches, raw_batches
from pipelines.data.stored import StoredTable
from pipelines.errors import UserError, counted
from pipelines.losses import batch_weight
from pipelines.statistics.bootstrap import Statistic, of_sums, of_units
from pipelines.task import Endpoint, Preprocessor, Task, Tensors


class Answerer:
    """An endpoint as a `tf.function`, traced once for all batches and for the export."""

    def __init__(self, endpoint: Endpoint):
        self.signature = endpoint.signature
        self.function = tf.function(endpoint.answer, input_signature=[endpoint.signature], autograph=False)

    def answer_table(self, examples: pd.DataFrame) -> dict[str, np.ndarray]:
        """Predict every row of a table of raw inputs."""
        return answer_table(partial(answer_with, self.signature, self.function), examples[list(self.signature)])


def answer_table(answer: Callable[[Tensors], Tensors], raw: pd.DataFrame) -> dict[str, np.ndarray]:
    """Predict every row of a table of raw inputs, batched by length to keep padding low."""
    order = np.argsort(-_lengths(raw), kind="stable")  # longest first, so that out-of-memory errors show up at once
    answers = concatenate([answer(batch) for batch in raw_batches(raw.take(order))])
    back = np.argsort(order)
    return {name: values[back] for name, values in answers.items()}


def answer_with(signature: Mapping[str, tf.TensorSpec], answer: Callable[[Tensors], Tensors], raw: Tensors) -> Tensors:
    """Call `answer` with raw inputs cast to the dtypes of `signature`."""
    return answer({name: tf.cast(raw[name], spec.dtype) for name, spec in signature.items()})


def _lengths(raw: pd.DataFrame) -> np.ndarray:
    """Return the total length of the texts and lists in each row, shape (N,)."""
    lengths = np.zeros(len(raw), int)
    if isinstance(raw, StoredTable):  # images may be larger than memory, and their order is of no use
        raw = raw[[name for name, kind in raw.kinds().items() if kind != "image"]]
    for _, values in raw.items():
        if values.dtype == "str":
            lengths += values.str.len().to_numpy(int)
        elif len(values) and isinstance(values.iloc[0], str | bytes | list):
            lengths += values.map(len).to_numpy()
    return lengths


class NotFinite(ArithmeticError):
    """An error for predictions that are NaN or infinite."""

    def __init__(self, rows: np.ndarray, of: int):
        self.all = len(rows) == of
        some = f"{len(rows):,} of {counted(of, 'example')} (first: example {rows[0] + 1})"
        super().__init__(f"the predictions for {some} are NaN or infinite")


def measure(task: Task, split: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Compute the metrics of a split from the predictions of a trained model.

    Raises:
        UserError: If predictions are NaN or infinite.
    """
    try:
        _check_finite(answers)
    except NotFinite as error:
        raise UserError(split, f"{error}; check the inputs of these examples") from None
    return task.compute_metrics(examples, answers)


def metric_statistic(
    task: Task, metrics: Sequence[str], examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> Statistic:
    """Return metrics as a statistic of the examples, for the bootstrap: from sums, where the task has these."""
    sums = {name: task.metric_sums(name, examples, answers) for name in metrics if name in task.metrics}
    known = {name: found for name, found in sums.items() if found is not None}
    rest = [name for name in metrics if name not in known]

    def compute(rows: np.ndarray) -> dict[str, float]:
        with warnings.catch_warnings(action="ignore"):  # of a resample without some class
            drawn = {name: values[rows] for name, values in answers.items()}
            computed = task.compute_metrics(examples.iloc[rows], drawn)
        return {name: computed[name] for name in rest}

    parts = [
        of_sums(each, lambda drawn, name=name, metric=metric: {name: metric(drawn)})  # type: ignore[misc]
        for name, (each, metric) in known.items()
    ]
    parts += [of_units(compute)] if rest else []
    return lambda units: {name: values for part in parts for name, values in part(units).items()}


def metric_by_example(task: Task, metric: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the metric of each example alone (N,), NaN where one example has none."""
    sums = task.metric_sums(metric, examples, answers)
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        if sums is not None:
            each, of = sums
            return of(each)
        alone = ((examples.iloc[[row]], {k: v[[row]] for k, v in answers.items()}) for row in range(len(examples)))
        return np.array([task.compute_metrics(*one)[metric] for one in alone], float)


def wrong_answers(terms: tuple[np.ndarray, Callable] | None) -> int | None:
    """Return the number of wrong answers if a metric is a share of right ones, else None.

    `terms` are what `Task.metric_sums` returns.
    """
    if terms is None:
        return None
    sums, _ = terms
    if sums.shape[1:] != (2,) or not np.isin(sums[:, 0], (0, 1)).all() or (sums[:, 1] != 1).any():
        return None
    return int((sums[:, 0] == 0).sum())


def result_warnings(
    task: Task,
    monitor: str,
    metrics: Mapping[str, Mapping[str, float]],
    trivial: Mapping[str, float],
    best_epoch: Mapping[str, float],
) -> list[str]:
    """Return warnings about a model that does not beat the baseline on validation, and about non-finite metrics.

    The comparison uses `monitor`, or all metrics of the baseline (`trivial`) if `monitor` is not one of them.
    `best_epoch` is the history entry of the best epoch.
    """
    monitored = monitor.removeprefix("validation.")
    known = {name: score for name, score in trivial.items() if name in task.metrics and np.isfinite(score)}
    compared = [monitored] if monitored in known else list(known)
    sign = {"min": 1, "max": -1}
    own = metrics["validation"]
    found = []
    if compared and not any(sign[task.metrics[name]] * (own[name] - known[name]) < 0 for name in compared):
        scores = "; ".join(f"{name} {own[name]:.4g}, baseline {known[name]:.4g}" for name in compared)
        found.append(
            f"on the validation split, the model is no better than a baseline that ignores the input ({scores});"
            " train for longer, change the learning rate or the model, or use more examples"
        )
    odd = [
        f"{name} of {split}" for split in metrics for name, value in metrics[split].items() if not np.isfinite(value)
    ]
    if not np.isfinite(loss := best_epoch["validation.loss"]):
        found.append(f"validation.loss is {loss} at the best epoch; check the targets of the validation split")
    return found + ([f"NaN or infinite, so null in metrics.json: {', '.join(odd)}"] if odd else [])


def _check_finite(answers: Mapping[str, np.ndarray]) -> None:
    for values in answers.values():
        if values.dtype.kind == "f":
            odd = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
            if odd.any():
                raise NotFinite(np.flatnonzero(odd), len(odd))


class Evaluator:
    """Evaluate a model on the validation split during training."""

    def __init__(
        self,
        task: Task,
        preprocessor: Preprocessor,
        encoder: Encoder,
        train: pd.DataFrame,
        validation: pd.DataFrame,
        cache: Cache,
        serve: Answerer,
    ):
        self.task, self.train, self.examples = task, train, task.evaluation_examples("validation", validation)
        self.batches = evaluation_batches(self.examples, partial(encoder.example, training=False), cache)
        step = partial(task.validation_step, preprocessor=preprocessor)
        self._step = tf.function(step, reduce_retracing=True, autograph=False)
        self.targets = [name for name in self.examples if name not in preprocessor.signature]
        self._preprocessor = preprocessor
        self._serve = serve

    def direction(self, metric: str) -> str:
        """Return `min` if a lower `validation.<metric>` is better, else `max`."""
        return self.task.metrics.get(metric.removeprefix("validation."), "min")

    @cached_property
    def trivial(self) -> dict[str, float]:
        """Baseline metrics: the scores of predictions that ignore the input. Empty if the task has no baseline."""
        return self.task.baseline_metrics(self._preprocessor, self.train, self.examples)

    def check(self, monitor: str) -> None:
        """Check that a metric can be finite on the validation split.

        Raises:
            UserError: If it is NaN or infinite whatever the model predicts.
        """
        score = self.trivial.get(monitor.removeprefix("validation."), 0.0)
        if not np.isfinite(score):
            others = ["loss", *(name for name, other in self.trivial.items() if np.isfinite(other))]
            size = counted(len(self.examples), "example")
            problem = f"{monitor} is {score} on this validation split of {size}, whatever the model predicts"
            raise UserError(
                "training.monitor", f"{problem}; choose validation.{', validation.'.join(dict.fromkeys(others))}"
            )

    def beats_trivial(self, metric: str, value: float) -> bool:
        """Return whether a value of `validation.<metric>` beats the baseline; False if there is no baseline for it."""
        sign = 1 if self.direction(metric) == "min" else -1
        return sign * value < sign * self.trivial.get(metric.removeprefix("validation."), np.nan)

    def odd_labels(self) -> np.ndarray:
        """Return the 0-based rows of the validation split whose labels are NaN or infinite."""
        labels = [np.asarray(labels).reshape(len(labels), -1) for _, labels, _ in self.batches]
        return np.flatnonzero(np.concatenate([~np.isfinite(each).all(axis=1) for each in labels]))

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Return the mean loss and the metrics of the validation split.

        Raises:
            NotFinite: If predictions are NaN or infinite.
        """
        losses, shares, answers = [], [], []
        for inputs, labels, weights in self.batches:
            loss, answer = self._step(model, inputs=inputs, labels=labels, weights=weights)
            losses.append(float(loss))
            shares.append(float(batch_weight(model.loss, labels, weights)))
            answers.append(answer)
        joined = concatenate(answers)
        _check_finite(joined)
        scores = self.task.compute_metrics(self.examples, joined)
        return {"loss": float(np.average(losses, weights=shares)), **scores}

    def sample(self) -> list[dict[str, dict[str, Any]]]:
        """Predict a few validation examples through the `serve` endpoint; return [] if the task keeps no samples."""
        if not self.task.samples:
            return []
        raw = self.task.client_inputs(self.examples.head(self.task.samples))
        answers = as_records(self.task, self._serve.answer_table(raw))
        return [{"input": i, "answer": a} for i, a in zip(raw.to_dict("records"), answers, strict=True)]


def concatenate(batches: list[Mapping[str, tf.Tensor]]) -> dict[str, np.ndarray]:
    """Concatenate the predictions of several batches, padded to the same length with zeros or empty texts."""
    return {name: _join([batch[name].numpy() for batch in batches]) for name in batches[0]}


def _join(parts: list[np.ndarray]) -> np.ndarray:
    lengths = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    fill = b"" if parts[0].dtype == object else 0
    gaps = [[(0, 0), *((0, most - own) for most, own in zip(lengths, part.shape[1:], strict=True))] for part in parts]
    padded_parts = [np.pad(part, gap, constant_values=fill) for part, gap in zip(parts, gaps, strict=True)]
    return np.concatenate(padded_parts)


def decoded(texts: np.ndarray) -> np.ndarray:
    """Decode an array of UTF-8 bytes, as TensorFlow returns texts, to an array of strings."""
    return np.char.decode(texts.astype("S"), "utf-8")


def as_records(task: Task, answers: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Convert arrays of predictions to one dictionary of plain Python values per example."""
    names = list(answers)
    rows = zip(*answers.values(), strict=True)
    return [task.printable(dict(zip(names, map(_plain, row), strict=True))) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return [_plain(element) for element in value]
    return value.tolist() if isinstance(value, np.generic) else value
