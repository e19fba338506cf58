"""The cat classifier's implementation of the `Task` interface."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure
from scipy.special import softmax

from pipelines.audit.images import Images
from pipelines.data.files import holds_files
from pipelines.data.images.folders import images_below, passed_over_warnings
from pipelines.data.images.read import undecodable
from pipelines.errors import DataWarning, UserError
from pipelines.evaluation import Answerer, decoded
from pipelines.losses import cross_entropy
from pipelines.metrics.classification import classification_metrics, metrics_by_class
from pipelines.statistics.calibration import best_temperature, set_metrics, temperature_losses
from pipelines.statistics.conformal import label_confidence
from pipelines.statistics.neighbours import neighbour_shares
from pipelines.task import Confidence, Endpoint, NumericEndpoint, Task, Tensors, mean_of
from pipelines.tasks.cat_classifier import sources
from pipelines.tasks.cat_classifier.explanations import HeatMap, heat_pictures
from pipelines.tasks.cat_classifier.models import MODELS
from pipelines.tasks.cat_classifier.pictures import draw_pictures
from pipelines.tasks.cat_classifier.preprocessing import ImagePreprocessor
from pipelines.tasks.cat_classifier.sources import FIELDS, LABEL, positive_of
from pipelines.training.distillation import divergence

EXPLAINED = 16  # images of which an export's explanations are checked


@dataclass(frozen=True)
class ClassLesson:
    """Learn from the probabilities of a teacher's classes, which are in the order of the pupil's."""

    teacher: keras.Model
    theirs: ImagePreprocessor
    order: list[int]
    temperature: float

    def soft_labels(self, raw: Tensors) -> tf.Tensor:
        """Return the probability of each class, or of the positive class (B, O)."""
        logits = self.teacher(self.theirs.inputs(raw), training=False) / self.temperature
        return tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.gather(tf.nn.softmax(logits), self.order, axis=1)

    def loss(self, labels: keras.KerasTensor, soft: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the divergence of the classes (B,)."""
        if outputs.shape[-1] == 1:  # softmax of (z, 0) is sigmoid of z
            soft = keras.ops.concatenate([soft, 1 - soft], axis=-1)
            outputs = keras.ops.concatenate([outputs, keras.ops.zeros_like(outputs)], axis=-1)
        return divergence(soft, outputs, self.temperature)


