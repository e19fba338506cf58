"""Every rung goes on from where it stopped, and writes the same with its state as without."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from pipelines.tasks.language_model.models import MODELS
from pipelines.tasks.language_model.networks import Mixture
from pipelines.tasks.language_model.preprocessing import Features
from pipelines.text.sampling import Reader, SamplingParams, continue_tokens
from pipelines.training.pretrained import load_pretrained_weights


def text():
    """Write tokens of which each mostly follows from the one before, so that no two are as probable as each other."""
    random, ids = np.random.default_rng(0), [4]
    for _ in range(600):
        ids.append((3 * ids[-1] + 1) % 11 if random.random() < 0.6 else random.integers(11))
    return np.array(ids)


FEATURES = Features(11, 8, text)
STARTS = {"initializer": "auto", "dropout": 0.1}
RECURRENT = {"width": 6, "units": 5, "layers": 2, "activation": "tanh", "counts": 0, **STARTS}
BLOCKS = {"width": 8, "layers": 2, "heads": 2, "feed_forward_units": 12, "use_bias": True, "counts": 0, **STARTS}
BLOCKS["activation"] = "gelu"
RUNGS = {
    "ngram": ("ngram", {"order": 3}),
    "bag_of_words": ("bag_of_words", {"width": 6, "units": 5, "activation": "relu", **STARTS}),
    "neural": ("neural", {"reach": 3, "width": 6, "units": 5, "counts": 0, "activation": "tanh", **STARTS}),
    "rnn": ("rnn", RECURRENT),
    "gru": ("gru", RECURRENT),
    "lstm": ("lstm", RECURRENT),
    **{name: ("transformer", {**BLOCKS, "positions": name}) for name in ("learned", "sinusoidal", "rotary", "none")},
    "gru and counts": ("gru", {**RECURRENT, "counts": 3}),
    "rotary and counts": ("transformer", {**BLOCKS, "positions": "rotary", "counts": 4}),
}


def test_embeddings_are_drawn_from_the_seed_that_is_set():
    def embeddings(seed):
        keras.utils.set_random_seed(seed)
        built = MODELS["transformer"](FEATURES, **BLOCKS, positions="learned")
        return [weight.numpy() for weight in built.weights if "embedding" in weight.path]

    first, again, other = embeddings(0), embeddings(0), embeddings(1)
    assert len(first) == 2  # of tokens and of positions
    for one, same, differs in zip(first, again, other, strict=True):
        assert np.array_equal(one, same) and not np.array_equal(one, differs)


def make(rung):
    keras.utils.set_random_seed(0)
    name, settings = RUNGS[rung]
    model = MODELS[name](FEATURES, **settings)
    load_pretrained_weights(model)
    for variable in model.trainable_variables:  # starts are so small that every model would answer alike
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3))
    return model


def scores_of(model, tokens):
    """Score a whole text at once; a mixture's outputs are only what its scores are made from."""
    tokens = ops.convert_to_tensor(tokens)
    if isinstance(model, Mixture):
        return ops.convert_to_numpy(model.step(tokens, model.start(*tokens.shape))[0])
    return ops.convert_to_numpy(model({"tokens": tokens}, training=False))


@pytest.mark.parametrize("rung", RUNGS)
def test_steps_give_what_the_whole_gives(rung):
    model, tokens = make(rung), np.random.default_rng(1).integers(0, 11, (3, 8)).astype("int32")
    whole = scores_of(model, tokens)
    state, parts = model.start(3, 8), []
    for span in (slice(0, 3), slice(3, 4), slice(4, 8)):
        part, state = model.step(ops.convert_to_tensor(tokens[:, span]), state)
        parts.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rung", RUNGS)
