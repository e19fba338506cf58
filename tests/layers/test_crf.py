"""Chains of tags against counting every sequence, and recurrent layers against each sequence alone."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.layers.crf import best_path, forbidding, messages, negative_log_likelihood, potentials
from pipelines.layers.recurrent import CELLS, recur

TAGS = 3
ALLOWED = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]], bool)  # O, B, I; I only after B or I


def chain(seed: int, length: int, whole: bool = False, extra: int = 0):
    """Potentials of one sentence with padding behind it, and the score of any of its sequences by hand."""
    random = np.random.default_rng(seed)
    emissions = random.normal(size=(1, length + extra, TAGS)).astype("float32") * 3
    if whole:  # ties are what goes wrong
        emissions = emissions.round() * 0
    transitions = random.normal(size=(TAGS + 1, TAGS)).astype("float32") * (not whole) + forbidding(ALLOWED)
    real = np.arange(length + extra)[None] < length

    def score(tags):
        before = [TAGS, *tags[:-1]]
        return sum(emissions[0, t, tag] + transitions[before[t], tag] for t, tag in enumerate(tags))

    return potentials(tf.constant(emissions), tf.constant(real), tf.constant(transitions)), score


lengths = st.integers(1, 5)
seeds = st.integers(0, 10**6)


@settings(max_examples=25, deadline=None)
@given(seeds, lengths, st.integers(0, 3))
def test_likelihood_and_best_path_are_those_of_all_sequences(seed, length, extra):
    scores, score = chain(seed, length, extra=extra)
    every = {tags: score(tags) for tags in itertools.product(range(TAGS), repeat=length)}
    total = np.logaddexp.reduce(list(every.values()))
    best = max(every, key=every.get)
    assert tuple(best_path(scores)[0, :length].numpy()) == best
    tags = tf.constant([[*best, *[best[-1]] * extra]])
    assert float(negative_log_likelihood(scores, tags)[0]) == pytest.approx(total - every[best], abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(seeds, lengths)
def test_messages_give_the_probability_of_each_tag(seed, length):
    scores, score = chain(seed, length, extra=2)
    left, right = messages(scores)
    given_by_chain = tf.nn.softmax((left + right)[:length, 0]).numpy()
    every = {tags: np.exp(score(tags)) for tags in itertools.product(range(TAGS), repeat=length)}
    by_hand = [[sum(p for tags, p in every.items() if tags[t] == k) for k in range(TAGS)] for t in range(length)]
    np.testing.assert_allclose(given_by_chain, np.array(by_hand) / sum(every.values()), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(seeds, lengths, st.booleans())
def test_no_path_breaks_the_law_even_where_all_score_the_same(seed, length, whole):
    path = best_path(chain(seed, length, whole)[0])[0].numpy()
    assert all(ALLOWED[before, tag] for before, tag in zip([TAGS, *path], path, strict=False))


def test_the_gradient_is_that_of_the_sum_over_all_sequences():
    scores, _ = chain(3, 4, extra=1)
    tags = tf.constant([[0, 1, 2, 1, 1]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = tf.reduce_sum(negative_log_likelihood(scores, tags)) * 2.0
    given_by_chain = tape.gradient(loss, scores).numpy()
    with tf.GradientTape() as tape:  # the same, by way of the loop
        tape.watch(scores)
        alpha = scores[:, 0, 0]
        for t in range(1, 5):
            alpha = tf.reduce_logsumexp(alpha[..., None] + scores[:, t], axis=1)
        path = [scores[0, t, before, tag] for t, (before, tag) in enumerate([(0, 0), (0, 1), (1, 2), (2, 1), (1, 1)])]
        loss = 2.0 * (tf.reduce_logsumexp(alpha) - tf.add_n(path))
    np.testing.assert_allclose(given_by_chain, tape.gradient(loss, scores), atol=1e-5)


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(seeds)
def test_long_sentences_with_high_scores_stay_legal_and_exact(seed):
    random = np.random.default_rng(seed)
    emissions = random.normal(size=(1, 300, TAGS)).astype("float32") * 300 - 30
    scores = potentials(tf.constant(emissions), tf.ones((1, 300), bool), tf.constant(forbidding(ALLOWED)))
    path = best_path(scores)[0].numpy()
    assert all(ALLOWED[before, tag] for before, tag in zip([TAGS, *path], path, strict=False))
    left, right = messages(scores)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(left), -1), 1, atol=1e-4)
    assert np.isfinite(right.numpy()).all()
    alpha, score = np.where(np.arange(TAGS) == 0, 0.0, -np.inf), 0.0  # the same in double precision
    for before, tag, step in zip([0, *path], path, scores[0].numpy().astype("float64"), strict=False):
        alpha, score = np.logaddexp.reduce(alpha[:, None] + step), score + step[before, tag]
    likelihood = float(negative_log_likelihood(scores, tf.constant([path]))[0])
    assert likelihood == pytest.approx(np.logaddexp.reduce(alpha) - score, abs=0.01)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_no_state(cell, bidirectional):
    inputs = keras.Input((None, 4)), keras.Input((None,), dtype="bool")
    x = recur(*inputs, cell, 5, bidirectional=bidirectional)
    model = keras.Model(inputs, recur(x, inputs[1], cell, 5, bidirectional=bidirectional))
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    lengths = (3, 6)
    together = model([x, np.arange(6)[None] < np.array(lengths)[:, None]])
    for row, length in enumerate(lengths):
        alone = model([x[row : row + 1, :length], np.ones((1, length), bool)])
        np.testing.assert_allclose(together[row, :length], alone[0], atol=1e-5)
