"""Task and Preprocessor: the contract that a task fills in and the whole line relies on."""

import abc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from pipelines.data.batches import Batches, make_batches, padded

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from matplotlib.figure import Figure

Tensors = Mapping[str, "tf.Tensor"]  # name -> tensor with the batch first


@dataclass(frozen=True)
class Endpoint:
    """One thing that a trained model answers: raw inputs, named and typed by `signature`, to readable answers."""

    answer: Callable[[Tensors], Tensors]
    signature: dict[str, "tf.TensorSpec"]
    typical: Mapping[str, Any] = field(default_factory=dict)  # a value for each input that examples do not hold


@dataclass(frozen=True)
class NumericEndpoint:
    """What a trained model answers where neither texts nor files can go in: numbers to some of the answers of `serve`.

    `numbers` makes its inputs of the raw inputs of `serve`, as a client has to; `reading` tells clients how, as JSON.
    """

    answer: Callable[[Tensors], Tensors]
    signature: dict[str, "tf.TensorSpec"]
    numbers: Callable[[Tensors], Tensors]
    reading: Mapping[str, Any]


class Preprocessor(abc.ABC):
    """Learn from the training split, then turn raw examples into tensors, in graph.

    Keyword arguments of a subclass are the `preprocessing` section of the config. `state` holds all that `adapt`
    learnt as plain arrays; a preprocessor with the same settings and the same state does the same.
    """

    state: dict[str, np.ndarray]
    warnings: Sequence[str] = ()  # what `adapt` found odd in the training split
    threshold: float | None = None  # probability from which the answer is yes, where one decides
    lookups: Sequence["tf.Module"] = ()  # layers and tokenizers with tables, which an export has to carry along

    @abc.abstractmethod
    def adapt(self, train: pd.DataFrame) -> None:
        """Learn `state` from the training split and nothing else."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the `state` of a preprocessor with the same settings."""

    def split_warnings(self, split: str, examples: pd.DataFrame) -> list[str]:
        """Say what of another split `adapt` could not know of: unless overridden, nothing."""
        return []

    @property
    @abc.abstractmethod
    def signature(self) -> dict[str, "tf.TensorSpec"]:
        """Name the raw inputs among an example's columns, with type and shape, the batch first."""

    @property
    @abc.abstractmethod
    def features(self) -> Any:
        """Give what a model builder has to know of the inputs: sizes, vocabularies, bins."""

    @abc.abstractmethod
    def inputs(self, raw: Tensors) -> Tensors:
        """Turn raw inputs into model inputs, ragged where lengths differ: in training, evaluation and serving."""

    @abc.abstractmethod
    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, "tf.Tensor", "tf.Tensor"]:
        """Turn raw examples into model inputs, labels and loss weights.

        `training` says whether the model learns from them: it may then see what a client's input never does.
        """

    def augment(
        self, inputs: Tensors, labels: "tf.Tensor", weights: "tf.Tensor", *, seed: "tf.Tensor"
    ) -> tuple[Tensors, "tf.Tensor", "tf.Tensor"]:
        """Vary a training mini-batch, in graph, as `seed` (2,) draws it; unless overridden it stays as it is."""
        return inputs, labels, weights


