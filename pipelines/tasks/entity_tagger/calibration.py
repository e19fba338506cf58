"""Fit the temperature of a tagger's scores, and compute the probabilities of the tags of many tokens.

Shapes: N tokens of all sentences, B sentences, T tokens, K tags.
"""

from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.batches import evaluation_batches
from pipelines.statistics.calibration import TEMPERATURES, best_temperature
from pipelines.task import Tensors
from pipelines.tasks.entity_tagger.decoding import decode_scores
from pipelines.tasks.entity_tagger.preprocessing import SentencePreprocessor
from pipelines.tasks.entity_tagger.sources import TAGS

SMALLEST = float(np.finfo("float32").eps)  # probability, where its logarithm counts


def fitted_temperature(model: keras.Model, preprocessor: SentencePreprocessor, examples: pd.DataFrame) -> float:
    """Return the temperature with the smallest negative log-likelihood of the tokens' tags (Guo et al. 2017)."""
    batches = evaluation_batches(examples, lambda raw: preprocessor.example(raw, training=False), cache=False)

    @tf.function(autograph=False, input_signature=batches.element_spec[:2])  # one trace for batches of any length
    def losses(inputs: Tensors, labels: tf.Tensor) -> tf.Tensor:
        outputs = model(inputs, training=False)

        def loss(temperature: tf.Tensor) -> tf.Tensor:
            decoded = decode_scores(preprocessor, inputs, outputs, temperature)
            own = tf.gather(decoded.tag_probabilities(), tf.maximum(labels - 1, 0), batch_dims=2)
            known = decoded.mask & (labels > 0)
            return -tf.reduce_sum(tf.where(known, tf.math.log(tf.maximum(own, SMALLEST)), 0.0))

        return tf.map_fn(loss, tf.constant(TEMPERATURES, tf.float32))

    return best_temperature(np.sum([losses(inputs, labels).numpy() for inputs, labels, _ in batches], axis=0))


def token_probabilities(
    model: keras.Model, preprocessor: SentencePreprocessor, examples: pd.DataFrame, temperatures: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return the true tag (N,), the predicted tag (N,) and, for each temperature, the probabilities (N, K) of tokens.

    Tags are places in `preprocessor.tags`. The true one is -1 if it is not there.
    """
    batches = evaluation_batches(examples, lambda raw: preprocessor.example(raw, training=False), cache=False)

    @tf.function(autograph=False, input_signature=batches.element_spec[:1])  # one trace for batches of any length
    def tagged(inputs: Tensors) -> list[tf.Tensor]:
        outputs = model(inputs, training=False)
        decoded = [decode_scores(preprocessor, inputs, outputs, temperature) for temperature in temperatures]
        found = [decoded[0].path, *(each.tag_probabilities() for each in decoded)]
        return [tf.boolean_mask(each, decoded[0].mask) for each in found]

    parts = zip(*(tagged(inputs) for inputs, _, _ in batches), strict=True)
    path, *probabilities = (np.concatenate([part.numpy() for part in each]) for each in parts)
    tags = [tag for row in examples[TAGS] for tag in row]
    return pd.Index(preprocessor.tags).get_indexer(tags), path, probabilities
