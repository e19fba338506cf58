"""Split the tokens of sentences into the pieces of a published tokenizer, in the graph.

Shapes: B sentences, T tokens, P pieces of a sentence.
"""

import tensorflow as tf

from pipelines.presets import Preset
from pipelines.text.published import text_encoder


class Pieces:
    """The tokenizer of a preset, applied to one token at a time, so that each piece belongs to one token."""

    def __init__(self, preset: Preset):
        from keras_hub.tokenizers import BytePairTokenizer

        tokenizer = preset.tokenizer
        # In the texts that such a tokenizer was made for, a space is part of the piece after it.
        self._spaced = isinstance(tokenizer, BytePairTokenizer) and not tokenizer.add_prefix_space
        self._unknown = preset.unknown_id
        self._encode, self.lookups = text_encoder(preset)

    def split(self, tokens: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Return the ids of the pieces plus 1 (B, P), and the place of each token's first piece, from 1 (B, T).

        A token without a piece, such as a lone accent, is unknown.
        """
        flat = tokens.flat_values
        if self._spaced:
            place = tf.ragged.range(tokens.row_lengths()).flat_values
            flat = tf.where(place > 0, tf.strings.join([" ", flat]), flat)
        ids = self._encode(flat)
        empty = tf.cast(ids.row_lengths() == 0, tf.int64)
        unknown = tf.fill([tf.reduce_sum(empty)], self._unknown)
        ids = tf.concat([ids, tf.RaggedTensor.from_row_lengths(unknown, empty)], axis=1)
        counts = ids.row_lengths()
        before = tf.cumsum(tf.concat([[0], counts], axis=0))  # pieces of all tokens before each token, and of all
        bounds = tf.gather(before, tokens.row_splits)
        values = ids.flat_values + 1
        firsts = before[:-1] - tf.repeat(bounds[:-1], tokens.row_lengths()) + 1
        return tf.RaggedTensor.from_row_splits(values, bounds), tokens.with_flat_values(tf.cast(firsts, tf.int32))
