"""The image models have the layers that their papers and hyperparameters name."""

import keras
import numpy as np
import pytest

from pipelines.tasks.cat_classifier import layers
from pipelines.tasks.cat_classifier.models import MODELS
from pipelines.tasks.cat_classifier.preprocessing import Features

RESNET = {
    "depth": 20,
    "filters": 16,
    "kernel_size": 3,
    "stem_stride": 1,
    "shortcut": "identity",
    "activation": "relu",
    "dropout": 0.0,
    "l2": 0.0,
    "batch_normalization": True,
    "initializer": "auto",
}
CNN = {
    "filters": [4, 6],
    "kernel_size": 3,
    "stride": 1,
    "padding": "same",
    "pooling": "max",
    "pool_size": 2,
    "units": [5],
    "activation": "relu",
    "dropout": 0.0,
    "l2": 0.0,
    "batch_normalization": False,
    "initializer": "auto",
}
INCEPTION = {
    "stem_filters": 8,
    "stem_stride": 1,
    "modules": [16, 32],
    "bottleneck": 0.5,
    "pooling": "max",
    "pool_size": 2,
    "activation": "relu",
    "dropout": 0.0,
    "l2": 0.0,
    "batch_normalization": False,
    "initializer": "auto",
}


def features(size=32, outputs=10):
    return Features(size, outputs, np.full(3, 120, "float32"), np.full(3, 60, "float32"))


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def test_logistic_regression_has_one_weight_a_pixel_and_class():
    assert MODELS["logistic_regression"](features(8, 1), l2=0.0).count_params() == 8 * 8 * 3 + 1


def test_resnet_20_has_the_layers_and_parameters_of_the_paper():
    model = MODELS["resnet"](features(), **RESNET)
    assert len(convolutions(model)) + 1 == 20
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == 269_722  # He et al. 2016, table 6: 0.27 million
    projected = MODELS["resnet"](features(), **{**RESNET, "shortcut": "projection"})
    assert len(convolutions(projected)) + 1 == 22


@pytest.mark.parametrize("depth", [8, 14, 32])
def test_every_depth_counts_its_layers(depth):
    assert len(convolutions(MODELS["resnet"](features(), **{**RESNET, "depth": depth}))) + 1 == depth


def test_an_identity_shortcut_halves_the_image_and_adds_empty_channels():
    model = MODELS["resnet"](features(), **{**RESNET, "depth": 8})
    join = next(layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate))
    values = keras.Model(model.inputs, join.output)({"image": np.ones((1, 32, 32, 3), "float32")})
    assert values.shape == (1, 16, 16, 32)
    assert not keras.ops.any(values[..., 16:]) and keras.ops.any(values[..., :16])


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (8, 8, 6)),
        ({"stride": 2}, (2, 2, 6)),
        ({"padding": "valid"}, (7, 7, 6)),
        ({"pool_size": 1}, (32, 32, 6)),
        ({"filters": [4]}, (16, 16, 4)),
    ],
)
def test_cnn_settings_shape_what_its_dense_layers_see(changes, shape):
    model = MODELS["cnn"](features(), **{**CNN, **changes})
    flat = next(layer for layer in model.layers if isinstance(layer, keras.layers.Flatten))
    assert flat.input.shape[1:] == shape


def test_cnn_pools_and_normalises_as_asked():
    kinds = {type(layer) for layer in MODELS["cnn"](features(), **{**CNN, "pooling": "average"}).layers}
    assert keras.layers.AveragePooling2D in kinds and keras.layers.MaxPooling2D not in kinds
    model = MODELS["cnn"](features(), **{**CNN, "batch_normalization": True, "dropout": 0.5, "l2": 0.1})
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(keras.layers.BatchNormalization) == 3 and kinds.count(keras.layers.Dropout) == 1
    assert len(model.losses) == 4


@pytest.mark.parametrize("size", [6, 7])
def test_a_strided_convolution_of_one_pixel_takes_every_other_pixel_without_a_strided_kernel(size):
    # The gradient of a strided 1x1 kernel with fewer than 16 input channels ends the process on some processors.
    inputs = keras.Input((size, size, 3))
    plain = {"activation": None, "l2": 0.0, "batch_normalization": False, "initializer": "auto"}
    model = keras.Model(inputs, layers.convolve(inputs, 4, 1, 2, "same", **plain))
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(model(images), images[:, ::2, ::2] @ kernel[0, 0] + bias, atol=1e-6)
    assert [each.strides for each in model.layers if isinstance(each, keras.layers.Conv2D)] == [(1, 1)]


def test_an_inception_module_has_four_branches_behind_bottlenecks():
    model = MODELS["inception"](features(), **INCEPTION)
    joins = [layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]
    assert [join.output.shape[-1] for join in joins] == [16, 32]
    assert len(joins[0].input) == 4
    sizes = [(layer.kernel_size[0], layer.filters) for layer in convolutions(model)[1:7]]
    assert sorted(sizes) == [(1, 1), (1, 2), (1, 4), (1, 4), (3, 8), (5, 2)]


@pytest.mark.parametrize("name", ["logistic_regression", "resnet"])
def test_models_see_normalised_pixels(name):
    given = {"l2": 0.0} if name == "logistic_regression" else RESNET
    model = MODELS[name](features(), **given)
    scaling = next(layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling))
    np.testing.assert_allclose(scaling(np.array([[[[120, 180, 60]]]], "uint8"))[0, 0, 0], [0, 1, -1], atol=1e-6)
