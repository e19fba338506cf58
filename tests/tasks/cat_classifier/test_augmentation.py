"""Augmentation changes what it says and nothing else, and draws by its seed alone."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.tasks.cat_classifier.augmentation import augment

NONE = {"flip": False, "crop": 0.0, "zoom": 0.0, "rotate": 0.0, "colour": 0.0, "cutout": 0.0, "mixup": 0.0}
COUNT, SIDE = 32, 20
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), np.uint8)
LABELS = np.eye(COUNT, dtype="float32")


def changed(seed=(0, 0), weights=None, **how):
    weights = tf.ones(COUNT) if weights is None else tf.constant(weights, tf.float32)
    results = augment(tf.constant(IMAGES), tf.constant(LABELS), weights, tf.constant(seed, tf.int64), {**NONE, **how})
    return tuple(result.numpy() for result in results)


def test_nothing_asked_for_changes_nothing():
    images, labels, weights = changed()
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert (weights == 1).all()


def test_flip_mirrors_some_images_and_leaves_the_others():
    images = changed(flip=True)[0]
    mirrored = [np.array_equal(image, original[:, ::-1]) for image, original in zip(images, IMAGES, strict=True)]
    same = [np.array_equal(image, original) for image, original in zip(images, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 5 < sum(mirrored) < COUNT - 5


def test_crop_shifts_by_whole_pixels_and_no_farther_than_asked():
    images = changed(crop=0.2)[0]
    padded = np.pad(IMAGES, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="symmetric")
    shifts = []
    for image, wide in zip(images, padded, strict=True):
        places = [(y, x) for y in range(9) for x in range(9) if (wide[y : y + SIDE, x : x + SIDE] == image).all()]
        assert len(places) == 1
        shifts += places
    assert len(set(shifts)) > 10


def test_rotation_by_a_half_turn_at_most_moves_pixels_about_the_middle():
    image = np.zeros((1, 21, 21, 3), "uint8")
    image[0, 10, 10] = 255
    how = {**NONE, "rotate": 180.0}
    turned = augment(tf.constant(image), tf.ones((1, 1)), tf.ones(1), tf.constant([0, 1], tf.int64), how)[0].numpy()
    assert turned[0, 10, 10].min() > 200 and turned.sum() < 2 * image.sum()


def test_colour_keeps_shapes_and_the_range_of_pixels():
    images = changed(colour=0.5)[0]
    assert images.min() >= 0 and images.max() <= 255
    for image, original in zip(images, IMAGES, strict=True):
        assert np.corrcoef(image.mean(-1).ravel(), original.mean(-1).ravel())[0, 1] > 0.9
        assert not np.allclose(image, original)


def test_cutout_greys_a_square_and_no_more():
    images = changed(cutout=0.5)[0]
    touched = (images != IMAGES).any(axis=-1)
    assert (images[touched] == 127.5).all()
    assert touched.any(axis=(1, 2)).all()
    assert touched.any(axis=1).sum(axis=1).max() <= SIDE // 2 + 1


def test_mixup_blends_images_labels_and_weights_in_the_same_shares():
    weights = np.linspace(1, 2, COUNT)
    images, labels, mixed = changed(mixup=1.0, weights=weights)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(images, np.tensordot(labels, IMAGES.astype("float32"), 1), atol=0.01)
    np.testing.assert_allclose(mixed, labels @ weights, rtol=1e-5)
    assert np.diag(labels).std() > 0.05


@pytest.mark.parametrize("how", [{"flip": True}, {"crop": 0.3}, {"zoom": 0.3}, {"rotate": 40.0}, {"colour": 0.3}])
def test_the_seed_decides_every_draw(how):
    first, again, other = (changed(seed, **how)[0] for seed in ((3, 5), (3, 5), (3, 6)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
