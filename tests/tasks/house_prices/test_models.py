"""The house-price models against their definitions."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from pipelines.tasks.house_prices.layers import MemberScaling, PiecewiseLinearEmbedding
from pipelines.tasks.house_prices.models import MODELS
from pipelines.tasks.house_prices.preprocessing import Features

HIDDEN = {
    "units": [8],
    "activation": "relu",
    "dropout": 0.0,
    "l2": 0.0,
    "batch_normalization": False,
    "linear_skip": False,
    "initializer": "he_normal",
}


def features(numeric=2, categories=0):
    return Features(numeric, categories, np.sort(np.random.default_rng(0).normal(size=(numeric, 101)), axis=1))


@given(st.floats(-5, 5), st.integers(2, 6))
def test_the_piecewise_linear_encoding_is_that_of_the_paper(x, bins):
    edges = np.linspace(-2, 2, bins + 1)
    layer = PiecewiseLinearEmbedding(edges[None], bins)
    layer.build((None, 1))
    layer.slope.assign(np.zeros((1, bins)))
    layer.offset.assign(np.zeros((1, bins)))
    layer.kernel.assign(np.eye(bins)[None])
    expected = []
    for t in range(bins):  # Gorishniy et al. 2022, equation 1
        low, high = edges[t], edges[t + 1]
        if x < low and t > 0:
            expected.append(0)
        elif x >= high and t < bins - 1:
            expected.append(1)
        else:
            expected.append((x - low) / (high - low))
    np.testing.assert_allclose(layer(np.array([[x]], "float32"))[0, 0], expected, atol=1e-5)


def test_a_bin_of_no_width_carries_no_signal():
    layer = PiecewiseLinearEmbedding(np.array([[0.0, 0.0, 0.0, 1.0]]), 4)
    assert np.isfinite(layer(np.array([[-1.0], [0.0], [2.0]], "float32"))).all()


def test_linear_regression_finds_the_least_squares_solution():
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3)).astype("float32")
    y = (x @ [1.0, -2.0, 0.5] + 3 + random.normal(size=200)).astype("float32")
    model = MODELS["linear_regression"](features(3), l2=0.0)
    model.compile(keras.optimizers.SGD(0.2), "mse")
    model.fit({"numeric": x}, y, batch_size=200, epochs=100, verbose=0)
    reference = LinearRegression().fit(x, y)
    np.testing.assert_allclose(model.layers[-1].kernel[:, 0], reference.coef_, atol=1e-3)
    np.testing.assert_allclose(model.layers[-1].bias, [reference.intercept_], atol=1e-3)


@pytest.mark.parametrize("adapters", ["first", "all"])
def test_members_of_tabm_share_their_weights_and_differ_by_their_adapters(adapters):
    keras.utils.set_random_seed(0)  # of five members two may be silent at their start, and so the same
    settings = {**HIDDEN, "units": [8, 8]}
    model = MODELS["tabm"](features(2, 3), members=5, adapters=adapters, bins=4, embedding_width=3, **settings)
    inputs = {"numeric": np.ones((4, 2), "float32"), "category": np.eye(4, 3, dtype="float32")}
    outputs = np.array(model(inputs))
    assert outputs.shape == (4, 5)
    assert len(np.unique(outputs[0])) == 5
    scalings = [layer for layer in model.layers if isinstance(layer, MemberScaling)]
    assert len(scalings) == {"first": 1, "all": 4}[adapters]
    assert set(np.unique(scalings[0].factors)) == {-1.0, 1.0}
    dense = sum(layer.count_params() for layer in model.layers if isinstance(layer, keras.layers.Dense))
    assert dense == (2 * 3 + 3 + 1) * 8 + (8 + 1) * 8


def test_members_that_share_nothing_are_separate_networks():
    model = MODELS["tabm"](features(2), members=3, adapters="own", bins=4, embedding_width=3, **HIDDEN)
    reference = MODELS["mlp_ple"](features(2), bins=4, embedding_width=3, **HIDDEN)
    inputs = {"numeric": np.random.default_rng(0).normal(size=(5, 2)).astype("float32")}
    own = {layer.name: layer.get_weights() for layer in model.layers if layer.get_weights()}
    (embedding, (kernel, bias), (head, head_bias)) = own.values()
    assert len({member.tobytes() for member in kernel}) == 3
    for member in range(3):
        weights = [*embedding, kernel[member], bias[member], head[member][:, None], head_bias[member : member + 1]]
        reference.set_weights(weights)
        np.testing.assert_allclose(model(inputs)[:, member], reference(inputs)[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "mlp_ple"])
def test_hidden_layers_are_built_as_asked(name):
    bins = {} if name == "mlp" else {"bins": 4, "embedding_width": 3}
    asked = {"units": [5, 4], "activation": "tanh", "dropout": 0.3, "l2": 0.1, "batch_normalization": True}
    model = MODELS[name](features(), **bins, **{**HIDDEN, **asked, "initializer": "small_random"})
    kinds = [type(layer).__name__ for layer in model.layers]
    assert [kinds.count(kind) for kind in ("Dense", "BatchNormalization", "Dropout")] == [3, 2, 2]
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [5, 4, 1]
    assert np.std(dense[0].kernel) < 0.05
    expected = 0.1 * sum(float(np.sum(np.square(layer.kernel))) for layer in dense)
    assert sum(map(float, model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 0), (0, 3)])
def test_a_table_may_have_numbers_only_or_categories_only(shape):
    numeric, categories = shape
    table = Features(numeric, categories, np.zeros((numeric, 101)))
    for name, builder in MODELS.items():
        own = {"linear_regression": {"l2": 0.0}, "mlp": HIDDEN}.get(name, {**HIDDEN, "bins": 4, "embedding_width": 2})
        own = {**own, "members": 3, "adapters": "first"} if name == "tabm" else own
        model = builder(table, **own)
        inputs = {key: np.zeros((2, *tensor.shape[1:]), "float32") for key, tensor in model.input.items()}
        assert model(inputs).shape[0] == 2
