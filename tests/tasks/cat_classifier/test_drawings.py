"""Drawn pictures depend on seed and index alone, and only shapes tell cats from the others."""

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.tasks.cat_classifier.drawings import FIGURES, SHARES, drawn_picture, drawn_pictures


@pytest.fixture(scope="module")
def pictures():
    return drawn_pictures(800, seed=5)


def pixels(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)))


def test_a_picture_depends_on_seed_and_index_alone(pictures):
    assert drawn_picture(5, 700) == pictures[700]
    assert drawn_pictures(3, seed=5) == pictures[:3]
    assert drawn_picture(6, 700)[0] != pictures[700][0]


def test_no_two_pictures_are_the_same(pictures):
    assert len({encoded for encoded, _ in pictures}) == len(pictures)


@pytest.mark.parametrize("size", [32, 64, 100])
def test_a_picture_is_a_colour_jpeg_of_the_size_asked_for(size):
    image = Image.open(io.BytesIO(drawn_picture(0, 0, size=size)[0]))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (size, size))


def test_the_size_leaves_the_kind_as_it_is():
    assert all(drawn_picture(1, i, size=32)[1] == drawn_picture(1, i)[1] for i in range(20))


def test_half_are_cats_and_every_kind_occurs(pictures):
    kinds = [kind for _, kind in pictures]
    assert set(kinds) == set(FIGURES) == set(SHARES)
    assert all(abs(kinds.count(kind) / len(kinds) - share) < 0.05 for kind, share in SHARES.items())


def test_cats_are_neither_brighter_nor_of_another_colour_than_the_others(pictures):
    means = np.array([pixels(encoded).mean(axis=(0, 1)) for encoded, _ in pictures])
    is_cat = np.array([kind == "cat" for _, kind in pictures])
    apart = np.abs(means[is_cat].mean(axis=0) - means[~is_cat].mean(axis=0))
    assert (apart < 0.25 * means.std(axis=0)).all()


def test_pictures_show_something(pictures):
    assert min(pixels(encoded).std() for encoded, _ in pictures) > 5
