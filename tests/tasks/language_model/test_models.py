"""Every rung goes on from where it stopped, and writes the same with its state as without."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from pipelines.decoding import Choice, continue_tokens
from pipelines.tasks.language_model.models import MODELS
from pipelines.tasks.language_model.preprocessing import Features

FEATURES = Features(11, 8, lambda: np.random.default_rng(0).integers(0, 11, 300))
RECURRENT = {"width": 6, "units": 5, "layers": 2, "dropout": 0.1}
BLOCKS = {"width": 8, "layers": 2, "heads": 2, "feed_forward_units": 12, "use_bias": True, "dropout": 0.1}
RUNGS = {
    "ngram": ("ngram", {"order": 3}),
    "bag_of_words": ("bag_of_words", {"width": 6, "units": 5, "dropout": 0.1}),
    "neural": ("neural", {"reach": 3, "width": 6, "units": 5, "dropout": 0.1}),
    "rnn": ("rnn", RECURRENT),
    "gru": ("gru", RECURRENT),
    "lstm": ("lstm", RECURRENT),
    **{name: ("transformer", {**BLOCKS, "positions": name}) for name in ("learned", "sinusoidal", "rotary")},
}


def make(rung):
    keras.utils.set_random_seed(0)
    name, settings = RUNGS[rung]
    model = MODELS[name](FEATURES, **settings)
    if name == "ngram":
        model.load()
    for variable in model.trainable_variables:  # starts are so small that every model would answer alike
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3))
    return model


@pytest.mark.parametrize("rung", RUNGS)
def test_steps_give_what_the_whole_gives(rung):
    model, tokens = make(rung), np.random.default_rng(1).integers(0, 11, (3, 8)).astype("int32")
    whole = model({"tokens": tokens}, training=False)
    state, parts = model.start(3, 8), []
    for span in (slice(0, 3), slice(3, 4), slice(4, 8)):
        part, state = model.step(ops.convert_to_tensor(tokens[:, span]), state)
        parts.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rung", RUNGS)
def test_no_token_sees_a_later_one(rung):
    model, tokens = make(rung), np.random.default_rng(1).integers(0, 11, (2, 8)).astype("int32")
    other = tokens.copy()
    other[:, 5:] = (other[:, 5:] + 1) % 11
    first, second = (ops.convert_to_numpy(model({"tokens": t}, training=False)) for t in (tokens, other))
    np.testing.assert_allclose(first[:, :5], second[:, :5], rtol=1e-5, atol=1e-6)
    assert not np.allclose(first[:, 5:], second[:, 5:])


def choice(count, max_tokens, temperature=0.0, **more):
    each = {"max_tokens": max_tokens, "temperature": temperature, "top_k": 0, "top_p": 1.0, "seed": 0, **more}
    return Choice(*(tf.fill([count], each[name]) for name in Choice._fields))


def uncached(model, prompt, count):
    """Greedy continuation without a state, by the same rule where the context is full."""
    tokens, first = list(prompt), 0
    for _ in range(count):
        if model.context and len(tokens) - first > model.context:
            first = len(tokens) - model.context // 2
        scores = ops.convert_to_numpy(model({"tokens": np.array([tokens[first:]])}, training=False))[0, -1]
        tokens.append(int(np.argmax(np.where(np.arange(len(scores)) < 3, -np.inf, scores))))
        if tokens[-1] == 3:
            break
    return tokens


@pytest.mark.parametrize("rung", RUNGS)
def test_a_state_changes_nothing_beside_whom_a_prompt_stands_neither(rung):
    model = make(rung)
    prompts, lengths = np.array([[5, 6, 0, 0], [4, 4, 7, 9]], "int32"), np.array([2, 4], "int32")
    write = tf.function(lambda *given: continue_tokens(model, *given, choice(len(given[0]), 12)))
    tokens, _ = write(tf.constant(prompts), tf.constant(lengths))
    for row, prompt, length in zip(tokens.numpy(), prompts, lengths, strict=True):
        expected = uncached(model, prompt[:length], 12)
        assert row[: len(expected)].tolist() == expected
        assert not row[len(expected) :].any()
    alone, _ = write(tf.constant(prompts[1:]), tf.constant(lengths[1:]))  # compiled by XLA, where the model allows it
    assert alone.numpy()[0, : len(expected)].tolist() == expected


def test_the_seed_decides_the_draws_and_top_k_of_one_is_greedy():
    model = make("gru")
    given = (tf.constant([[5, 6]]), tf.constant([2]))

    def write(**more):
        return continue_tokens(model, *given, choice(1, 12, **more))[0].numpy().tolist()

    assert write(temperature=2.0) == write(temperature=2.0) != write(temperature=2.0, seed=1)
    assert write(temperature=2.0, top_k=1) == write() == write(temperature=2.0, top_p=1e-6)


@pytest.mark.parametrize("rung", ["learned", "rotary"])
def test_attention_looks_back_and_adds_up(rung):
    tokens = np.random.default_rng(1).integers(0, 11, (2, 8)).astype("int32")
    maps = [ops.convert_to_numpy(each) for each in make(rung).attention(ops.convert_to_tensor(tokens))]
    assert [each.shape for each in maps] == [(2, 2, 8, 8)] * 2
    for each in maps:
        np.testing.assert_allclose(each.sum(axis=-1), 1, rtol=1e-5)
        assert not np.triu(each, 1).any() and each[0, 0, 7, 0] > 0


def test_others_have_no_attention():
    assert make("gru").attention(ops.ones((1, 4), "int32")) == []
