"""The cat-classifier task: what the line needs to know of it."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure
from pydantic import Field
from sklearn import metrics

from pipelines.data.batches import holds_files
from pipelines.data.images.folders import images_below, passed_over_warnings
from pipelines.data.images.read import undecodable
from pipelines.errors import DataWarning, UserError
from pipelines.evaluation import decoded
from pipelines.task import NumericEndpoint, Preprocessor, Task, Tensors
from pipelines.tasks.cat_classifier import sources
from pipelines.tasks.cat_classifier.models import MODELS
from pipelines.tasks.cat_classifier.pictures import draw_pictures
from pipelines.tasks.cat_classifier.preprocessing import ImagePreprocessor
from pipelines.tasks.cat_classifier.sources import KIND, LABEL, positive_of

Smoothing = Annotated[
    float, Field(ge=0, lt=1, description="share of each label spread evenly over the classes (Szegedy et al. 2016)")
]


class CrossEntropy(keras.Loss):
    """Take minus the log of the true class's probability: of one output a sigmoid's, of more a softmax's."""

    def __init__(self, label_smoothing: float):
        super().__init__()
        self.label_smoothing = label_smoothing

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Give one loss an example: labels and logits (B, O) to (B,)."""
        binary = y_pred.shape[-1] == 1
        loss = keras.losses.binary_crossentropy if binary else keras.losses.categorical_crossentropy
        return loss(y_true, y_pred, from_logits=True, label_smoothing=self.label_smoothing)


def cross_entropy(*, label_smoothing: Smoothing) -> keras.Loss:
    """Take minus the log of the true class's probability."""
    return CrossEntropy(label_smoothing)


