"""Preprocessing of the image classifier: encoded images to pixels, classes to labels. Runs in the graph.

Shapes: B images, S pixels per side, C classes, O model outputs: 1 for a class and its opposite, C for more classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data.batches import raw_batches
from pipelines.data.images.read import decode_image
from pipelines.errors import UserError, did_you_mean
from pipelines.presets import Preset, preset_of
from pipelines.task import Preprocessor, Tensors, beyond
from pipelines.tasks.cat_classifier.augmentation import Augmentation, augment
from pipelines.tasks.cat_classifier.sources import LABEL, positive_of

SAMPLE = 5000  # training images that the mean and deviation are computed from


@dataclass(frozen=True)
class Features:
    """What the model builders need to know: sizes, mean and deviation of each channel, and a published backbone."""

    image_size: int
    outputs: int
    mean: np.ndarray  # (3,)
    deviation: np.ndarray  # (3,)
    preset: Preset | None = None


class ImagePreprocessor(Preprocessor):
    """Decode and resize images, encode and weight classes, and augment training images."""

    def __init__(
        self,
        preset: Preset | None = None,
        *,
        image_size: Annotated[int, Field(ge=8, le=1024, description="side of the models' input in pixels")],
        resize: Annotated[
            Literal["stretch", "crop", "pad"],
            Field(description="how images become square: stretch, crop (to the centre) or pad (with black)"),
        ],
        pixel_scaling: Annotated[
            Literal["none", "unit", "standard"],
            Field(
                description="unit: divide by 255; standard: to mean 0 and standard deviation 1 per channel; none: the"
                " numbers 0 to 255 of the image"
            ),
        ],
        augmentation: Annotated[Augmentation, Field(description="random augmentations of training images")],
        class_weights: Annotated[
            Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]],
            Field(description="weight of each class in the loss; balanced: inversely proportional to its frequency"),
        ],
        threshold: Annotated[
            float, Field(gt=0, lt=1, description="predict the positive class from this probability on")
        ],
    ):
        self.preset = preset
        self.image_size, self.resize, self.pixel_scaling = image_size, resize, pixel_scaling
        self.augmentation, self.class_weights, self.threshold = augmentation, class_weights, threshold

    may_change = ("augmentation", "class_weights", "threshold")

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn the classes, their weights, and the mean and deviation of the channels.

        Raises:
            UserError: If there is only one class, or a weight is given for an unknown class.
        """
        classes = sorted(train[LABEL].unique())
        if len(classes) < 2:
            raise UserError("split.train", f"contains a single class, '{classes[0]}', so there is nothing to train on")
        mean, deviation = self._statistics(train.head(SAMPLE)[["image"]])
        weights = self._weights(train[LABEL], classes)
        preset = self.preset.state() if self.preset else {}
        self.restore({"classes": np.array(classes), "weights": weights, "mean": mean, "deviation": deviation, **preset})

    def extend(self, state: Mapping[str, np.ndarray], train: pd.DataFrame) -> None:
        """Add the classes of the training split to a state, and learn their weights; keep the mean and deviation.

        Raises:
            UserError: If a class is added to a class and its opposite.
        """
        known = [str(name) for name in state["classes"]]
        new = beyond(known, sorted(train[LABEL].unique()))
        if new and (positive := positive_of(known)) is not None:
            problem = f"the run tells only '{positive}' from all else, but train has also {', '.join(new)}"
            raise UserError("start", f"{problem}; set data.positive as in the run, or train a new run")
        classes = [*known, *new]
        self.restore({**state, "classes": np.array(classes), "weights": self._weights(train[LABEL], classes)})
        self.added = {"classes": new}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore the classes, their weights, the mean and deviation, and the preset."""
        self.state = dict(state)
        self.preset = preset_of(state)
        classes = [str(name) for name in state["classes"]]
        self.positive = positive_of(classes)
        if self.positive is not None:  # the positive class comes first in all predictions
            classes.sort(key=lambda name: name != self.positive)
        else:
            self.threshold = None
        self.classes = classes

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the inputs: encoded images."""
        return {"image": tf.TensorSpec([None], tf.string, name="image")}

    @property
    def features(self) -> Features:
        """Return the input size, the number of outputs, and the mean and deviation of the channels."""
        outputs = 1 if self.positive is not None else len(self.classes)
        return Features(self.image_size, outputs, self.state["mean"], self.state["deviation"], self.preset)

    def inputs(self, raw: Tensors) -> Tensors:
        """Decode and resize images: (B,) bytes -> (B, S, S, 3) uint8."""
        shape = [self.image_size, self.image_size, 3]
        pixels = tf.map_fn(self._pixels, raw["image"], fn_output_signature=tf.TensorSpec(shape, tf.uint8))
        return {"image": pixels}

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Return inputs, labels (B, O) from 0 to 1, and weights (B,)."""
        known = raw[LABEL][:, None] == tf.constant(self.classes)[None]  # (B, C)
        order = [list(self.state["classes"]).index(name) for name in self.classes]
        weights = tf.reduce_sum(tf.where(known, self.state["weights"][order][None], 0.0), axis=1)
        labels = tf.cast(known, tf.float32)
        return self.inputs(raw), labels[:, : self.features.outputs], weights

    def steps(self, example: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the size of the image and the range of its numbers, when decoded, resized and scaled."""
        (raw,) = raw_batches(example)
        pixels = self.inputs(raw)["image"][0].numpy().astype("float32")
        scaled = (pixels - self.state["mean"]) / self.state["deviation"]
        decoded = decode_image(raw["image"][0]).numpy()
        rows = [
            {"step": step, "shape": list(each.shape), "least": each.min(), "mean": each.mean(), "most": each.max()}
            for step, each in (("decoded", decoded), ("resized", pixels), ("scaled, in the model", scaled))
        ]
        return {"image": pd.DataFrame(rows)}

    @property
    def augments(self) -> bool:
        """Whether any augmentation is on."""
        return any(self.augmentation.values())

    def augment(
        self, inputs: Tensors, labels: tf.Tensor, weights: tf.Tensor, *, seed: tf.Tensor
    ) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Augment training images."""
        images, labels, weights = augment(inputs["image"], labels, weights, seed, self.augmentation)
        return {"image": images}, labels, weights

    def _pixels(self, encoded: tf.Tensor) -> tf.Tensor:
        image = tf.cast(decode_image(encoded), tf.float32)
        size = self.image_size
        if self.resize == "pad":
            image = tf.image.resize_with_pad(image, size, size, antialias=True)
        else:
            if self.resize == "crop":
                side = tf.minimum(tf.shape(image)[0], tf.shape(image)[1])
                top, left = (tf.shape(image)[0] - side) // 2, (tf.shape(image)[1] - side) // 2
                image = image[top : top + side, left : left + side]
            image = tf.image.resize(image, [size, size], antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)

    def _statistics(self, images: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        if self.pixel_scaling != "standard":
            return np.zeros(3, "float32"), np.full(3, 255 if self.pixel_scaling == "unit" else 1, "float32")
        sums = [
            (np.mean(part, (0, 1, 2)), np.mean(part**2, (0, 1, 2)), len(part))
            for part in (self.inputs(raw)["image"].numpy().astype("float64") for raw in raw_batches(images))
        ]
        mean, square = (np.average([part[i] for part in sums], axis=0, weights=[p[2] for p in sums]) for i in (0, 1))
        return mean.astype("float32"), np.sqrt(np.maximum(square - mean**2, 1.0)).astype("float32")

    def _weights(self, labels: pd.Series, classes: list[str]) -> np.ndarray:
        if self.class_weights == "none":
            return np.ones(len(classes), "float32")
        if self.class_weights == "balanced":
            counts = labels.value_counts().reindex(classes, fill_value=0).to_numpy()
            there = counts > 0  # a class of an earlier run may have no examples
            return np.where(there, len(labels) / (there.sum() * np.maximum(counts, 1)), 1.0).astype("float32")
        for name in self.class_weights:
            if name not in classes:
                raise UserError("preprocessing.class_weights", f"no class '{name}'{did_you_mean(name, classes)}")
        return np.array([self.class_weights.get(name, 1.0) for name in classes], "float32")
