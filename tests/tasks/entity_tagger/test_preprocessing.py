"""Tokens in texts, ids of tokens, and sentences that share no name."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.data.batches import padded, tensors
from pipelines.errors import UserError
from pipelines.metrics.entity_f1 import entities
from pipelines.tasks.entity_tagger.preprocessing import CASINGS, UNKNOWN, SentencePreprocessor
from pipelines.tasks.entity_tagger.sentences import SHARES, made_sentences

TRAIN = pd.DataFrame(
    {"tokens": [["Ann", "met", "Ann"], ["Oslo", "12"]], "tags": [["B-PER", "O", "B-PER"], ["B-LOC", "O"]]}
)


def preprocessor(**settings) -> SentencePreprocessor:
    config = load_config(shipped_config("entity_tagger"))
    made = SentencePreprocessor(**{**config.preprocessing, **settings})
    made.adapt(TRAIN)
    return made


SHIPPED = preprocessor()


def blank(text: str) -> bool:
    """Say whether a text holds nothing to read: separators, controls, and what is not assigned."""
    return all(unicodedata.category(character)[0] in "ZC" or character.isspace() for character in text)


TEXTS = {
    "Dr. Ann O'Neil-Smith, of the U.S., isn't 1,200.5 m": (
        "Dr . Ann O'Neil-Smith , of the U.S. , isn ' t 1,200.5 m".split()
    ),
    "@bob's #tag http://t.co/a?b=c :)": ["@bob", "'s", "#tag", "http://t.co/a?b=c", ":", ")"],
    "Zoë in København 東京 🇫🇷": ["Zoë", "in", "København", "東京", "🇫", "🇷"],
    "Mr\u00a0O’Connor and D'Amico's\u200b car": ["Mr", "O’Connor", "and", "D'Amico", "'s", "car"],
    "  ": [],
    "": [],
}


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_of_a_text(text):
    tokens, _ = SHIPPED.tokenize(tf.constant([text, "x"]))
    assert [token.decode() for token in tokens[0].numpy()] == TEXTS[text]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=3))
def test_each_token_stands_where_it_is_said_to_and_nothing_but_blanks_between(texts):
    tokens, starts = SHIPPED.tokenize(tf.constant(texts))
    for text, found, places in zip(texts, tokens.to_list(), starts.to_list(), strict=True):
        end = 0
        for token, place in zip(found, places, strict=True):
            token = token.decode()
            assert text[place : place + len(token)].replace("\x1f", " ") == token
            assert blank(text[end:place])
            end = place + len(token)
        assert blank(text[end:])


def test_a_pattern_of_ones_own_and_what_is_none():
    tokens, starts = preprocessor(token_pattern=r"\S+").tokenize(tf.constant(["isn't it, Bob?"]))
    assert (tokens.to_list(), starts.to_list()) == ([[b"isn't", b"it,", b"Bob?"]], [[0, 6, 10]])
    for pattern, problem in (("(", "is not a valid RE2 regular expression"), (r"\w*", "also matches the empty string")):
        with pytest.raises(UserError, match=problem):
            preprocessor(token_pattern=pattern)


def test_ids_are_those_of_folded_words_and_unknown_ones_have_their_own():
    made = preprocessor()
    raw = tensors(pd.DataFrame({"tokens": [["ANN", "99", "new", "oslo"]]}))
    assert made.inputs(raw)["words"].to_list() == [
        [2, made.inputs(tensors(TRAIN))["words"].to_list()[1][1], UNKNOWN, 4]
    ]
    kept = preprocessor(lowercase=False, fold_digits=False, min_count=2)
    assert kept.inputs(raw)["words"].to_list() == [[UNKNOWN] * 4]


@pytest.mark.parametrize(
    ("token", "form"),
    zip(["7", "!?", "a1", "B2", "go", "I", "UN", "Ann", "iPad"], range(1, len(CASINGS) + 1), strict=True),
)
def test_the_form_of_a_token(token, form):
    assert SHIPPED.inputs({"tokens": tf.constant([[token]])})["casings"].to_list() == [[form]]


def test_affixes_are_of_longer_tokens_only():
    made = preprocessor(affixes=[2])
    made.adapt(pd.DataFrame({"tokens": [["abcd", "abxx", "yycd", "ab"]], "tags": [["B-X", "O", "O", "O"]]}))
    ids = made.inputs({"tokens": tf.constant([["abcd", "ab", "zz"]])})["affixes"].to_list()[0]
    assert ids == [[2, 2], [0, 0], [0, 0]]


def test_labels_count_from_one_and_unseen_types_are_none():
    rows = pd.DataFrame({"tokens": [["Ann", "x"], ["y"]], "tags": [["B-PER", "I-NEW"], ["I-PER"]]})
    _, labels, weights = padded(SHIPPED.example(tensors(rows), training=False))
    tags = ["", *SHIPPED.tags]
    assert [[tags[label] for label in row] for row in labels.numpy()] == [["B-PER", "O"], ["I-PER", ""]]
    assert weights.numpy().tolist() == [[1, 1], [1, 0]]


def test_allowed_transitions_are_those_of_bio():
    features, tags = SHIPPED.features, SHIPPED.tags
    for i, before in enumerate([*tags, "O"]):
        for j, tag in enumerate(tags):
            legal = not tag.startswith("I-") or before[2:] == tag[2:]
            assert features.allowed[i, j] == legal


def test_no_token_can_pass_for_what_stands_for_unknown_ones():
    odd = pd.DataFrame({"tokens": [["[UNK]", "\0", "a\0", "x"]], "tags": [["B-PER", "O", "O", "O"]]})
    made = preprocessor()
    made.adapt(odd)
    assert made.inputs(tensors(odd))["words"].to_list()[0][0] == 2


def test_no_entity_in_train_is_named():
    with pytest.raises(UserError, match=r"split.train: contains no entities"):
        preprocessor().adapt(pd.DataFrame({"tokens": [["a"]], "tags": [["O"]]}))


def test_made_sentences_share_no_name_and_are_the_same_each_time():
    made = made_sentences(1000, seed=1)
    assert made == made_sentences(1000, seed=1)
    assert {split: len(rows) for split, rows in made.items()} == {split: 10 * share for split, share in SHARES.items()}
    names = {
        split: {
            " ".join(row["tokens"][entity.start : entity.stop]).casefold()
            for row in rows
            for entity in entities(row["tags"])
            if entity.type != "DATE"
        }
        for split, rows in made.items()
    }
    assert all(names.values())
    assert not names["train"] & names["validation"] and not names["train"] & names["test"]
    assert not names["validation"] & names["test"]
    assert np.mean([len(row["tokens"]) == len(row["tags"]) for rows in made.values() for row in rows]) == 1
