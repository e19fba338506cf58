"""Beam search finds what searches written plainly find."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text.beam_search import BLOCK, beam_search, top_k
from pipelines.text.tokenizers import END

TOKENS = 7  # of which the first three are no text


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4 * BLOCK), st.integers(1, 12), st.integers(1, 200), st.integers(0, 99))
def test_the_highest_scores_are_tensorflows_ties_too(width, count, levels, seed):
    scores = tf.constant(np.random.default_rng(seed).integers(-levels, levels, (3, width)), tf.float32)
    count = min(count, width)
    for own, right in zip(top_k(scores, count), tf.math.top_k(scores, count), strict=True):
        np.testing.assert_array_equal(own, right)


class Table:
    """Score a token by the two before it and by a number that belongs to the row.

    It is no Keras model: Keras turns a class of models for good into one that needs inputs and outputs as soon as one
    of its kind, of whatever test, is made of these.
    """

    context, shared = None, ("number",)

    def __init__(self):
        scores = np.random.default_rng(0).normal(size=(5, TOKENS, TOKENS, TOKENS), scale=1.5)
        self.table = scores.astype("float32")

    def start(self, given, length):
        return {"number": given, "before": tf.zeros_like(given), "read": {"count": tf.zeros_like(given)}}

    def step(self, tokens, state):
        before = tf.concat([state["before"][:, None], tokens], axis=1)
        number = tf.repeat(state["number"], tf.shape(tokens)[0] // tf.shape(state["number"])[0])
        places = tf.stack([tf.broadcast_to(number[:, None], tf.shape(tokens)), before[:, :-1], tokens], axis=-1)
        state = {**state, "before": tokens[:, -1], "read": {"count": state["read"]["count"] + 1}}
        return tf.gather_nd(tf.constant(self.table), places), state


class Text(Table):
    """The same for one number, of which there are as many rows as asked for."""

    shared = ()

    def start(self, given, length):
        return {"before": tf.zeros([given], tf.int32)}

    def step(self, tokens, state):
        scores, state = Table.step(self, tokens, {"number": state["before"] * 0, **state, "read": {"count": 0}})
        return scores, {"before": state["before"]}


MODEL = Table()


def log_probabilities(number, tokens):
    scores = MODEL.table[number, tokens[-2] if len(tokens) > 1 else 0, tokens[-1]]
    return scores - np.log(np.exp(scores).sum())


def penalised(logarithm, count, power):
    return logarithm / ((5 + count) / 6) ** power


def search_plainly(number, prompt, most, beams, power):
    """Search one row with lists."""
    alive, found = [(0.0, list(prompt))], []
    for count in range(1, most + 1):
        candidates = [
            (logarithm + float(own), [*tokens, token])
            for logarithm, tokens in alive
            for token, own in enumerate(log_probabilities(number, tokens))
            if token >= END
        ]
        candidates.sort(key=lambda each: -each[0])
        for logarithm, tokens in candidates[:beams]:
            if tokens[-1] == END or count == most:
                found.append((penalised(logarithm, count, power), logarithm, tokens))
        alive = [each for each in candidates if each[1][-1] != END][:beams]
        if len(found) >= beams:
            break
    return sorted(found, key=lambda each: -each[0])[:beams]


def enumerate_all(number, prompt, most, power):
    """Score every continuation there is."""
    found = []
    for count in range(1, most + 1):
        for text in itertools.product(range(END + 1, TOKENS), repeat=count - 1):
            for last in range(END, TOKENS) if count == most else [END]:
                tokens = [*prompt, *text, last]
                logarithm = sum(
                    float(log_probabilities(number, tokens[:at])[tokens[at]]) for at in range(len(prompt), len(tokens))
                )
                found.append((penalised(logarithm, count, power), logarithm, tokens))
    return sorted(found, key=lambda each: -each[0])


def search(numbers, prompts, most, beams, power, model=MODEL):
    width = max(map(len, prompts))
    padded = [[*prompt, *[0] * (width - len(prompt))] for prompt in prompts]

    @tf.function
    def run():
        lengths = tf.constant([len(prompt) for prompt in prompts])
        given = tf.constant(list(numbers)) if model.shared else len(prompts)
        return beam_search(model, given, tf.constant(padded), lengths, tf.constant(most), beams, power)

    return [each.numpy() for each in run()]


def assert_same(found, row, expected):
    tokens, scores, logarithms = (each[row] for each in found)
    np.testing.assert_allclose(scores[: len(expected)], [each[0] for each in expected], rtol=1e-5)
    np.testing.assert_allclose(logarithms[: len(expected)], [each[1] for each in expected], rtol=1e-5)
    for own, (_, _, other) in zip(tokens, expected, strict=False):
        assert own[: len(other)].tolist() == other
        assert not own[len(other) :].any()


@pytest.mark.parametrize("power", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_rows_find_what_each_finds_alone(beams, power):
    prompts, most = [[4], [5, 6], [3], [6, 4, 5], [4]], [6, 3, 1, 8, 20]
    found = search(range(5), prompts, most, beams, power)
    for row, (prompt, length) in enumerate(zip(prompts, most, strict=True)):
        assert_same(found, row, search_plainly(row, prompt, length, beams, power))


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_enough_beams_find_the_best_of_all(power):
    everything = enumerate_all(2, [5], 4, power)
    found = search([2], [[5]], [4], len(everything), power)
    assert_same(found, 0, everything)


def test_where_fewer_exist_the_rest_is_never():
    _, scores, _ = search([1], [[4]], [1], 6, 0.0)
    assert (scores[0, :4] > -100).all()
    assert (scores[0, 4:] == -1e9).all()


def test_a_model_of_texts_alone_needs_no_shared_state():
    prompts, most = [[4, 5], [6]], [5, 7]
    found = search(None, prompts, most, 3, 0.6, Text())
    for row in range(2):
        assert_same(found, row, search_plainly(0, prompts[row], most[row], 3, 0.6))


def test_rows_that_have_ended_leave_the_batch():
    sizes = []

    class Counted(Table):
        def step(self, tokens, state):
            tf.numpy_function(lambda rows: sizes.append(int(rows)), [tf.shape(tokens)[0]], [])
            return super().step(tokens, state)

    tokens, *_ = search([0, 1, 2], [[4], [4], [4]], [2, 4, 9], 1, 0.0, Counted())
    lengths = (tokens[:, 0] != 0).sum(axis=1) - 1
    assert len(set(lengths)) > 1
    assert sizes == [int((lengths > step).sum()) for step in range(lengths.max())]
