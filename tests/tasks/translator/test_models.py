"""Every rung goes on from where it stopped, sees no padding, and searches with its caches as it would without."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from uncached import Uncached

from pipelines.errors import UserError
from pipelines.tasks.translator.losses import cross_entropy
from pipelines.tasks.translator.models import MODELS
from pipelines.tasks.translator.preprocessing import Features
from pipelines.text.beam_search import beam_search
from pipelines.text.tokenizers import START

FEATURES = Features(11, 11, True, 20)
RECURRENT = {"cell": "gru", "width": 6, "units": 5, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.1}
RECURRENT |= {"bidirectional": True, "attention": "additive", "tied": True, "activation": "tanh", "initializer": "auto"}
BLOCKS = {"width": 8, "encoder_layers": 2, "decoder_layers": 2, "heads": 2, "feed_forward_units": 12, "dropout": 0.1}
BLOCKS |= {"positions": "sinusoidal", "norm": "pre", "tied": True, "activation": "relu", "initializer": "auto"}
RUNGS = {
    "seq2seq": ("seq2seq", RECURRENT),
    "seq2seq_dot_lstm": ("seq2seq", {**RECURRENT, "cell": "lstm", "attention": "dot", "encoder_layers": 2}),
    "seq2seq_none": ("seq2seq", {**RECURRENT, "attention": "none", "bidirectional": False, "tied": False}),
    "transformer": ("transformer", BLOCKS),
    "transformer_post": ("transformer", {**BLOCKS, "norm": "post", "positions": "learned", "tied": False}),
}
SOURCES = np.array([[4, 5, 6, 7, 8, 3], [9, 4, 3, 0, 0, 0], [10, 3, 0, 0, 0, 0]], "int32")
TARGETS = np.array([[2, 5, 6, 9], [2, 8, 10, 4], [2, 4, 4, 7]], "int32")


def make(rung, features=FEATURES):
    keras.utils.set_random_seed(0)
    name, settings = RUNGS[rung]
    model = MODELS[name](features, **settings)
    for variable in model.trainable_variables:
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3))
    return model


@pytest.fixture(scope="module", params=RUNGS)
def model(request):
    return make(request.param)


def scores(model, sources, targets):
    return ops.convert_to_numpy(model.scores(model({"source": sources, "target": targets}, training=False)))


@pytest.mark.parametrize("rung", ["transformer", "transformer_post"])
def test_attention_of_the_encoder_adds_up_and_sees_no_padding(rung):
    model = make(rung)
    maps = [ops.convert_to_numpy(each) for each in model.encoder_attention(SOURCES)]
    assert [each.shape for each in maps] == [(3, 2, 6, 6)] * 2
    for each in maps:
        np.testing.assert_allclose(each.sum(axis=-1), 1, rtol=1e-5)
        assert not each[1, :, :, 3:].any() and np.std(each[0]) > 0.01
    alone = [ops.convert_to_numpy(each) for each in model.encoder_attention(SOURCES[1:2, :3])]
    for each, own in zip(maps, alone, strict=True):
        np.testing.assert_allclose(each[1, :, :3, :3], own[0], rtol=1e-4, atol=1e-6)


def test_steps_give_what_the_whole_gives(model):
    whole = scores(model, SOURCES, TARGETS)
    state, parts = model.start({"source": SOURCES}, 4), []
    for span in (slice(0, 2), slice(2, 3), slice(3, 4)):
        part, state = model.step(ops.convert_to_tensor(TARGETS[:, span]), state)
        parts.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-5)
    assert np.std(whole) > 0.1


def test_no_token_sees_a_later_one_and_each_sees_the_source(model):
    other = TARGETS.copy()
    other[:, 3] = 5
    first, second = scores(model, SOURCES, TARGETS), scores(model, SOURCES, other)
    np.testing.assert_allclose(first[:, :3], second[:, :3], rtol=1e-5, atol=1e-6)
    assert not np.allclose(first[:, 3], second[:, 3])
    changed = SOURCES.copy()
    changed[:, 0] = 7
    assert not np.allclose(first[:, 0], scores(model, changed, TARGETS)[:, 0])


def test_padding_changes_nothing(model):
    padded = np.pad(SOURCES, ((0, 0), (0, 3)))
    np.testing.assert_allclose(scores(model, SOURCES, TARGETS), scores(model, padded, TARGETS), rtol=1e-4, atol=1e-5)
    alone = scores(model, SOURCES[2:, :2], TARGETS[2:])
    np.testing.assert_allclose(scores(model, SOURCES, TARGETS)[2:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beams", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_caches_change_no_translation(model, beams):
    def search(model):
        most = tf.constant([7, 4, 9])
        start, one = tf.fill([3, 1], START), tf.ones([3], tf.int32)
        run = tf.function(lambda: beam_search(model, {"source": tf.constant(SOURCES)}, start, one, most, beams, 0.6))
        return run()

    cached, uncached = search(model), search(Uncached(model))
    np.testing.assert_array_equal(cached.tokens, uncached.tokens)
    np.testing.assert_allclose(cached.scores, uncached.scores, rtol=1e-4)


@pytest.mark.parametrize("rung", ["transformer", "seq2seq_none"])
def test_the_loss_is_that_of_smoothed_labels_without_padding(rung):
    model = make(rung)
    model.compile(loss=cross_entropy(label_smoothing=0.2))
    labels = np.array([[5, 6, 9, 3], [8, 3, 0, 0], [3, 0, 0, 0]], "int32")
    weights = (labels != 0).astype("float32")
    hidden = model({"source": SOURCES, "target": TARGETS}, training=False)
    loss = float(model.compute_loss(y=labels, y_pred=hidden, sample_weight=weights))
    logarithms = tf.nn.log_softmax(model.scores(hidden)).numpy()
    smoothed = np.eye(11)[labels] * 0.8 + 0.2 / 11
    expected = -(smoothed * logarithms).sum(axis=2)[weights > 0].mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_vocabularies_may_differ():
    model = make("transformer", Features(7, 11, False, 20))
    assert scores(model, SOURCES % 7, TARGETS).shape == (3, 4, 11)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(UserError, match="multiple of the heads"):
        MODELS["transformer"](FEATURES, **{**BLOCKS, "heads": 3})
