"""Text to token ids and back, on every level."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.tokenizers import END, PAD, UNKNOWN, make_tokenizer

TEXTS = ["The cat sat.\n\n  The  dog ate 42 pies, didn't it?", "A caf\u00e9 \u4f60\u597d\u3002 the cat\tthe dog\n"] * 20
LEVELS = ("byte", "character", "word", "subword")


@pytest.fixture(scope="module")
def tokenizers():
    made = {level: make_tokenizer(level, 120, "unigram") for level in LEVELS}
    for tokenizer in made.values():
        tokenizer.learn(TEXTS)
    return made


def back(tokenizer, texts):
    ids = tokenizer.encode(tf.constant(texts)).to_tensor(PAD)
    return [text.decode() for text in tokenizer.decode(ids).numpy()]


@pytest.mark.parametrize("level", LEVELS)
def test_what_training_text_holds_comes_back_as_it_was(tokenizers, level):
    assert back(tokenizers[level], TEXTS[:2]) == TEXTS[:2]


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=40))
def test_bytes_lose_nothing(text):
    assert back(make_tokenizer("byte", 300, "unigram"), [text]) == [text]


@settings(deadline=None, max_examples=50)
@given(st.text("The catsdogw.,42\n \u00e9", max_size=40))
def test_words_of_known_characters_lose_nothing_in_the_split(text):
    tokenizer = make_tokenizer("word", 10_000, "unigram")
    tokenizer.learn([text])
    assert back(tokenizer, [text]) == [text]


@pytest.mark.parametrize("level", ["character", "word", "subword"])
def test_what_was_never_seen_becomes_unknown(tokenizers, level):
    ids = tokenizers[level].encode(tf.constant(["\u0416"])).numpy()[0]
    assert UNKNOWN in ids
    assert "\ufffd" in back(tokenizers[level], ["\u0416"])[0]


@pytest.mark.parametrize("level", LEVELS)
def test_each_id_counts_its_characters(tokenizers, level):
    tokenizer = tokenizers[level]
    for text in TEXTS[:2]:
        ids = tokenizer.encode(tf.constant([text])).numpy()[0]
        assert np.take(tokenizer.characters, ids).sum() == len(text)
        assert ids.min() > END and ids.max() < tokenizer.size


@pytest.mark.parametrize("level", LEVELS)
def test_a_restored_tokenizer_does_the_same(tokenizers, level):
    restored = make_tokenizer(level, 120, "unigram")
    restored.restore(tokenizers[level].state)
    np.testing.assert_array_equal(*(t.encode(tf.constant(TEXTS[:1])).numpy() for t in (restored, tokenizers[level])))


def test_too_little_text_for_subwords_is_said():
    with pytest.raises(UserError, match=r"preprocessing\.vocabulary"):
        make_tokenizer("subword", 100, "bpe").learn([""])
