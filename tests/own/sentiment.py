"""A sixth task, in one file: the class of a text. Tests take it through the whole line."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure
from pydantic import Field

from pipelines.data import Source
from pipelines.data.files import Root, read_texts
from pipelines.losses import cross_entropy
from pipelines.metrics.classification import classification_metrics, metrics_by_class
from pipelines.task import Preprocessor, Task, Tensors

Width = Annotated[int, Field(ge=1, description="width of the embeddings")]


def files(*, root: Root, path: str) -> Source:
    """Read a CSV file with the columns text and label."""
    table = pd.read_csv(f"{root}/{path}")
    return Source({"all": table[["text", "label"]]}, {"file": path})


class TextVectors(Preprocessor):
    """Look words up, and classes."""

    def __init__(self, *, vocabulary: Annotated[int, Field(ge=3, description="words looked up")]):
        self.vocabulary = vocabulary

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn words and classes."""
        words = keras.layers.TextVectorization(self.vocabulary)
        words.adapt(train["text"].to_numpy(str))
        self.restore(
            {"words": np.array(words.get_vocabulary()[2:]), "classes": np.unique(train["label"].to_numpy(str))}
        )

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over words and classes."""
        self.state = dict(state)
        self.classes = list(map(str, state["classes"]))
        self.words = keras.layers.TextVectorization(
            vocabulary=list(map(str, state["words"])), output_sequence_length=12
        )
        self.lookups = [self.words]

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """The raw inputs: texts (B,)."""
        return {"text": tf.TensorSpec([None], tf.string, name="text")}

    @property
    def features(self) -> dict[str, int]:
        """The sizes of the vocabulary and of the labels."""
        return {"words": self.vocabulary + 2, "classes": len(self.classes)}

    def inputs(self, raw: Tensors) -> Tensors:
        """Turn texts (B,) into ids (B, 12)."""
        return {"ids": self.words(raw["text"])}

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Add labels (B, C) and weights (B,)."""
        labels = tf.cast(raw["label"][:, None] == tf.constant(self.classes), tf.float32)
        return self.inputs(raw), labels, tf.ones(tf.shape(labels)[0])


def bag_of_words(features: Any, *, width: Width) -> keras.Model:
    """Average the embeddings of words."""
    ids = keras.Input((12,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(features["words"], width)(ids))
    return keras.Model({"ids": ids}, keras.layers.Dense(features["classes"])(x), name="bag_of_words")


class Sentiment(Task[TextVectors, keras.Model]):
    """Tell the class of a text."""

    sources = {"files": files}
    preprocessor = TextVectors
    models = {"bag_of_words": bag_of_words}
    losses = {"cross_entropy": cross_entropy}
    metrics = {"accuracy": "max"}
    limits = (
        "- Words that are not in the training texts are ignored.\n- Irony is not recognized.\n"
        "- Every text gets one of the classes."
    )

    def answer_inputs(
        self, model: keras.Model, preprocessor: TextVectors, inputs: Tensors, outputs: tf.Tensor | None = None
    ) -> Tensors:
        """Name the most probable class."""
        outputs = model(inputs, training=False) if outputs is None else outputs
        probabilities = tf.nn.softmax(outputs)
        return {
            "label": tf.gather(preprocessor.classes, tf.argmax(probabilities, axis=1)),
            "probabilities": probabilities,
        }

    def compute_metrics(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compare classes."""
        return classification_metrics(*self._compared(examples, answers), answers["probabilities"], None)

    def metrics_by_class(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Compare each class."""
        return metrics_by_class(*self._compared(examples, answers))

    def _compared(
        self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        true = examples["label"].to_numpy(str)
        return true, answers["label"].astype(str), np.unique(true)

    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """List texts with both classes."""
        return examples.rename(columns={"label": "target"}).assign(answer=answers["label"].astype(str))

    def pictures(
        self,
        model: keras.Model,
        preprocessor: TextVectors,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, Figure | str]:
        """Draw nothing."""
        return {}

    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read texts."""
        return read_texts("text", inputs, file)


TASK = Sentiment()


def wide_bag(
    features: Any, *, width: Width, units: Annotated[int, Field(ge=1, description="hidden units")]
) -> keras.Model:
    """Put a hidden layer on a bag of words: a model of one's own for a task."""
    bag = bag_of_words(features, width=width)
    x = keras.layers.Dense(units, activation="relu")(bag.layers[-2].output)
    return keras.Model(bag.input, keras.layers.Dense(features["classes"])(x), name="wide_bag")
