"""Tokens are split in two in training, and what they say stays as it is."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text.token_splitting import TokenSplitter
from pipelines.text.tokenizers import SPECIAL

PIECES = [*SPECIAL, "a", "b", "c", "ab", "bc", "abc", "abca", "x"]
SPECIAL_IDS = range(len(SPECIAL))


def text(ids):
    return "".join(PIECES[at] for at in ids)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(1, len(PIECES) - 1), max_size=9), min_size=1, max_size=5), st.integers(0, 99))
def test_a_text_stays_what_it_is_whatever_is_drawn(rows, seed):
    ids = tf.RaggedTensor.from_row_lengths(
        tf.constant([token for row in rows for token in row], tf.int32), tf.constant(list(map(len, rows)), tf.int64)
    )
    split = TokenSplitter(PIECES, 1.0).split(ids, tf.constant([seed, 1], tf.int64)).to_list()
    assert [text(row) for row in split] == [text(row) for row in rows]
    for special in SPECIAL_IDS:
        assert [row.count(special) for row in split] == [row.count(special) for row in rows]


def test_every_split_is_drawn_as_often_as_another_and_halves_are_split_again():
    ids = tf.RaggedTensor.from_tensor(tf.fill([4000, 1], PIECES.index("abc")))
    split = TokenSplitter(PIECES, 0.4).split(ids, tf.constant([0, 0], tf.int64)).to_list()
    found, counts = np.unique(["|".join(PIECES[at] for at in row) for row in split], return_counts=True)
    share = dict(zip(found.tolist(), counts / len(split), strict=True))
    assert share["abc"] == pytest.approx(0.9**4, abs=0.03)
    assert share["a|bc"] == pytest.approx(share["ab|c"], abs=0.03)
    assert share["a|b|c"] > 0.01


def test_the_seed_decides():
    ids = tf.RaggedTensor.from_tensor(tf.fill([50, 3], PIECES.index("abca")))
    first, again, other = (
        TokenSplitter(PIECES, 0.5).split(ids, tf.constant(seed, tf.int64)).to_list()
        for seed in ([1, 2], [1, 2], [1, 3])
    )
    assert first == again != other
