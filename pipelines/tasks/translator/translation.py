"""What all translators have in common: embeddings, scores and the loss.

Shapes: B sentences, T target tokens, N of them that are no padding, V target token ids, D features.
"""

from typing import Any

import keras
from keras import ops

from pipelines.tasks.translator.preprocessing import Features
from pipelines.text.sampling import GenerativeModel


class Translator(GenerativeModel):
    """A model whose outputs are what scores are made from, so that none is made where none is needed."""

    shared = ("source",)

    def scores(self, hidden: keras.KerasTensor) -> keras.KerasTensor:
        """Score every token: (..., D) -> (..., V)."""
        return self.embedding(hidden, reverse=True)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> keras.KerasTensor:
        """Give the mean loss of real tokens.

        Keras would score padding too, and smooth labels by one more pass over all scores, which are most of the work.
        The mean of a token's scores is the score by the mean embedding.
        """
        places = ops.nonzero(ops.reshape(sample_weight, (-1,)))[0]
        hidden = ops.take(ops.reshape(y_pred, (-1, y_pred.shape[-1])), places, axis=0)  # (N, D)
        labels = ops.take(ops.reshape(y, (-1,)), places)
        loss = ops.mean(ops.sparse_categorical_crossentropy(labels, self.scores(hidden), from_logits=True))
        share = self.loss.label_smoothing
        if not share:
            return loss
        tied = self.embedding.tie_weights
        rows = self.embedding.embeddings if tied else ops.transpose(self.embedding.reverse_embeddings)  # (V, D)
        beyond = ops.take(rows, labels, axis=0) - ops.mean(rows, axis=0)
        return loss + share * ops.mean(ops.sum(hidden * beyond, axis=-1))


def make_embeddings(features: Features, width: int, tied: bool) -> tuple[keras.Layer, keras.Layer]:
    """Make the embeddings of the source and of the target; the latter give scores too."""

    def embedding(tokens: int, **settings: Any) -> keras.Layer:
        initializer = keras.initializers.RandomNormal(stddev=width**-0.5)
        return keras.layers.ReversibleEmbedding(tokens, width, embeddings_initializer=initializer, **settings)

    target = embedding(features.target_tokens, tie_weights=tied)
    return (target if features.shared and tied else embedding(features.source_tokens)), target
