"""Fit the temperature of a tagger's scores, and compute the probabilities of the tags of many tokens.

Shapes: N tokens of all sentences, B sentences, T tokens, K tags.
"""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.batches import evaluation_batches
from pipelines.statistics.calibration import TEMPERATURES, best_temperature
from pipelines.task import Tensors
from pipelines.tasks.entity_tagger.decoding import Decoded
from pipelines.tasks.entity_tagger.preprocessing import SentencePreprocessor

SMALLEST = float(np.finfo("float32").eps)  # probability, where its logarithm counts


def fitted_temperature(model: keras.Model, preprocessor: SentencePreprocessor, examples: pd.DataFrame) -> float:
    """Return the temperature with the smallest negative log-likelihood of the tokens' tags (Guo et al. 2017)."""

    @tf.function(autograph=False, reduce_retracing=True)
    def losses(inputs: Tensors, labels: tf.Tensor) -> tf.Tensor:
        outputs = model(inputs, training=False)

        def loss(temperature: tf.Tensor) -> tf.Tensor:
            decoded = _decoded(preprocessor, inputs, outputs, temperature)
            own = tf.gather(decoded.tag_probabilities(), tf.maximum(labels - 1, 0), batch_dims=2)
            known = decoded.mask & (labels > 0)
            return -tf.reduce_sum(tf.where(known, tf.math.log(tf.maximum(own, SMALLEST)), 0.0))

        return tf.map_fn(loss, tf.constant(TEMPERATURES, tf.float32))

    batches = evaluation_batches(examples, lambda raw: preprocessor.example(raw, training=False), cache=False)
    return best_temperature(np.sum([losses(inputs, labels).numpy() for inputs, labels, _ in batches], axis=0))


def token_probabilities(
    model: keras.Model, preprocessor: SentencePreprocessor, examples: pd.DataFrame, temperature: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the true tag (N,), the probabilities (N, K) and the predicted tag (N,) of all tokens.

    Tags are places in `preprocessor.tags`. The true one is -1 if it is not there.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def one_batch(inputs: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        decoded = _decoded(preprocessor, inputs, model(inputs, training=False), temperature)
        probabilities = decoded.tag_probabilities()
        return tf.boolean_mask(probabilities, decoded.mask), tf.boolean_mask(decoded.path, decoded.mask)

    batches = evaluation_batches(examples, lambda raw: preprocessor.example(raw, training=False), cache=False)
    parts = [one_batch(inputs) for inputs, _, _ in batches]
    probabilities, path = (np.concatenate([part.numpy() for part in each]) for each in zip(*parts, strict=True))
    tags = [tag for row in examples["tags"] for tag in row]
    return pd.Index(preprocessor.tags).get_indexer(tags), probabilities, path


def _decoded(
    preprocessor: SentencePreprocessor, inputs: Tensors, outputs: tf.Tensor, temperature: float | tf.Tensor
) -> Decoded:
    places = inputs["firsts" if preprocessor.preset else "words"]
    return Decoded(outputs, places, preprocessor.features, temperature)