class CatClassifier(Task[ImagePreprocessor, keras.Model]):
    """Predict the class of an image."""

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
    preset_kind = "image backbone"
    calibrates = True
    fields = FIELDS
    limits = (
        "- The model predicts one of its classes for every image, even if the image shows none of them.\n"
        "- It was not evaluated on cameras, angles, backgrounds and styles that differ from the training images."
        " Results on drawings do not carry over to photographs.\n"
        "- Images are resized to the input size of the model, so small details are lost.\n"
        "- Probabilities, if they are calibrated, are so for images like those of the validation split. `report/` of"
        " the run shows how reliable they are.\n"
        "- The orientation in EXIF data is ignored."
    )

    def answer_inputs(
        self, model: keras.Model, preprocessor: ImagePreprocessor, inputs: Tensors, outputs: tf.Tensor | None = None
    ) -> Tensors:
        """Return the predicted label (B,) and its probability (B,), and all labels and probabilities (B, C).

        A calibrated model also answers the `set` of labels (B, C) that has the true one with the coverage of the
        config, '' for labels that are not in it. The predicted label always is.
        """
        logits = model(inputs, training=False) if outputs is None else outputs
        classes = tf.constant(preprocessor.classes)
        probabilities = _probabilities(logits, preprocessor)
        if preprocessor.positive is None:
            chosen = tf.argmax(logits, axis=1)
        else:
            chosen = tf.where(probabilities[:, 0] >= preprocessor.threshold, 0, 1)
        answer = {
            "label": tf.gather(classes, chosen),
            "probability": tf.gather(probabilities, chosen, batch_dims=1),
            "labels": tf.tile(classes[None], [tf.shape(logits)[0], 1]),
            "probabilities": probabilities,
        }
        if preprocessor.confidence:
            likely = probabilities >= preprocessor.confidence["least_probability"]
            within = likely | tf.one_hot(chosen, len(preprocessor.classes), True, False, dtype=tf.bool)
            answer["set"] = tf.where(within, classes[None], "")
        return answer

    def calibrate(
        self,
        model: keras.Model,
        preprocessor: ImagePreprocessor,
        train: pd.DataFrame,
        validation: pd.DataFrame,
        coverage: float,
        seed: int,
    ) -> Confidence:
        """Fit a temperature (Guo et al. 2017), and the least probability of a class in the set (Sadinle et al. 2019).

        Images of classes that train lacks decide on the sets only.
        """
        signature = preprocessor.signature
        outputs = Endpoint(lambda raw: {"logits": model(preprocessor.inputs(raw), training=False)}, signature)
        logits = Answerer(outputs).answer_table(validation)["logits"].astype("float64")
        if logits.shape[1] == 1:  # sigmoid of z is softmax of (z, 0)
            logits = np.concatenate([logits, np.zeros_like(logits)], axis=1)
        true = _places(validation, preprocessor.classes)
        known = true >= 0
        temperature = best_temperature(temperature_losses(logits[known], true[known])) if known.any() else 1.0
        return label_confidence(softmax(logits / temperature, axis=1), true, temperature, coverage)

    def confidence_metrics(
        self,
        model: keras.Model,
        preprocessor: ImagePreprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, float]:
        """Return the calibration error with and without the temperature, and the coverage and mean size of the sets."""
        true, probabilities = _places(examples, preprocessor.classes), answers["probabilities"].astype("float64")
        scaled = np.log(np.maximum(probabilities, np.finfo("float32").tiny)) * preprocessor.confidence["temperature"]
        found = set_metrics(true, probabilities, softmax(scaled, axis=1), answers["set"] != b"")
        found["log_loss_uncalibrated"] = found.pop("nll_uncalibrated")
        return {name: value for name, value in found.items() if name != "nll"}  # which is the log loss

    def printable(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out what is not in the set."""
        return {name: [each for each in value if each] if name == "set" else value for name, value in answer.items()}

    def teach(
        self, teacher: keras.Model, theirs: ImagePreprocessor, own: ImagePreprocessor, temperature: float
    ) -> ClassLesson:
        """Learn from the teacher's probabilities of the same classes, for the images without augmentation."""
        if set(theirs.classes) != set(own.classes):
            problem = f"its classes are {', '.join(theirs.classes)}, and those of train {', '.join(own.classes)}"
            raise UserError("distill.teacher", problem)
        return ClassLesson(teacher, theirs, [theirs.classes.index(name) for name in own.classes], temperature)

    def beliefs(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Sequence[str]]:
        """Return the probabilities of all classes."""
        return answers["probabilities"], list(decoded(answers["labels"][0]))

    def classes(self, examples: pd.DataFrame) -> Counter[str]:
        """Count the images of each label."""
        return Counter(examples[LABEL])

    def endpoints(self, model: keras.Model, preprocessor: ImagePreprocessor) -> dict[str, Endpoint]:
        """Return endpoints that answer the class, and a PNG file of the image that shows where the evidence for it is.

        `method` is grad_cam, or gradient for models without feature maps: see `HeatMap`.
        """
        heat_map = HeatMap(model)

        def explain(raw: Tensors) -> Tensors:
            inputs = preprocessor.inputs(raw)
            answer = self.answer_inputs(model, preprocessor, inputs)
            return {
                **{name: answer[name] for name in ("label", "probability")},
                "picture": heat_pictures(heat_map, inputs["image"]),
                "method": tf.fill(tf.shape(answer["label"]), heat_map.method),
            }

        explaining = Endpoint(explain, preprocessor.signature, compared=EXPLAINED)
        return {**super().endpoints(model, preprocessor), "explain": explaining}

    def numeric_endpoint(self, model: keras.Model, preprocessor: ImagePreprocessor) -> NumericEndpoint:
        """Return an endpoint from decoded images of the model's input size to probabilities."""
        size = preprocessor.image_size
        threshold = {} if preprocessor.positive is None else {"threshold": preprocessor.threshold}
        return NumericEndpoint(
            answer=lambda raw: {"probabilities": _probabilities(model(raw, training=False), preprocessor)},
            signature={"image": tf.TensorSpec([None, size, size, 3], tf.uint8, name="image")},
            numbers=preprocessor.inputs,
            reading={
                "inputs": "image: rows, columns, and red, green and blue from 0 to 255. The client resizes it to"
                f" {size} by {size} ('{preprocessor.resize}', bilinear with antialiasing). With any other resizing, the"
                " predictions differ from those that were evaluated",
                "labels": preprocessor.classes,
                **threshold,
            },
        )

    def compute_metrics(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compare labels and probabilities.

        With more than two classes, precision, recall, F1 and AUC are means over the classes. `auc` is NaN if a class
        does not occur among the examples.
        """
        true = examples[LABEL].to_numpy(str)
        label, classes = decoded(answers["label"]), decoded(answers["labels"][0])
        positive = positive_of(list(classes))
        return classification_metrics(true, label, classes, answers["probabilities"], positive)

    def metric_sums(
        self, metric: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None:
        """Return the right answers, or the log loss of each image; the other metrics are computed as a whole."""
        true, classes = examples[LABEL].to_numpy(str), decoded(answers["labels"][0])
        if metric == "accuracy":
            return mean_of(decoded(answers["label"]) == true)
        if metric != "log_loss":
            return None
        probabilities = answers["probabilities"].astype("float64")
        own = np.where(true[:, None] == classes, probabilities, 0.0).sum(axis=1) / probabilities.sum(axis=1)
        return mean_of(-np.log(np.maximum(own, np.finfo("float64").eps)))  # clipped as scikit-learn does

    def metrics_by_class(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Compute metrics for each class, including classes that train lacks."""
        true, classes = examples[LABEL].to_numpy(str), decoded(answers["labels"][0])
        return metrics_by_class(true, decoded(answers["label"]), classes)

    def binary_outcomes(
        self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which images belong to the positive class, and its predicted probabilities."""
        (positive,) = decoded(answers["labels"][0, :1])
        return examples[LABEL].to_numpy(str) == positive, answers["probabilities"][:, 0]

    def baseline_metrics(
        self, preprocessor: ImagePreprocessor, train: pd.DataFrame, examples: pd.DataFrame
    ) -> dict[str, float]:
        """Return the metrics of a constant prediction: the most frequent class, with the class shares of train."""
        shares = train[LABEL].value_counts(normalize=True).reindex(preprocessor.classes, fill_value=0.0)
        names = np.array([name.encode() for name in preprocessor.classes], "O")
        row = {"label": names[shares.argmax()], "labels": names, "probabilities": shares.to_numpy()}
        return self.compute_metrics(examples, {name: np.array([value] * len(examples)) for name, value in row.items()})

    def simple_metrics(self, train: pd.DataFrame, examples: pd.DataFrame) -> dict[str, dict[str, float]]:
        """Return the metrics of the five nearest neighbours by colours and edges."""
        known, asked = (Images(table[["image"]]).features for table in (train, examples))
        shares = neighbour_shares(known, train[LABEL], asked)
        names = np.array([name.encode() for name in shares.columns], "O")
        answers = {
            "label": names[shares.to_numpy().argmax(axis=1)],
            "labels": np.tile(names, (len(examples), 1)),
            "probabilities": shares.to_numpy(),
        }
        return {"nearest neighbours": self.compute_metrics(examples, answers)}

    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """List the images, by file name if they have one, with their true and predicted classes."""
        return pd.DataFrame(
            {
                **({"image": examples["image"].to_numpy()} if holds_files(examples.head(1)["image"]) else {}),
                "target": examples[LABEL].to_numpy(),
                "answer": [label.decode() for label in answers["label"]],
                "probability": answers["probability"],
            }
        )

    def pictures(
        self,
        model: keras.Model,
        preprocessor: ImagePreprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, Figure | str]:
        """Draw the confusion matrix, calibration, the worst mistakes, and what the model looks at."""
        return draw_pictures(model, preprocessor, examples, answers)

    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read image files, all images of a folder, or the images listed in a text file, one per line.

        In a folder, files that are not images or cannot be decoded are skipped with a warning.
        """
        given = [Path(text) for text in [*inputs, *(_lines(file) if file is not None else [])]]
        paths = [image for path in given for image in _images_of(path)]
        faults = undecodable(paths)
        for number, reason in faults.items():
            if paths[number] in given:
                raise UserError(str(paths[number]), reason)
            warnings.warn(f"{paths[number]} skipped: {reason}", DataWarning, stacklevel=1)
        sound = [path for number, path in enumerate(paths) if number not in faults]
        if faults and not sound:
            raise UserError(str(paths[0]), f"{faults[0]}, so there is no image to classify")
        return pd.DataFrame({"image": sound}, index=pd.Index(map(str, sound), dtype=object))


TASK = CatClassifier()


def _places(examples: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Return the place of each image's label in `classes` (N,), -1 for a label that is not there."""
    return pd.Index(classes).get_indexer(examples[LABEL])


def _probabilities(logits: tf.Tensor, preprocessor: ImagePreprocessor) -> tf.Tensor:
    """Return the probability of each class (B, C), calibrated if possible. A single logit becomes two of them."""
    logits = logits / preprocessor.confidence.get("temperature", 1.0)
    if logits.shape[-1] > 1:
        return tf.nn.softmax(logits)
    positive = tf.sigmoid(logits[:, 0])
    return tf.stack([positive, 1 - positive], axis=1)


def _images_of(path: Path) -> list[Path]:
    """Return an image path, or the image paths in a folder. Warn about other files in it."""
    if not path.exists():
        raise UserError(str(path), "no such file or folder; give an image file or a folder of images")
    if not path.is_dir():
        return [path]
    images, others = images_below(path)
    odd = passed_over_warnings(others, path)
    if not images:
        raise UserError(str(path), f"this folder contains no images{''.join(f'; {line}' for line in odd)}")
    for line in odd:
        warnings.warn(line, DataWarning, stacklevel=1)
    return images


def _lines(file: str) -> list[str]:
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(file, "cannot be read as a text file with the path of an image on each line") from None
    return [line for line in lines if line.strip()]
