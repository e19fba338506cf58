"""Splitting of tokens in training, so that a model learns what they are made of.

Shapes: B texts, T tokens.
"""

from collections.abc import Sequence

import tensorflow as tf

from pipelines.text.tokenizers import END

ROUNDS = 4  # in which a half may be split again


class TokenSplitter:
    """Split tokens in two that are tokens too, at random (Sims et al. 2025, StochasTok).

    Unlike BPE-dropout (Provilkov et al. 2020) it goes by the vocabulary alone, however that was learnt, so that it
    works in graph on ids and a seed decides what is drawn.
    """

    def __init__(self, pieces: Sequence[str], share: float):
        self.share = share  # splits that are tried, for each token of a text, about
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
        """Split tokens of texts (B, T) as `seed` (2,) draws it: what they say stays as it is."""
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
