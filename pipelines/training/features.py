"""Train the head of a model on the outputs of its frozen backbone, which are computed once per example.

The head shares its layers with the whole model, which is evaluated, saved and exported as always.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.data.batches import Encoder
from pipelines.task import Preprocessor, Tensors
from pipelines.training.pretrained import PretrainedModel

AT_ONCE = 32  # examples per call of the backbone: its activations stay small


def head_and_encoder(
    model: keras.Model, preprocessor: Preprocessor, batches: Mapping[str, Any]
) -> tuple[keras.Model, Encoder, dict[str, Any]]:
    """Return what is trained, how examples are encoded for it, and the settings `batches` of its mini-batches.

    These are the head of the model and features in memory if the backbone is frozen and sees each example only in one
    form: without augmentation, and with `cache` not false. Otherwise, all arguments are returned unchanged.
    """
    if not (isinstance(model, PretrainedModel) and model.features is not None and model.pretrained.frozen):
        return model, preprocessor, dict(batches)
    if preprocessor.augments or batches.get("cache") is False:
        return model, preprocessor, dict(batches)
    backbone = keras.Model(model.inputs, model.features)
    head = keras.Model(model.features, model.outputs[0], name=f"{model.name}_head")
    return head, FeatureEncoder(preprocessor, backbone), {**batches, "cache": True}


class FeatureEncoder:
    """A preprocessor whose inputs are the outputs of a backbone (N, F)."""

    def __init__(self, preprocessor: Preprocessor, backbone: keras.Model):
        self.preprocessor = preprocessor
        self._names = [tensor.name for tensor in backbone.inputs]
        self._dtype, self._shape = backbone.outputs[0].dtype, backbone.outputs[0].shape
        self._answer = tf.function(
            lambda *inputs: backbone(dict(zip(self._names, inputs, strict=True)), training=False),
            reduce_retracing=True,
            autograph=False,
        )

    def example(self, raw: Tensors, training: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return features (N, F), labels and weights."""
        inputs, labels, weights = self.preprocessor.example(raw, training=training)
        # A function on the host: in a graph of tf.data, the backbone could not use a GPU.
        features = tf.numpy_function(self._compute, [inputs[name] for name in self._names], self._dtype)
        return tf.ensure_shape(features, self._shape), labels, weights

    def augment(self, inputs: Any, labels: Any, weights: Any, *, seed: tf.Tensor) -> Any:
        """Return a mini-batch unchanged."""
        return inputs, labels, weights

    def _compute(self, *inputs: np.ndarray) -> np.ndarray:
        starts = range(0, len(inputs[0]), AT_ONCE)
        return np.concatenate([self._answer(*(each[at : at + AT_ONCE] for each in inputs)).numpy() for at in starts])
