"""Text to token ids and back, on every level."""

import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.text.tokenizers import END, PAD, UNKNOWN, make_tokenizer

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


SIGNS = "ab \n\t<>&;_\u2581\u2585\u2047\u00a0\u3000\x1f\0\u0416\u4f60\u0301\U0001f600\ufffd"
PARTS = ["<unk>", "<s>", "</s>", "<pad>", "<0x0A>", " \u2047 ", "\u2581\u2581", "<start>", "<end>", *SIGNS]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def subwords(request):
    tokenizer = make_tokenizer("subword", 60, request.param)
    tokenizer.learn([*TEXTS, *["".join(PARTS)] * 9])
    return tokenizer


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join))
def test_subwords_lose_nothing_of_characters_that_training_had(subwords, text):
    assert back(subwords, [text]) == [text]


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(blacklist_categories=["Cs", "Cn"]), max_size=20))
def test_what_subwords_never_saw_is_marked_where_it_stood(subwords, text):
    known = set("".join([*TEXTS, *PARTS]))
    marked = re.sub("\ufffd+", "\ufffd", "".join(sign if sign in known else "\ufffd" for sign in text))
    assert back(subwords, [text]) == [marked]


SPLIT = ["mr. <unk> is n't <start> here\n\n  u.s. N \u2581 \n", "the <unk> \u00a0\tN\r\n"]


def test_given_tokens_are_what_stands_between_blanks_and_the_ends_of_lines():
    tokenizer = make_tokenizer("token", 100, "unigram")
    tokenizer.learn(SPLIT)
    first, second = ([tokenizer.pieces[at] for at in row] for row in tokenizer.encode(tf.constant(SPLIT)).to_list())
    assert first == ["mr.", "<unk>", "is", "n't", "<start>", "here", "\n", "\n", "u.s.", "N", "\u2581", "\n"]
    assert second == ["the", "<unk>", "\u00a0", "N", "\n"]
    ids = tokenizer.encode(tf.constant(SPLIT[:1])).to_list()[0]
    assert ids[1] == UNKNOWN and min(ids[:1] + ids[2:]) > END
    assert back(tokenizer, SPLIT) == [" mr. <unk> is n't <start> here\n\nu.s. N \u2581\n", " the <unk> \u00a0 N\n"]
    assert np.take(tokenizer.characters, ids).sum() == len("mr. <unk> is n't <start> here \n\nu.s. N \u2581 \n")


def test_a_vocabulary_of_given_tokens_is_as_large_as_the_text_s_own():
    tokens = [f"w{number}" for number in range(20)]
    tokenizer = make_tokenizer("token", 22, "unigram")  # with the line's end and the unknown token
    tokenizer.learn([" ".join([*tokens, "<unk>"]) + "\n"])
    assert {*tokens, "\n", "<unk>"} <= set(tokenizer.pieces)
    smaller = make_tokenizer("token", 21, "unigram")
    smaller.learn([" ".join([*tokens, "<unk>"]) + "\n"])
    assert len(set(tokenizer.pieces) - set(smaller.pieces)) == 1


@pytest.fixture(scope="module")
def given_tokens():
    tokenizer = make_tokenizer("token", 100, "unigram")
    tokenizer.learn(["a b's \u4f60 <unk>\n"])
    return tokenizer


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["a ", "b's ", "<unk> ", "\n", " ", "\t", "\u4f60\n"]), max_size=30).map("".join))
def test_given_tokens_come_back_with_one_blank_between_them(given_tokens, text):
    tokenizer = given_tokens
    lines = [" ".join(line.split()) for line in text.split("\n")]
    assert back(tokenizer, [text])[0].removeprefix(" ") == "\n".join(lines)


def test_too_little_text_for_subwords_is_said():
    with pytest.raises(UserError, match=r"preprocessing\.vocabulary"):
        make_tokenizer("subword", 100, "bpe").learn([""])