def test_texts_of_different_lengths_go_on_together_as_each_alone(rung):
    model, lengths = make(rung), [3, 1, 7, 8]
    tokens = np.random.default_rng(1).integers(3, 11, (4, 12)).astype("int32")
    room = model.context or 12
    alone, states, expected = Reader(model, 1, room), [], []
    for row, length in enumerate(lengths):
        _, state = Reader(model, 1, room).read(tf.constant(tokens[row : row + 1, :length]))
        states.append(state)
        each = []
        for at in range(length, length + 4):  # the context of some is full on the way
            scores, state = alone.go_on(tf.constant(tokens[row : row + 1]), at, state)
            each.append(scores.numpy()[0])
        expected.append(each)
    together = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *states)
    for step in range(4):
        read = np.array(lengths, "int32") + step + 1
        padded = np.where(np.arange(12) < read[:, None], tokens, 0)[:, : read.max()]
        scores, together = alone.go_on_by_row(tf.constant(padded), tf.constant(read), together)
        np.testing.assert_allclose(scores, [each[step] for each in expected], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rung", RUNGS)
def test_no_token_sees_a_later_one(rung):
    model, tokens = make(rung), np.random.default_rng(1).integers(0, 11, (2, 8)).astype("int32")
    other = tokens.copy()
    other[:, 5:] = (other[:, 5:] + 1) % 11
    first, second = (scores_of(model, t) for t in (tokens, other))
    np.testing.assert_allclose(first[:, :5], second[:, :5], rtol=1e-5, atol=1e-6)
    assert not np.allclose(first[:, 5:], second[:, 5:])


def choice(count, max_tokens, temperature=0.0, **more):
    each = {"max_tokens": max_tokens, "temperature": temperature, "top_k": 0, "top_p": 1.0, "seed": 0, **more}
    return SamplingParams(*(tf.fill([count], each[name]) for name in SamplingParams._fields))


def uncached(model, prompt, count):
    """Greedy continuation without a state, by the same rule where the context is full."""
    tokens, first = list(prompt), 0
    whole = partial(scores_of, model)
    if not isinstance(model, Mixture):  # traced once for all lengths
        whole = tf.function(model, input_signature=[tf.TensorSpec([1, None], tf.int32)])
    for _ in range(count):
        if model.context and len(tokens) - first > model.context:
            first = len(tokens) - model.context // 2
        scores = np.asarray(whole(tf.constant([tokens[first:]])))[0, -1]
        tokens.append(int(np.argmax(np.where(np.arange(len(scores)) < 3, -np.inf, scores))))
        if tokens[-1] == 3:
            break
    return tokens


@pytest.mark.parametrize(  # each kind of state once
    "rung",
    [
        pytest.param(rung, marks=[pytest.mark.slow] if rung in ("learned", "sinusoidal", "none") else [])
        for rung in RUNGS
        if rung != "rotary and counts"
    ],
)
def test_a_state_changes_nothing_beside_whom_a_prompt_stands_neither(rung):
    model = make(rung)
    prompts, lengths = np.array([[5, 6, 0, 0], [4, 4, 7, 9]], "int32"), np.array([2, 4], "int32")
    signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    write = tf.function(
        lambda *given: continue_tokens(model, *given, choice(tf.shape(given[0])[0], 12)), input_signature=signature
    )
    tokens, _ = write(tf.constant(prompts), tf.constant(lengths))
    for row, prompt, length in zip(tokens.numpy(), prompts, lengths, strict=True):
        expected = uncached(model, prompt[:length], 12)
        assert row[: len(expected)].tolist() == expected
        assert not row[len(expected) :].any()
    alone, _ = write(tf.constant(prompts[1:]), tf.constant(lengths[1:]))  # compiled by XLA, where the model allows it
    assert alone.numpy()[0, : len(expected)].tolist() == expected


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("rung", "gates"),
    [("gru", ["update", "reset"]), ("gru and counts", ["update", "reset"]), ("lstm", ["update", "forget", "output"])],
)
def test_gates_and_states_of_each_layer_are_shown(rung, gates):
    model, tokens = make(rung), np.random.default_rng(1).integers(0, 11, (1, 8)).astype("int32")
    found = model.gates(ops.convert_to_tensor(tokens))
    assert list(found) == ["layer 1", "layer 2"]
    for each in found.values():
        assert list(each) == [*gates, "state"]
        assert all(values.shape == (1, 8, 5) for values in each.values())
    top = model.go_on(ops.convert_to_tensor(tokens), model.start(1, 8))[0]
    np.testing.assert_allclose(found["layer 2"]["state"], top, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rung", ["rnn", "neural", "learned"])
def test_others_have_no_gates(rung):
    assert make(rung).gates(ops.ones((1, 4), "int32")) == {}


def test_a_mixture_lies_between_network_and_counts_and_adds_up_to_one():
    model, tokens = make("rotary and counts"), np.random.default_rng(1).integers(0, 11, (3, 8)).astype("int32")
    mixed = np.exp(scores_of(model, tokens))
    network = ops.convert_to_numpy(ops.softmax(model.scores(model({"tokens": tokens}))))
    counts = ops.convert_to_numpy(model.counts.look_up(tokens)[0])
    np.testing.assert_allclose(mixed.sum(axis=-1), 1, rtol=1e-5)
    assert (mixed <= np.maximum(network, counts) + 1e-6).all()
    assert (mixed >= np.minimum(network, counts) - 1e-6).all()
    assert not np.allclose(mixed, network) and not np.allclose(mixed, counts)


def test_a_mixture_learns_its_share_by_counts_that_leave_the_place_out():
    model, ids = make("gru and counts"), FEATURES.train_ids()
    windows = np.stack([ids[at : at + 9] for at in range(0, 290, 9)]).astype("int32")
    tokens, labels = windows[:, :-1], windows[:, 1:]
    hidden = tf.constant(model({"tokens": tokens}))
    counts, seen = model.counts.leave_out(tokens, labels)
    with tf.GradientTape() as shown, tf.GradientTape() as wanted:
        shown.watch(hidden), wanted.watch(hidden)
        loss = model.compute_loss({"tokens": tokens}, labels, hidden)
        network = tf.gather(ops.softmax(model.scores(hidden)), labels, batch_dims=2)
        share = ops.sigmoid(model.share([hidden, seen]))
        mixed = -tf.reduce_mean(tf.math.log(share * counts + (1 - share) * network))
        both = mixed - tf.reduce_mean(tf.math.log(network))
    np.testing.assert_allclose(loss, mixed, rtol=1e-4)
    np.testing.assert_allclose(shown.gradient(loss, hidden), wanted.gradient(both, hidden), rtol=1e-3, atol=1e-7)
