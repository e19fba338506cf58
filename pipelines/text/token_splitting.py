"""Random token splitting in training, so that a model learns the characters of its tokens.

Shapes: B texts, T tokens.
"""

from collections.abc import Sequence

import tensorflow as tf

from pipelines.text.tokenizers import END

ROUNDS = 4  # a half can be split again in a later round


class TokenSplitter:
    """Randomly split tokens into two tokens of the vocabulary (StochasTok, Sims et al. 2025).

    Unlike BPE-dropout (Provilkov et al. 2020), it needs only the vocabulary, whatever algorithm learned it. So it
    works in the graph on ids, and a seed makes it reproducible.
    """

    def __init__(self, pieces: Sequence[str], share: float):
        self.share = share  # approximate number of split attempts per token
        ids = {piece: at for at, piece in enumerate(pieces) if at > END}
        ways = [
            [
                (ids[piece[:cut]], ids[piece[cut:]])
                for cut in range(1, len(piece))
                if at > END and {piece[:cut], piece[cut:]} <= ids.keys()
            ]
            for at, piece in enumerate(pieces)
        ]
        self._counts = tf.constant([len(own) for own in ways])
        self._firsts = tf.cumsum(self._counts, exclusive=True)
        self._halves = tf.constant([(0, 0), *(halves for own in ways for halves in own)])

    def split(self, ids: tf.RaggedTensor, seed: tf.Tensor) -> tf.RaggedTensor:
        """Randomly split tokens of texts (B, T) with `seed` (2,); the decoded texts do not change."""
        for turn in range(ROUNDS):
            ids = self._split_some(ids, tf.random.experimental.stateless_fold_in(seed, turn))
        return ids

    def _split_some(self, ids: tf.RaggedTensor, seed: tf.Tensor) -> tf.RaggedTensor:
        tokens = ids.flat_values
        chance, way = tf.unstack(tf.random.stateless_uniform([2, tf.size(tokens)], seed))
        ways = tf.gather(self._counts, tokens)
        split = (ways > 0) & (chance < self.share / ROUNDS)
        way = tf.gather(self._firsts, tokens) + tf.cast(way * tf.cast(ways, tf.float32), tf.int32)
        halves = tf.gather(self._halves, tf.where(split, way + 1, 0))
        both = tf.stack([tf.where(split, halves[:, 0], tokens), halves[:, 1]], axis=1)
        kept = tf.ragged.boolean_mask(both, tf.stack([tf.ones_like(split), split], axis=1))
        return ids.with_flat_values(kept.with_row_splits_dtype(ids.row_splits.dtype)).merge_dims(1, 2)
