"""Base class of the translators: embeddings, scores and the loss.

Shapes: B sentences, T target tokens, N target tokens without padding, V target token ids, D features.
"""

from functools import partial
from typing import Any

import keras
from keras import ops

from pipelines.tasks.translator.preprocessing import Features
from pipelines.text.sampling import GenerativeModel


class Translator(GenerativeModel):
    """Base class of the translators. The models return hidden states, so scores are only computed where needed."""

    shared = ("source",)

    def output_scores(self, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the scores of every token: (..., D) -> (..., V)."""
        return self.scores(outputs)

    def scores(self, hidden: keras.KerasTensor) -> keras.KerasTensor:
        """Return the scores (logits) of every token: (..., D) -> (..., V)."""
        return self.embedding(hidden, reverse=True)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> keras.KerasTensor:
        """Return the mean loss over all tokens that are not padding.

        Keras would also compute the scores of padding, and smooth the labels in another pass over all scores. The
        scores are most of the cost. This method computes the smoothing term from the embeddings instead: the mean score
        over all tokens equals the score of the mean embedding. On JAX, where a shape cannot depend on values, padding
        has the weight zero.
        """
        weights, labels = ops.reshape(sample_weight, (-1,)), ops.reshape(y, (-1,))
        hidden, mean = ops.reshape(y_pred, (-1, y_pred.shape[-1])), ops.mean
        if keras.backend.backend() == "jax":
            mean = partial(_weighted_mean, weights)
        else:
            places = ops.nonzero(weights)[0]
            labels, hidden = (ops.take(each, places, axis=0) for each in (labels, hidden))  # (N,), (N, D)
        scores = ops.cast(self.scores(hidden), self.variable_dtype)  # from here on in float32, in every precision
        loss = mean(ops.sparse_categorical_crossentropy(labels, scores, from_logits=True))
        share = self.loss.label_smoothing
        if not share:
            return loss
        tied = self.embedding.tie_weights
        rows = self.embedding.embeddings if tied else ops.transpose(self.embedding.reverse_embeddings)  # (V, D)
        beyond = ops.take(rows, labels, axis=0) - self.mean_embedding(rows)
        return loss + share * mean(ops.sum(ops.cast(hidden, beyond.dtype) * beyond, axis=-1))

    def mean_embedding(self, rows: keras.KerasTensor) -> keras.KerasTensor:
        """Return the mean (D,) of the embeddings (V, D) of the tokens that share the smoothed labels."""
        return ops.mean(rows, axis=0)


def _weighted_mean(weights: keras.KerasTensor, values: keras.KerasTensor) -> keras.KerasTensor:
    return ops.sum(weights * values) / ops.sum(weights)


def make_embeddings(features: Features, width: int, tied: bool) -> tuple[keras.Layer, keras.Layer]:
    """Return the embeddings of the source and of the target. The target embedding also computes the scores."""
    target = make_embedding(features.target_tokens, width, tie_weights=tied)
    return (target if features.shared and tied else make_embedding(features.source_tokens, width)), target


def make_embedding(tokens: int, width: int, **settings: Any) -> keras.Layer:
    """Return an embedding of so many tokens."""
    initializer = keras.initializers.RandomNormal(stddev=width**-0.5)
    return keras.layers.ReversibleEmbedding(tokens, width, embeddings_initializer=initializer, **settings)
