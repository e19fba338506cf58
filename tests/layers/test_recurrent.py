"""The gates that are shown are those that make the states."""

import keras
import numpy as np
import pytest
from keras import ops

from pipelines.layers.recurrent import CELLS, gates_of_layers, read_gates, recur, recurrent_layer

X = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")


def read(cell):
    """Return a layer with weights of some size, its outputs and its gates."""
    keras.utils.set_random_seed(0)
    layer = recurrent_layer(cell, 4, "tanh", "auto")
    layer.build(X.shape)
    for weight in layer.trainable_variables:
        weight.assign(keras.random.normal(weight.shape))
    outputs = layer(X)
    gates = {name: ops.convert_to_numpy(each) for name, each in read_gates(layer, X, outputs).items()}
    return [ops.convert_to_numpy(weight) for weight in layer.trainable_variables], ops.convert_to_numpy(outputs), gates


def test_a_gru_writes_what_its_update_gate_lets_in():
    (kernel, recurrent, bias), outputs, gates = read("gru")
    state = np.zeros((2, 4))
    for t in range(6):
        old = state @ recurrent[:, 8:] + bias[1, 8:]
        new = np.tanh(X[:, t] @ kernel[:, 8:] + bias[0, 8:] + gates["reset"][:, t] * old)
        state = gates["update"][:, t] * new + (1 - gates["update"][:, t]) * state
        np.testing.assert_allclose(state, outputs[:, t], rtol=1e-4, atol=1e-5)


def test_an_lstm_writes_forgets_and_shows_what_its_gates_let_through():
    (kernel, recurrent, bias), outputs, gates = read("lstm")
    cell, shown = np.zeros((2, 4)), np.zeros((2, 4))
    for t in range(6):
        new = np.tanh(X[:, t] @ kernel[:, 8:12] + shown @ recurrent[:, 8:12] + bias[8:12])
        cell = gates["update"][:, t] * new + gates["forget"][:, t] * cell
        shown = gates["output"][:, t] * np.tanh(cell)
        np.testing.assert_allclose(shown, outputs[:, t], rtol=1e-4, atol=1e-5)


def test_a_plain_cell_has_no_gates():
    assert read("rnn")[2] == {}


@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_that_reads_from_the_end_is_shown_in_the_order_of_the_text(cell):
    keras.utils.set_random_seed(0)
    x, mask = keras.Input((None, 3)), keras.Input((None,), dtype="bool")
    y = recur(recur(x, mask, cell, 4, bidirectional=True), mask, cell, 4, bidirectional=True)
    model, real = keras.Model([x, mask], y), np.ones((1, 6), bool)
    if cell == "rnn":
        assert gates_of_layers(model, [X[:1], real]) == {}
        return
    changed = X[:1].copy()
    changed[0, 0] += 1
    one, other = (gates_of_layers(model, [each, real]) for each in (X[:1], changed))
    assert list(one) == ["layer 1", "layer 1, from the end", "layer 2", "layer 2, from the end"]
    moved = {name: np.abs(one[name]["update"] - other[name]["update"]).max((0, 2)) for name in one}
    assert moved["layer 1"].min() > 1e-6  # the first word is felt at every later one
    assert moved["layer 1, from the end"][0] > 1e-6 and moved["layer 1, from the end"][1:].max() == 0
    assert moved["layer 2, from the end"].min() > 1e-6
