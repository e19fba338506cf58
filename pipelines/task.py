"""The interfaces that a task implements: `Task` and `Preprocessor`."""

import abc
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
import pandas as pd

from pipelines.data.batches import Batches, make_batches, padded
from pipelines.data.fields import Fields
from pipelines.errors import UserError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from matplotlib.figure import Figure

    from pipelines.presets import Preset
    from pipelines.training.distillation import Lesson

Tensors = Mapping[str, "tf.Tensor"]  # name -> tensor, batch dimension first
Confidence = Mapping[str, np.ndarray]  # what `Task.calibrate` returns, by name


@dataclass(frozen=True)
class Endpoint:
    """A signature of an export: a function from raw inputs, described by `signature`, to readable outputs."""

    answer: Callable[[Tensors], Tensors]
    signature: dict[str, "tf.TensorSpec"]
    typical: Mapping[str, Any] = field(default_factory=dict)  # values, for one row, of inputs that a client may omit
    compared: int | None = None  # largest number of examples that an export is checked with, if an answer takes long


@dataclass(frozen=True)
class NumericEndpoint:
    """An endpoint with numeric inputs and outputs only, for formats without strings; it has some of `serve`'s outputs.

    `numbers` converts the raw inputs of `serve` to its inputs, as a client must do. `reading` describes this conversion
    to clients, as JSON.
    """

    answer: Callable[[Tensors], Tensors]
    signature: dict[str, "tf.TensorSpec"]
    numbers: Callable[[Tensors], Tensors]
    reading: Mapping[str, Any]