class CatClassifier(Task):
    """Tell the class of an image."""

    sources = {"embedded": sources.embedded, "files": sources.files, "tfds": sources.tfds}
    preprocessor = ImagePreprocessor
    models = MODELS
    losses = {"cross_entropy": cross_entropy}
    metrics = {
        "accuracy": "max",
        "balanced_accuracy": "max",
        "precision": "max",
        "recall": "max",
        "f1": "max",
        "auc": "max",
        "log_loss": "min",
    }
    label = LABEL
    remarks = (KIND,)
    limits = (
        "- It answers every image with one of its classes, also one that shows none of them.\n"
        "- It knows images like those that it learnt from: other cameras, angles, backgrounds and styles were not"
        " measured. Drawings say nothing of photographs.\n"
        "- It sees an image at the size of its input: what is small in it is lost.\n"
        "- Its probabilities are not calibrated; `report/` of the run shows how far they can be relied on.\n"
        "- The orientation that a camera notes in EXIF data is not heeded."
    )

    def answer(
        self, model: keras.Model, preprocessor: Preprocessor, inputs: Tensors, outputs: tf.Tensor | None = None
    ) -> Tensors:
        """Give each image's label (B,) with its probability (B,), and all labels and probabilities (B, C)."""
        logits = model(inputs, training=False) if outputs is None else outputs
        classes = tf.constant(preprocessor.classes)
        probabilities = _probabilities(logits)
        if preprocessor.positive is None:
            chosen = tf.argmax(probabilities, axis=1)
        else:
            chosen = tf.where(probabilities[:, 0] >= preprocessor.threshold, 0, 1)
        return {
            "label": tf.gather(classes, chosen),
            "probability": tf.gather(probabilities, chosen, batch_dims=1),
            "labels": tf.tile(classes[None], [tf.shape(logits)[0], 1]),
            "probabilities": probabilities,
        }

    def classes(self, examples: pd.DataFrame) -> Counter[str]:
        """Count the images of each label."""
        return Counter(examples[LABEL])

    def numeric_endpoint(self, model: keras.Model, preprocessor: Preprocessor) -> NumericEndpoint:
        """Take decoded images of the input's size; give probabilities."""
        size = preprocessor.image_size
        threshold = {} if preprocessor.positive is None else {"threshold": preprocessor.threshold}
        return NumericEndpoint(
            answer=lambda raw: {"probabilities": _probabilities(model(raw, training=False))},
            signature={"image": tf.TensorSpec([None, size, size, 3], tf.uint8, name="image")},
            numbers=preprocessor.inputs,
            reading={
                "inputs": f"image: rows, columns and red, green, blue, 0 to 255, brought to {size} by {size}"
                f" ('{preprocessor.resize}', bilinear with antialiasing) by the client: resized otherwise, answers"
                " differ from what was measured",
                "labels": preprocessor.classes,
                **threshold,
            },
        )

    def score(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compare labels and probabilities; of more than two classes, precision, recall, f1 and auc are their means.

        `auc` is NaN where a class does not occur among the examples.
        """
        true = examples[LABEL].to_numpy(str)
        label, classes = decoded(answers["label"]), decoded(answers["labels"][0])
        probabilities = answers["probabilities"].astype("float64")
        probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 adds up to nearly 1
        positive = positive_of(list(classes))
        kind = {"average": "macro"} if positive is None else {"average": "binary", "pos_label": positive}
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(true, label, zero_division=0.0, **kind)
        present = np.unique(true)
        unknown = np.setdiff1d(present, classes)  # that train lacks
        columns = np.concatenate([probabilities, np.zeros((len(true), len(unknown)))], axis=1)
        known = np.concatenate([classes, unknown])
        order = np.argsort(known)  # scikit-learn takes columns in the order of sorted names
        return {
            "accuracy": float(metrics.accuracy_score(true, label)),
            "balanced_accuracy": float(metrics.recall_score(true, label, labels=present, average="macro")),
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "auc": _auc(true, classes, probabilities, positive) if set(present) == set(classes) else float("nan"),
            "log_loss": float(metrics.log_loss(true, columns[:, order], labels=known[order])),
        }

    def by_class(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Measure each class, those that train lacks too."""
        true = examples[LABEL].to_numpy(str)
        classes = decoded(answers["labels"][0])
        names = [*map(str, classes), *map(str, np.setdiff1d(true, classes))]
        figures = metrics.precision_recall_fscore_support(
            true, decoded(answers["label"]), labels=names, zero_division=0.0
        )
        return pd.DataFrame(dict(zip(("precision", "recall", "f1", "count"), figures, strict=True)), index=names)

    def decided(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Give which images are of the positive class, which is the first, and how probable that was."""
        (positive,) = decoded(answers["labels"][0, :1])
        return examples[LABEL].to_numpy(str) == positive, answers["probabilities"][:, 0]

    def trivial_scores(
        self, preprocessor: Preprocessor, train: pd.DataFrame, examples: pd.DataFrame
    ) -> dict[str, float]:
        """Answer the most frequent class, and each class with its share of train."""
        shares = train[LABEL].value_counts(normalize=True)[preprocessor.classes]
        names = np.array([name.encode() for name in preprocessor.classes], object)
        row = {"label": names[shares.argmax()], "labels": names, "probabilities": shares.to_numpy()}
        return self.score(examples, {name: np.array([value] * len(examples)) for name, value in row.items()})

    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """List images by their files, where they have any, with their classes."""
        return pd.DataFrame(
            {
                **({"image": examples["image"].to_numpy()} if holds_files(examples["image"]) else {}),
                "target": examples[LABEL].to_numpy(),
                "answer": [label.decode() for label in answers["label"]],
                "probability": answers["probability"],
            }
        )

    def pictures(
        self,
        model: keras.Model,
        preprocessor: Preprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, Figure]:
        """Draw what is confused, how probable answers really are, the worst mistakes, and what the model looks at."""
        return draw_pictures(model, preprocessor, examples, answers)

    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read image files, all images of a folder, or those that a text file names, one a line.

        Of a folder what is no image is passed over, and what cannot be decoded left out; both are said.
        """
        given = [Path(text) for text in [*inputs, *(_lines(file) if file is not None else [])]]
        paths = [image for path in given for image in _images_of(path)]
        faults = undecodable(paths)
        for number, reason in faults.items():
            if paths[number] in given:
                raise UserError(str(paths[number]), reason)
            warnings.warn(f"{paths[number]} left out: {reason}", DataWarning, stacklevel=1)
        sound = [path for number, path in enumerate(paths) if number not in faults]
        if faults and not sound:
            raise UserError(str(paths[0]), f"{faults[0]}; no image is left to answer")
        return pd.DataFrame({"image": sound}, index=pd.Index(map(str, sound), dtype=object))


TASK = CatClassifier()


def _probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Give the probability of each class (B, C), of two from a single logit."""
    if logits.shape[-1] > 1:
        return tf.nn.softmax(logits)
    positive = tf.sigmoid(logits[:, 0])
    return tf.stack([positive, 1 - positive], axis=1)


def _auc(true: np.ndarray, classes: np.ndarray, probabilities: np.ndarray, positive: str | None) -> float:
    if positive is not None:
        return float(metrics.roc_auc_score(true == positive, probabilities[:, 0]))
    each = [metrics.roc_auc_score(true == name, probabilities[:, column]) for column, name in enumerate(classes)]
    return float(np.mean(each))


def _images_of(path: Path) -> list[Path]:
    """Give an image, or those of a folder, and say what else is in it."""
    if not path.exists():
        raise UserError(str(path), "no such file; an input is an image file, or a folder of them")
    if not path.is_dir():
        return [path]
    images, others = images_below(path)
    odd = passed_over_warnings(others, path)
    if not images:
        raise UserError(str(path), f"this folder holds no image{''.join(f'; {line}' for line in odd)}")
    for line in odd:
        warnings.warn(line, DataWarning, stacklevel=1)
    return images


def _lines(file: str) -> list[str]:
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(file, "cannot be read as a text file with the path of an image on each line") from None
    return [line for line in lines if line.strip()]
