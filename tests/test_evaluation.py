"""Answers to a table."""

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.batches import EVALUATION_BATCH
from pipelines.evaluation import answer_table


def test_rows_of_about_the_same_length_are_answered_together_and_come_back_in_their_own_order():
    lengths = np.random.default_rng(0).integers(1, 400, 3 * EVALUATION_BATCH + 7)
    rows = pd.DataFrame({"words": [["w"] * length for length in lengths], "number": range(len(lengths))})
    spreads = []

    def count(raw):
        own = tf.reduce_sum(tf.cast(raw["words"] != b"", tf.int32), axis=1)
        spreads.append(int(tf.reduce_max(own) - tf.reduce_min(own)))
        return {"count": own, "number": raw["number"]}

    answers = answer_table(count, rows)
    np.testing.assert_array_equal(answers["count"], lengths)
    np.testing.assert_array_equal(answers["number"], rows["number"])
    assert len(spreads) == 4
    assert max(spreads) < 200  # of 400, where rows in their own order give nearly all


def test_texts_count_by_their_letters_and_numbers_not_at_all():
    seen = []

    def echo(raw):
        seen.extend(raw["text"].numpy())
        return raw

    rows = pd.DataFrame({"text": ["ab", "a", "abc"], "number": [3.0, 2.0, 1.0]})
    np.testing.assert_array_equal(answer_table(echo, rows)["number"], rows["number"])
    assert seen == [b"abc", b"ab", b"a"]