def evenly_spaced(examples: pd.DataFrame, most: int) -> pd.DataFrame:
    """Take up to `most` examples, evenly evenly_spaced over all."""
    return examples.iloc[:: -(-len(examples) // most)].reset_index(drop=True)


class Task(abc.ABC):
    """Answer what the line asks about one task; train nothing, hold no state."""

    sources: Mapping[str, Callable]  # `data.source` -> function that gives raw examples
    preprocessor: type[Preprocessor]
    models: Mapping[str, Callable[..., "keras.Model"]]  # the ladder, simplest first
    losses: Mapping[str, Callable[..., "keras.Loss"]]
    metrics: Mapping[str, Literal["min", "max"]]  # name -> which way is better; `score` may give more
    main_metric: Callable[[Mapping[str, Any]], str] | None = None  # of `preprocessing`: what `monitor: auto` stands for
    batches: Callable[..., Batches] = staticmethod(make_batches)  # what the `batches` section calls
    decoding: Callable[..., Any] | None = None  # what the `decoding` section calls, where answers are generated
    samples: int = 0  # validation examples whose answers are kept as training goes on, for the report
    curves: Sequence[str] = ()  # metrics whose course the report draws beside that of `training.monitor`
    label: str | None = None  # the column of examples that their inputs decide: equal inputs with others contradict
    remarks: Sequence[str] = ()  # columns of examples that say more of the label, and are neither inputs nor label
    limits: str  # what whoever takes up a trained model should know before relying on it

    @abc.abstractmethod
    def answer_inputs(
        self, model: "keras.Model", preprocessor: Preprocessor, inputs: Tensors, outputs: "tf.Tensor | None" = None
    ) -> Tensors:
        """Give the readable answers of a trained model for model inputs, in graph.

        `outputs`, where the caller has them, are what the model gives for `inputs`: they save calling it again.
        """

    def classes(self, examples: pd.DataFrame) -> Counter[str]:
        """Count the examples of each class in a split, for the summary of the data: unless overridden, none."""
        return Counter()

    def evaluation_examples(self, split: str, examples: pd.DataFrame) -> pd.DataFrame:
        """Choose the examples of a split that are answered to measure it: unless overridden, all."""
        return examples

    def validation_step(
        self,
        model: "keras.Model",
        preprocessor: Preprocessor,
        inputs: Tensors,
        labels: "tf.Tensor",
        weights: "tf.Tensor",
    ) -> tuple["tf.Tensor", Tensors]:
        """Give a batch's loss and the answers to it, as training goes on, in graph."""
        outputs = model(inputs, training=False)
        loss = model.compute_loss(y=labels, y_pred=outputs, sample_weight=weights)
        return loss, self.answer_inputs(model, preprocessor, inputs, outputs)

    def answer_raw(self, model: "keras.Model", preprocessor: Preprocessor, raw: Tensors) -> Tensors:
        """Answer a batch of examples' raw inputs, in graph: what is measured."""
        return self.answer_inputs(model, preprocessor, padded(preprocessor.inputs(raw)))

    def metric_signatures(self, examples: pd.DataFrame) -> Mapping[str, str]:
        """Say of metrics exactly how they are computed for such examples, where there is a name for that."""
        return {}

    def endpoints(self, model: "keras.Model", preprocessor: Preprocessor) -> dict[str, Endpoint]:
        """Name what an export answers: `serve`, which `predict` asks too, and any other.

        Unless overridden that is `respond`. `predict --attention` asks for `attention`: tokens that look (`queries`
        (B, T)), tokens looked at (`keys` (B, S)), and how much (`weights` (B, layers, heads, T, S)).
        A client's raw inputs may be others than an example's: see `raw_inputs`.
        """
        return {"serve": Endpoint(partial(self.answer_raw, model, preprocessor), preprocessor.signature)}

    def numeric_endpoint(self, model: "keras.Model", preprocessor: Preprocessor) -> NumericEndpoint | None:
        """Answer numbers, for formats that know nothing else: unless overridden, the task cannot do without texts."""
        return None

    def client_inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Give examples as a client would send them to `serve`: unless overridden, with the same columns."""
        return examples

    def printable(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Give one answer of `serve`, as plain values, the form that is printed: unless overridden, as it is."""
        return dict(answer)

    @abc.abstractmethod
    def compute_metrics(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compute `metrics`, and what else is of interest, from raw examples and the answers to them, in raw units."""

    def metrics_by_class(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Measure each class: a row each, with precision, recall, f1 and count; unless overridden, none."""
        return pd.DataFrame()

    def binary_outcomes(
        self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give what `Preprocessor.threshold` decides: what is true (N,), and the probability answered for it (N,)."""
        raise NotImplementedError

    def baseline_metrics(
        self, preprocessor: Preprocessor, train: pd.DataFrame, examples: pd.DataFrame
    ) -> dict[str, float]:
        """Score answers to examples that look at no input, such as the mean of train: unless overridden, none.

        A model that is no better has learnt nothing; what is no number here is none whatever a model answers.
        """
        return {}

    @abc.abstractmethod
    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """List examples and the answers to them, as `score` takes both, for people to read: one row each, in order.

        The columns `target` and `answer`, or figures where answers are none to read, come after those that tell which
        example it is.
        """

    @abc.abstractmethod
    def pictures(
        self,
        model: "keras.Model",
        preprocessor: Preprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, "Figure | str"]:
        """Draw what explains a model and its answers on a split: file name -> figure, or a page of HTML."""

    @abc.abstractmethod
    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read what a person gives on the command line as raw inputs, with the `reading` settings of the data.

        The index names each: its file, `FILE:line`, or the text that was given; plain numbers from 0 name none.
        What was read in another way than it might seem is said in a `DataWarning`.

        Raises:
            UserError: naming the input and what would work.
        """