class Preprocessor(abc.ABC):
    """Adapt to the training split, then convert raw examples to tensors in the graph.

    The keyword arguments of a subclass are the `preprocessing` section of the config. A task with a `preset_kind` takes
    the preset of the chosen model as its only positional argument, by default None. `state` holds the preset and
    everything that `adapt` computed, as plain arrays. Two preprocessors with the same settings and state behave the
    same.
    """

    state: dict[str, np.ndarray]
    warnings: Sequence[str] = ()  # set by `adapt`, about unusual training data
    threshold: float | None = None  # decision threshold of a binary task, else None
    confidence: Confidence = {}  # of the model that it belongs to, once that is trained; empty: answers do not use it
    preset: "Preset | None" = None  # published backbone of the chosen model, in `state` without its weights
    may_change: Collection[str] = ()  # settings that `state` does not depend on, or only for what is new in the data
    added: Mapping[str, Sequence[str]] = {}  # set by `extend`: kind of entries -> those that the state had not
    lookups: Sequence["tf.Module"] = ()  # layers and tokenizers with tables, tracked by an export

    @abc.abstractmethod
    def adapt(self, train: pd.DataFrame) -> None:
        """Compute `state` from the training split only."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore the `state` of a preprocessor with the same settings."""

    def extend(self, state: Mapping[str, np.ndarray], train: pd.DataFrame) -> None:
        """Restore the `state` of an earlier run, and add what the training split has beyond it. Default: add nothing.

        New entries of a vocabulary follow the known ones, because the model takes over the weights of these.

        Raises:
            UserError: If the state cannot be used for this data.
        """
        self.restore(state)

    def split_warnings(self, split: str, examples: pd.DataFrame) -> list[str]:
        """Return warnings about values of another split that `adapt` has not seen. Default: none."""
        return []

    @property
    @abc.abstractmethod
    def signature(self) -> dict[str, "tf.TensorSpec"]:
        """Specs of the raw inputs by column name, batch dimension first."""

    @property
    @abc.abstractmethod
    def features(self) -> Any:
        """What a model builder needs to know about the inputs: sizes, vocabularies, bins."""

    @abc.abstractmethod
    def inputs(self, raw: Tensors) -> Tensors:
        """Convert raw inputs to model inputs in training, evaluation and serving; variable-length inputs are ragged."""

    @abc.abstractmethod
    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, "tf.Tensor", "tf.Tensor"]:
        """Convert raw examples to model inputs, labels and sample weights.

        With `training`, the inputs may include values that a client's input never has.
        """

    def steps(self, example: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return what becomes of a raw example, a table of one row, in readable tables by name. Default: none."""
        return {}

    @property
    def augments(self) -> bool:
        """Whether `augment` changes anything."""
        return False

    def augment(
        self, inputs: Tensors, labels: "tf.Tensor", weights: "tf.Tensor", *, seed: "tf.Tensor"
    ) -> tuple[Tensors, "tf.Tensor", "tf.Tensor"]:
        """Augment a training mini-batch in the graph, with a stateless `seed` of shape (2,). Default: unchanged."""
        return inputs, labels, weights


def evenly_spaced(examples: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return up to `most` examples, evenly spaced over all rows, in memory."""
    return examples.iloc[:: -(-len(examples) // most)].reset_index(drop=True)


def beyond(known: Iterable[str], found: Iterable[str]) -> list[str]:
    """Return what was found but is not known yet, once each and in order."""
    seen = set(known)
    return [each for each in dict.fromkeys(found) if each not in seen]


def mean_of(values: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return the sums of a metric that is the mean of a value per example (N,), for `Task.metric_sums`."""
    return ratio_of(values, np.ones(len(values)))


def ratio_of(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return the sums of a metric that is a sum over another, each of a value per example (N,)."""
    return np.stack([above, below], axis=1).astype("float64"), lambda sums: sums[..., 0] / sums[..., 1]


AnswerTable = Callable[[pd.DataFrame], Mapping[str, np.ndarray]]  # predicts a table of raw examples
PreprocessorT = TypeVar("PreprocessorT", bound=Preprocessor)
ModelT = TypeVar("ModelT", bound="keras.Model")


class Task(abc.ABC, Generic[PreprocessorT, ModelT]):
    """The definition of a task. It has no state and does no training."""

    sources: Mapping[str, Callable]  # `data.source` -> function that loads raw examples
    preprocessor: type[PreprocessorT]
    models: Mapping[str, Callable[..., ModelT]]  # simplest first
    losses: Mapping[str, Callable[..., "keras.Loss"]]
    metrics: Mapping[str, Literal["min", "max"]]  # name -> which direction is better; `compute_metrics` may return more
    perfect: Mapping[str, float] = {}  # the best value of metrics that are maximized, if it is not 1
    main_metric: Callable[[Mapping[str, Any]], str] | None = None  # `preprocessing` -> metric of `monitor: auto`
    batches: Callable[..., Batches] = staticmethod(make_batches)  # called with the `batches` section
    decoding: Callable[..., Any] | None = None  # called with the `decoding` section, for generated text
    samples: int = 0  # validation examples whose predictions are saved during training, for the report
    curves: Sequence[str] = ()  # metrics that the report plots besides `training.monitor`
    preset_kind: str | None = None  # which backbones models with a setting `preset` take: a key of `presets.KINDS`
    fields: Fields | None = None  # what the inputs and the target are, for the audit of the data
    limits: str  # known limits of a trained model, for the model card
    calibrates: bool = False  # whether there is `calibrate`; the config then has the section `confidence`

    @abc.abstractmethod
    def answer_inputs(
        self, model: ModelT, preprocessor: PreprocessorT, inputs: Tensors, outputs: "tf.Tensor | None" = None
    ) -> Tensors:
        """Return the readable predictions of a trained model for model inputs, in the graph.

        `outputs` are the model's outputs for `inputs`. Pass them to avoid a second call of the model.
        """

    def teach(self, teacher: ModelT, theirs: PreprocessorT, own: PreprocessorT, temperature: float) -> "Lesson | None":
        """Return what the model of another run says about examples, in the form of the labels of `own`.

        None: the teacher's outputs for the same inputs are scores of the same tokens. Default: there are no teachers.

        Raises:
            UserError: If the teacher, whose preprocessor is `theirs`, cannot teach a model with the preprocessor `own`.
        """
        raise UserError("distill", "models of this task cannot learn from a teacher; remove the section")

    def classes(self, examples: pd.DataFrame) -> Counter[str]:
        """Count the examples of each class in a split, for the data summary. Default: none."""
        return Counter()

    def beliefs(
        self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Sequence[str]] | None:
        """Return the probabilities (N, C) of the classes and their names, or predicted numbers (N,) and no names.

        For tags, the rows are the tokens of all examples. The audit compares them with the targets. Default: None,
        because the answers say nothing about wrong targets.
        """
        return None

    def evaluation_examples(self, split: str, examples: pd.DataFrame) -> pd.DataFrame:
        """Return the examples of a split that are used to evaluate it. Default: all."""
        return examples

    def validation_step(
        self,
        model: ModelT,
        preprocessor: PreprocessorT,
        inputs: Tensors,
        labels: "tf.Tensor",
        weights: "tf.Tensor",
    ) -> tuple["tf.Tensor", Tensors]:
        """Return the loss and the predictions of a validation batch during training, in the graph."""
        outputs = model(inputs, training=False)
        loss = model.compute_loss(y=labels, y_pred=outputs, sample_weight=weights)
        return loss, self.answer_inputs(model, preprocessor, inputs, outputs)

    def answer_raw(self, model: ModelT, preprocessor: PreprocessorT, raw: Tensors) -> Tensors:
        """Predict a batch of raw examples in the graph. The metrics are computed from these predictions."""
        return self.answer_inputs(model, preprocessor, padded(preprocessor.inputs(raw)))

    def metric_signatures(self, examples: pd.DataFrame) -> Mapping[str, str]:
        """Return a standard signature per metric that states exactly how it is computed. Default: none."""
        return {}

    def endpoints(self, model: ModelT, preprocessor: PreprocessorT) -> dict[str, Endpoint]:
        """Return the endpoints of an export by name: `serve`, which `predict` also calls, and any others.

        By default, `serve` calls `answer_raw`. `predict --attention` calls the endpoint `attention`, which returns the
        query tokens (`queries` (B, T)), the key tokens (`keys` (B, S)) and the attention weights (`weights`
        (B, layers, heads, T, S)). The raw inputs of a client may differ from those of an example: see `client_inputs`.
        """
        return {"serve": Endpoint(partial(self.answer_raw, model, preprocessor), preprocessor.signature)}

    def numeric_endpoint(self, model: ModelT, preprocessor: PreprocessorT) -> NumericEndpoint | None:
        """Return an endpoint for numeric-only formats. Default: None, because the task needs texts."""
        return None

    def client_inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Return the inputs that a client would send to `serve` for these examples. Default: the same columns."""
        return examples

    def printable(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return one prediction of `serve`, as plain values, in the form to print. Default: unchanged."""
        return dict(answer)

    @abc.abstractmethod
    def compute_metrics(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compute `metrics`, and optionally more, from raw examples and their predictions, in the original units."""

    def metric_sums(
        self, metric: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> "tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None":
        """Return what each example adds to a metric (N, K), and a function from such sums (..., K) to the metric (...).

        The bootstrap of a metric is a thousand times faster with them. A share of right answers is 0 or 1 over 1.
        `metric` is one of `metrics`. Default: None, for a metric that is no function of sums; it is computed again for
        each resample.
        """
        return None

    def calibrate(
        self,
        model: ModelT,
        preprocessor: PreprocessorT,
        train: pd.DataFrame,
        validation: pd.DataFrame,
        coverage: float,
        seed: int,
    ) -> Confidence:
        """Return what `answer_inputs` needs, as `preprocessor.confidence`, to say how sure its answers are.

        Its entry `coverage` is the argument, and `calibrated_on` the number of validation examples, or tokens, that
        decided. The most probable answers must stay the same.
        """
        raise NotImplementedError

    def confidence_metrics(
        self, model: ModelT, preprocessor: PreprocessorT, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Return how well the answers of a calibrated model say how sure they are. Default: none."""
        return {}

    def validation_pictures(
        self, model: ModelT, preprocessor: PreprocessorT, examples: pd.DataFrame, answer: AnswerTable, seed: int
    ) -> dict[str, "Figure | str"]:
        """Return figures from further predictions of the validation split, by file name. Default: none."""
        return {}

    def metrics_by_class(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Return precision, recall, f1 and count per class, one row each. Default: an empty table."""
        return pd.DataFrame()

    def binary_outcomes(
        self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the true binary labels (N,) and the predicted probabilities (N,) that the threshold applies to."""
        raise NotImplementedError

    def baseline_metrics(
        self, preprocessor: PreprocessorT, train: pd.DataFrame, examples: pd.DataFrame
    ) -> dict[str, float]:
        """Return the metrics of a baseline that ignores the input, such as the training mean. Default: none.

        A model that does not beat the baseline has learned nothing useful. A metric that is NaN or infinite here is so
        for every model.
        """
        return {}

    def simple_metrics(self, train: pd.DataFrame, examples: pd.DataFrame) -> dict[str, dict[str, float]]:
        """Return the metrics of simple models that learn nothing by gradient descent, by name. Default: none.

        A comparison shows them beside the task's models: a network that is no better is not worth its training.
        """
        return {}

    @abc.abstractmethod
    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Return a readable table of examples and their predictions, one row each, in order.

        The arguments are those of `compute_metrics`. Columns that identify the example come first, followed by `target`
        and `answer`, or by numeric scores if the predictions are not readable.
        """

    @abc.abstractmethod
    def pictures(
        self,
        model: ModelT,
        preprocessor: PreprocessorT,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, "Figure | str"]:
        """Return figures or HTML pages that explain a model and its predictions on a split, by file name."""

    @abc.abstractmethod
    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read command-line inputs as raw inputs, with the `reading` settings of the data.

        The index names each input: its file, `FILE:line`, or the given text. A plain range index means no names.
        A `DataWarning` reports inputs that were read differently than they may appear.

        Raises:
            UserError: If an input cannot be used; the message names it and what would work.
        """
