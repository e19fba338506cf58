"""Pairs become token ids and come back, by what train held alone."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipelines.data.batches import make_token_batches, padded, tensors
from pipelines.tasks.translator.preprocessing import PairPreprocessor
from pipelines.text.tokenizers import END, START, UNKNOWN

TRAIN = pd.DataFrame({"source": ["A cat  sat.", "Two cats 12"] * 9, "target": ["Un chat.", "Deux chats 12"] * 9})


def make(**given):
    settings = {"level": "word", "vocabulary": 40, "algorithm": "unigram", "split_digits": True, "shared": True}
    preprocessor = PairPreprocessor(**{**settings, "lower_case": False, "longest": 20, **given})
    preprocessor.adapt(TRAIN)
    return preprocessor


@pytest.mark.parametrize("level", ["byte", "character", "word", "subword", "token"])
@pytest.mark.parametrize("shared", [True, False])
def test_targets_come_back_with_one_blank_for_any(level, shared):
    preprocessor = make(level=level, shared=shared, longest=60)
    ids = preprocessor.encode("target", tf.constant(["Un chat.", "  Deux\tchats\n12 "]))
    assert [row[-1] for row in ids.to_list()] == [END, END]
    texts = preprocessor.decode(padded(ids)).numpy().tolist()
    assert texts == [b"Un chat.", b"Deux chats 12"]
    if level == "word":
        assert UNKNOWN not in np.concatenate(ids.to_list())


def test_labels_are_the_target_a_step_on():
    inputs, labels, weights = make().example(tensors(TRAIN.head(2)), training=True)
    for target, label, weight in zip(inputs["target"].to_list(), labels.to_list(), weights.to_list(), strict=True):
        assert target == [START, *label[:-1]]
        assert label[-1] == END
        assert weight == [1.0] * len(label)


@pytest.mark.parametrize("shared", [True, False])
def test_training_pairs_are_split_into_other_tokens_of_the_same_texts(shared):
    pairs = {"level": "subword", "algorithm": "bpe", "vocabulary": 60 if shared else 30, "longest": 8, "shared": shared}
    preprocessor = make(**pairs, split_tokens=0.9)
    whole = padded(preprocessor.example(tensors(TRAIN), training=True))
    inputs, labels, weights = preprocessor.augment(*whole, seed=tf.constant([0, 1], tf.int64))
    assert labels.shape[1] == 8 > whole[1].shape[1]  # no longer than the model takes
    assert np.array_equal(inputs["target"][:, 0], np.full(len(TRAIN), START))
    assert np.array_equal(inputs["target"][:, 1:], np.where(weights[:, 1:], labels[:, :-1], 0))
    for side, split in (("source", inputs["source"]), ("target", labels)):
        assert split.shape[1] > padded(preprocessor.encode(side, tf.constant(TRAIN[side]))).shape[1]
        for ended, ids, text in zip(np.any(split == END, axis=1), split, TRAIN[side], strict=True):
            answer = preprocessor.tokenizers[side].decode(ids[None]).numpy()[0].decode().strip()
            plain = " ".join(text.split())
            assert answer == plain if ended else plain.startswith(answer)
    given = make(**{**pairs, "level": "token"}, split_tokens=0.9)  # halves would be written with a blank between them
    assert given.augment(*whole, seed=tf.constant([0, 1], tf.int64))[1] is whole[1]
    same = make(**pairs).augment(*whole, seed=tf.constant([0, 1], tf.int64))
    assert same[1] is whole[1]  # nothing is split unless it is asked for


def test_each_mini_batch_is_split_anew_and_a_stream_taken_up_goes_on_alike():
    preprocessor = make(level="subword", algorithm="bpe", vocabulary=60, split_tokens=0.9)
    batches = make_token_batches(TRAIN, preprocessor, 0, tokens=10_000, cache="auto")
    assert batches.steps_per_epoch == 1
    labels = [batch[1].numpy() for batch in batches.stream(0).take(3)]
    texts = [sorted(preprocessor.decode(tf.constant(each)).numpy()) for each in labels]
    assert texts[0] == texts[1] == texts[2] == sorted(text.encode() for text in TRAIN["target"])
    assert labels[1].shape != labels[2].shape or (labels[1] != labels[2]).any()
    again = next(iter(batches.stream(2)))[1].numpy()
    assert np.array_equal(again, labels[2])


def test_what_is_too_long_is_cut():
    cut, whole = make(level="character", longest=4).encode("source", tf.constant(["A cat", "A "])).to_list()
    assert len(cut) == 4
    assert END not in cut  # the text goes on: no model should learn to stop there
    assert whole[-1] == END


def test_two_vocabularies_hold_each_its_own():
    preprocessor = make(shared=False)
    assert " cat" in preprocessor.tokenizers["source"].pieces
    assert " cat" not in preprocessor.tokenizers["target"].pieces
    assert preprocessor.features.source_tokens == preprocessor.tokenizers["source"].size


def test_case_may_be_dropped_on_both_sides():
    preprocessor = make(lower_case=True)
    assert (
        preprocessor.decode(padded(preprocessor.encode("target", tf.constant(["Un CHAT."])))).numpy()[0] == b"un chat."
    )


def test_digits_may_be_kept_apart():
    pieces = make(level="subword").tokenizers["target"].pieces
    assert not any(sum(sign.isdigit() for sign in piece) > 1 for piece in pieces)
