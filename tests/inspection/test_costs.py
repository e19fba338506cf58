"""The counted multiply-adds against those counted by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.inspection.costs import count_costs
from pipelines.layers.transformer import DecoderBlock
from pipelines.tasks.house_prices.layers import MemberDense
from pipelines.tasks.language_model.models import MODELS
from pipelines.tasks.language_model.preprocessing import Features

T, D = 6, 8
LAYERS = {
    "dense": (lambda: keras.layers.Dense(5), (D,), D * 5, D * 5 + 5),
    "dense at each step": (lambda: keras.layers.Dense(5), (T, D), T * D * 5, D * 5 + 5),
    "convolution": (lambda: keras.layers.Conv2D(4, 3), (7, 7, 3), 5 * 5 * 4 * 3 * 3 * 3, 3 * 3 * 3 * 4 + 4),
    "with stride": (lambda: keras.layers.Conv2D(4, 3, 2, "same"), (7, 7, 3), 4 * 4 * 4 * 3 * 3 * 3, 3 * 3 * 3 * 4 + 4),
    "in groups": (lambda: keras.layers.Conv2D(4, 3, groups=2), (7, 7, 6), 5 * 5 * 4 * 3 * 3 * 3, 3 * 3 * 3 * 4 + 4),
    "depthwise": (lambda: keras.layers.DepthwiseConv2D(3), (7, 7, 3), 5 * 5 * 3 * 3 * 3, 3 * 3 * 3 + 3),
    "over time": (lambda: keras.layers.Conv1D(4, 3), (T, D), (T - 2) * 4 * 3 * D, 3 * D * 4 + 4),
    "rnn": (lambda: keras.layers.SimpleRNN(5), (T, D), T * (D + 5) * 5, (D + 5) * 5 + 5),
    "lstm": (lambda: keras.layers.LSTM(5), (T, D), T * 4 * (D + 5) * 5, 4 * ((D + 5) * 5 + 5)),
    "gru": (lambda: keras.layers.GRU(5), (T, D), T * 3 * (D + 5) * 5, 3 * ((D + 5) * 5 + 2 * 5)),
    "members": (lambda: MemberDense(3, 5, "glorot_uniform", None), (D,), 3 * D * 5, 3 * (D * 5 + 5)),
    # Queries, keys, values and output, then each step with each, once for the weights and once for the values.
    "attention": (
        lambda: DecoderBlock(D, 2, 12, layers=1, rotary=False, dropout=0.0, use_bias=False),
        (T, D),
        T * (4 * D * D + 2 * D * 12) + 2 * T * T * D,
        4 * D * D + 2 * D * 12 + 2 * D,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_costs_what_the_formula_says(name):
    make, shape, multiply_adds, parameters = LAYERS[name]
    inputs, layer = keras.Input(shape, name="x"), make()
    costs = count_costs(keras.Model({"x": inputs}, layer(inputs)), {"x": tf.ones([1, *shape])})
    assert (costs.multiply_adds, costs.parameters) == (multiply_adds, parameters)
    own = next(row for row in costs.layers if row.name == layer.name)
    assert (own.multiply_adds, own.parameters) == (multiply_adds, parameters)
    assert own.shapes == [list(layer(np.ones([1, *shape])).shape)]


def test_keras_attention_costs_the_same():
    x = keras.Input((T, D), name="x")
    attention = keras.layers.MultiHeadAttention(2, D // 2)
    costs = count_costs(keras.Model({"x": x}, attention(x, x)), {"x": tf.ones([1, T, D])})
    assert costs.multiply_adds == 4 * T * D * D + 2 * T * T * D


def test_a_layer_within_a_model_in_a_model_is_listed_once_with_all_its_calls():
    x = keras.Input((D,), name="x")
    shared = keras.layers.Dense(D, name="shared")
    inner = keras.Model(x, shared(x), name="inner")
    model = keras.Model({"x": x}, shared(inner(x)))
    costs = count_costs(model, {"x": tf.ones([1, D])})
    row = next(row for row in costs.layers if row.name == "shared")
    assert (row.parameters, row.multiply_adds, row.shapes) == (D * D + D, 2 * D * D, [[1, D], [1, D]])
    assert sum(row.parameters for row in costs.layers) == costs.parameters == D * D + D
    assert model({"x": np.ones((1, D))}).shape == (1, D)  # the model works as before


def test_the_scores_of_all_tokens_are_counted_and_loops_are_as_before():
    settings = {"width": D, "units": D, "layers": 1, "activation": "tanh", "initializer": "auto", "dropout": 0.0}
    model = MODELS["gru"](Features(11, 8, lambda: np.arange(11)), **settings, counts=0)
    costs = count_costs(model, {"tokens": tf.ones([1, T], tf.int32)})
    assert costs.multiply_adds == T * 3 * (D + D) * D + T * D * 11
    assert not model.parts[0].layer.unroll


def test_frozen_weights_are_not_trainable():
    x = keras.Input((D,), name="x")
    frozen = keras.layers.Dense(4, trainable=False)
    costs = count_costs(keras.Model({"x": x}, keras.layers.Dense(2)(frozen(x))), {"x": tf.ones([1, D])})
    assert (costs.parameters, costs.trainable) == (D * 4 + 4 + 4 * 2 + 2, 4 * 2 + 2)
