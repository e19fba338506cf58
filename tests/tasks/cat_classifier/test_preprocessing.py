"""From bytes to pixels and from a class to a label."""

import io

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.data.batches import tensors
from pipelines.errors import UserError
from pipelines.tasks.cat_classifier.preprocessing import ImagePreprocessor

STILL = {"flip": False, "crop": 0.0, "zoom": 0.0, "rotate": 0.0, "colour": 0.0, "cutout": 0.0, "mixup": 0.0}
SETTINGS = {
    "image_size": 8,
    "resize": "stretch",
    "pixel_scaling": "unit",
    "augmentation": STILL,
    "class_weights": "none",
    "threshold": 0.5,
}


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def examples(labels, size=(8, 8)):
    random = np.random.default_rng(0)
    return pd.DataFrame({"image": [png(random.integers(0, 256, (*size, 3))) for _ in labels], "label": labels})


def adapted(labels, **changes):
    preprocessor = ImagePreprocessor(**{**SETTINGS, **changes})
    preprocessor.adapt(examples(labels))
    return preprocessor


def test_an_image_of_the_right_size_keeps_its_pixels():
    table = examples(["a", "b"])
    pixels = adapted(["a", "b"]).inputs(tensors(table))["image"]
    expected = [np.asarray(Image.open(io.BytesIO(image))) for image in table["image"]]
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("resize", "expected"),
    [("stretch", [10, 10, 250, 250]), ("crop", [10, 10, 250, 250]), ("pad", [0, 130, 130, 0])],
)
def test_an_image_that_is_not_square_is_made_so(resize, expected):
    wide = np.full((32, 64, 3), 10)
    wide[:, 32:] = 250
    image = tf.constant([png(wide if resize != "pad" else np.full((32, 64, 3), 130))])
    pixels = adapted(["a", "b"], resize=resize).inputs({"image": image})["image"][0, :, :, 0].numpy()
    line = pixels[0 if resize != "pad" else slice(None), ...]
    line = line[:, 4] if resize == "pad" else line
    np.testing.assert_allclose(line[[0, 2, 5, 7]], expected, atol=2)


def test_cropping_keeps_the_middle_only():
    wide = np.zeros((16, 48, 3))
    wide[:, 16:32] = 200
    pixels = adapted(["a", "b"], resize="crop").inputs({"image": tf.constant([png(wide)])})["image"]
    assert (pixels.numpy() == 200).all()


def test_standard_scaling_learns_each_channels_mean_and_deviation():
    table = examples(["a", "b"] * 20)
    preprocessor = ImagePreprocessor(**{**SETTINGS, "pixel_scaling": "standard"})
    preprocessor.adapt(table)
    pixels = np.array([np.asarray(Image.open(io.BytesIO(image))) for image in table["image"]], "float64")
    np.testing.assert_allclose(preprocessor.features.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(preprocessor.features.deviation, pixels.std(axis=(0, 1, 2)), rtol=1e-4)


def test_a_class_and_its_opposite_have_one_output_and_the_class_is_one():
    preprocessor = adapted(["not cat", "cat", "not cat"])
    assert preprocessor.features.outputs == 1 and preprocessor.classes == ["cat", "not cat"]
    _, labels, weights = preprocessor.example(tensors(examples(["not cat", "cat", "not cat"])), training=True)
    assert labels.numpy().tolist() == [[0], [1], [0]] and weights.numpy().tolist() == [1, 1, 1]


def test_more_classes_have_an_output_each():
    preprocessor = adapted(["dog", "cat", "owl"])
    _, labels, _ = preprocessor.example(tensors(examples(["owl", "cat"])), training=False)
    assert preprocessor.classes == ["cat", "dog", "owl"]
    assert labels.numpy().tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("class_weights", "expected"),
    [("none", [1, 1, 1]), ("balanced", [2 / 3, 2, 2 / 3]), ({"dog": 3.0}, [1, 3, 1])],
)
def test_class_weights_reach_the_loss(class_weights, expected):
    labels = ["cat", "cat", "cat", "dog"]
    preprocessor = adapted(labels, class_weights=class_weights)
    _, _, weights = preprocessor.example(tensors(examples(["cat", "dog", "cat"])), training=True)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_a_weight_for_no_class_and_a_single_class_are_explained():
    with pytest.raises(UserError, match=r"preprocessing.class_weights: no class 'dgo'; did you mean 'dog'"):
        adapted(["cat", "dog"], class_weights={"dgo": 2.0})
    with pytest.raises(UserError, match=r"split.train: contains a single class, 'cat'"):
        adapted(["cat", "cat"])
