"""Decode the scores of a model into tags, and the tags into entities with their text. Runs in the graph.

Shapes: B sentences, T tokens, K tags, E entities (the largest number in a sentence of the batch).
"""

import numpy as np
import tensorflow as tf

from pipelines.layers.crf import best_path, forbidding, messages, potentials
from pipelines.task import Tensors
from pipelines.tasks.entity_tagger.preprocessing import PAD, Features, SentencePreprocessor


class Decoded:
    """The most probable valid tag sequences of a batch, and the potentials needed to compute their probabilities.

    The temperature divides the scores behind the probabilities. It does not change which sequence is the most probable.
    """

    def __init__(self, outputs: tf.Tensor, tokens: tf.Tensor, features: Features, temperature: float | tf.Tensor = 1.0):
        self.mask = tokens != PAD  # (B, T)
        if outputs.shape.rank == 3:  # without a CRF, tags are independent except for forbidden transitions
            outputs = potentials(tf.nn.log_softmax(outputs), self.mask, forbidding(features.allowed))
        self.potentials, self.features = outputs / temperature, features
        self.path = best_path(outputs)
        # Tags 1 and 2 are B- and I- of the first type, 3 and 4 of the second type, and so on. O is 0.
        self.begins = self.mask & (self.path % 2 == 1)
        inside = self.mask & (self.path > 0) & (self.path % 2 == 0)
        after = tf.concat([inside[:, 1:], tf.zeros_like(inside[:, :1])], axis=1)
        self.within = self.begins | inside
        self.ends = self.within & ~after

    def probabilities(self) -> tf.Tensor:
        """Return the probability of each token's predicted tag (B, T)."""
        return tf.where(self.mask, tf.gather(self.tag_probabilities(), self.path, batch_dims=2), 0.0)

    def tag_probabilities(self) -> tf.Tensor:
        """Return the probability of each tag at each token (B, T, K)."""
        left, right = messages(self.potentials)
        return tf.nn.softmax(tf.transpose(left + right, [1, 0, 2]))

    def tag_sets(self, least: float | np.ndarray) -> tf.Tensor:
        """Return which tags are at least this probable, or are the predicted ones (B, T, K); none on padding."""
        predicted = tf.one_hot(self.path, self.features.tags, True, False, dtype=tf.bool)
        return self.mask[:, :, None] & ((self.tag_probabilities() >= least) | predicted)

    def entity_probabilities(self) -> tf.RaggedTensor:
        """Return the probability of each entity: its type and both of its ends (B, E).

        The probability is a product: that of the first tag, those of each further tag given the previous tag, and that
        of the entity ending after its last tag.
        """
        left, right = (tf.transpose(message, [1, 0, 2]) for message in messages(self.potentials))  # (B, T, K)
        first = tf.gather(tf.nn.log_softmax(left + right), self.path, batch_dims=2)  # (B, T)
        after = tf.nn.log_softmax(
            self.potentials + right[:, :, None, :]
        )  # (B, T, K, K): log-probability of each tag given the previous tag
        before = tf.concat([tf.zeros_like(self.path[:, :1]), self.path[:, :-1]], axis=1)
        steps = tf.gather(tf.gather(after, before, batch_dims=2), self.path, batch_dims=2)
        along = tf.cumsum(steps, axis=1)
        tags = np.arange(self.features.tags)
        goes_on = (tags[None] % 2 == 0) & (tags[None] > 0) & ((tags[None] - 1) // 2 == (tags[:, None] - 1) // 2)
        ends = tf.reduce_logsumexp(tf.where(goes_on, -np.inf, after[:, 1:]), axis=-1)  # O may always follow
        ends = tf.where(self.mask[:, 1:, None], ends, 0.0)
        ends = tf.concat([ends, tf.zeros_like(left[:, :1])], axis=1)
        begin, end = first - along, along + tf.gather(ends, self.path, batch_dims=2)
        return tf.exp(tf.minimum(0.0, self.of_begins(begin) + self.of_ends(end)))

    def of_begins(self, values: tf.Tensor) -> tf.RaggedTensor:
        """Select the values at the first token of each entity: (B, T) -> (B, E)."""
        return tf.ragged.boolean_mask(values, self.begins)

    def of_ends(self, values: tf.Tensor) -> tf.RaggedTensor:
        """Select the values at the last token of each entity: (B, T) -> (B, E)."""
        return tf.ragged.boolean_mask(values, self.ends)


def decode_scores(
    preprocessor: SentencePreprocessor, inputs: Tensors, outputs: tf.Tensor, temperature: float | tf.Tensor
) -> Decoded:
    """Decode the outputs of the model for its inputs, at a temperature."""
    places = inputs["firsts" if preprocessor.preset else "words"]
    return Decoded(outputs, places, preprocessor.features, temperature)


def found_entities(
    decoded: Decoded, types: list[str], text: tf.Tensor, tokens: tf.Tensor, starts: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Return the entities of texts (B,), padded to (B, E).

    The tokens (B, T) begin at the character offsets `starts` (B, T).
    """
    first = decoded.of_begins(starts)
    stops = decoded.of_ends(starts + tf.strings.length(tokens, unit="UTF8_CHAR"))
    kinds = decoded.of_begins((decoded.path - 1) // 2)
    texts = tf.repeat(text, first.row_lengths())
    names = tf.strings.substr(texts, first.flat_values, (stops - first).flat_values, unit="UTF8_CHAR")
    return {
        "entity": first.with_values(names).to_tensor(),
        "type": first.with_values(tf.gather(tf.constant(types), kinds.flat_values)).to_tensor(),
        "start": first.to_tensor(),
        "stop": stops.to_tensor(),
        "probability": decoded.entity_probabilities().to_tensor(),
    }
