"""Split the tokens of sentences into the pieces of a published tokenizer, in the graph.

Shapes: B sentences, T tokens, P pieces of a sentence.
"""

import tensorflow as tf

from pipelines.presets import Preset
from pipelines.text.published import unknown_id


class Pieces:
    """The tokenizer of a preset, applied to one token at a time, so that each piece belongs to one token."""

    def __init__(self, preset: Preset):
        from keras_hub.tokenizers import BytePairTokenizer

        self.tokenizer = preset.tokenizer
        # In the texts that such a tokenizer was made for, a space is part of the piece after it.
        self._spaced = isinstance(self.tokenizer, BytePairTokenizer) and not self.tokenizer.add_prefix_space
        self._unknown = unknown_id(self.tokenizer)
        # Outside a graph, the tokenizer would use another library and return lists.
        self._tokenize = tf.function(self.tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])

    def split(self, tokens: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Return the ids of the pieces plus 1 (B, P), and the place of each token's first piece, from 1 (B, T).

        A token without a piece, such as a lone accent, is unknown.
        """
        flat = tokens.flat_values
        if self._spaced:
            place = tf.ragged.range(tokens.row_lengths()).flat_values
            flat = tf.where(place > 0, tf.strings.join([" ", flat]), flat)
        ids = self._tokenize(flat)
        ids = ids.with_flat_values(tf.cast(ids.flat_values, tf.int32)).with_row_splits_dtype(tf.int64)
        empty = tf.cast(ids.row_lengths() == 0, tf.int64)
        unknown = tf.fill([tf.reduce_sum(empty)], self._unknown)
        ids = tf.concat([ids, tf.RaggedTensor.from_row_lengths(unknown, empty)], axis=1)
        counts = ids.row_lengths()
        before = tf.cumsum(tf.concat([[0], counts], axis=0))  # pieces of all tokens before each token, and of all
        bounds = tf.gather(before, tokens.row_splits)
        values = tf.where(ids.flat_values < 0, self._unknown, ids.flat_values) + 1
        firsts = before[:-1] - tf.repeat(bounds[:-1], tokens.row_lengths()) + 1
        return tf.RaggedTensor.from_row_splits(values, bounds), tokens.with_flat_values(tf.cast(firsts, tf.int32))
