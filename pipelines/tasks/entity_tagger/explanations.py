"""Explain entities by the tokens of their sentence. Runs in the graph.

Shapes: B sentences, T tokens, K tags, E entities (the largest number in a sentence of the batch).
"""

from collections.abc import Callable

import tensorflow as tf

from pipelines.tasks.entity_tagger.decoding import Decoded

ERASED = "\N{REPLACEMENT CHARACTER}"  # a token that no vocabulary has


def contributions(decode: Callable[[tf.Tensor], Decoded], tokens: tf.Tensor) -> tf.Tensor:
    """Return how much less probable each entity is without each token (B, E, T), for padded tokens (B, T).

    The probability of an entity is here the mean over its tokens of that of their tags. A token is taken away by an
    unknown one in its place (Li et al. 2016, "Understanding Neural Networks through Representation Erasure", section
    3). Unlike gradients, this treats all models alike: those without embeddings and published encoders too.
    """
    decoded = decode(tokens)
    places = tf.range(tf.shape(tokens)[1])

    def without(place: tf.Tensor) -> tf.Tensor:
        changed = tf.where((places == place)[None] & (tokens != ""), ERASED, tokens)
        return tf.gather(decode(changed).tag_probabilities(), decoded.path, batch_dims=2)

    left = tf.map_fn(without, places, fn_output_signature=tf.TensorSpec([None, None], tf.float32))  # (T, B, T)
    number = tf.cumsum(tf.cast(decoded.begins, tf.int32), axis=1)
    entities = tf.range(1, tf.reduce_max(number, axis=[0, 1]) + 1)
    spans = tf.cast((number[:, None] == entities[None, :, None]) & decoded.within[:, None], tf.float32)  # (B, E, T)
    spans = tf.math.divide_no_nan(spans, tf.reduce_sum(spans, axis=2, keepdims=True))
    lost = tf.where(decoded.mask[None], decoded.probabilities()[None] - left, 0.0)
    return tf.einsum("sbt,bet->bes", lost, spans)
