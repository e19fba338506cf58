"""Random augmentations of training images that keep their class, in the graph.

Shapes: B images, S pixels per side, C label columns. Each augmentation has its own seed, so the same step of the same
run always changes its images in the same way.
"""

from typing import Annotated

import tensorflow as tf
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic supports the standard one only from Python 3.12 on

Share = Annotated[float, Field(ge=0, lt=1)]


@with_config(ConfigDict(extra="forbid", strict=True))
class Augmentation(TypedDict):
    """Strength of each random augmentation. The training images are changed differently in each epoch."""

    flip: Annotated[bool, Field(description="flip half of the images horizontally")]
    crop: Annotated[
        Share, Field(description="maximum translation, as a fraction of the image; the gap is filled by reflection")
    ]
    zoom: Annotated[Share, Field(description="maximum change of scale, as a fraction of the image")]
    rotate: Annotated[float, Field(ge=0, le=180, description="maximum rotation in degrees")]
    colour: Annotated[Share, Field(description="maximum relative change of brightness, contrast and saturation")]
    cutout: Annotated[
        Share,
        Field(
            description="side of a gray square drawn over the image, as a fraction of the image (DeVries & Taylor 2017)"
        ),
    ]
    mixup: Annotated[
        float,
        Field(
            ge=0,
            description="mix each image and label with another, with a weight from Beta(mixup, mixup) (Zhang et al."
            " 2018); 0: off",
        ),
    ]


def augment(
    images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, seed: tf.Tensor, how: Augmentation
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Augment images (B, S, S, 3) with values from 0 to 255. Mixup also changes labels (B, C) and weights (B,).

    Changed images are returned as float32.
    """
    seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 4))
    if how["flip"] or how["crop"] or how["zoom"] or how["rotate"]:
        images = _move(tf.cast(images, tf.float32), seeds[0], how)
    if how["colour"]:
        images = _recolour(tf.cast(images, tf.float32), seeds[1], how["colour"])
    if how["cutout"]:
        images = _cut_out(tf.cast(images, tf.float32), seeds[2], how["cutout"])
    if how["mixup"]:
        return _mix(tf.cast(images, tf.float32), labels, weights, seeds[3], how["mixup"])
    return images, labels, weights


def _move(images: tf.Tensor, seed: tf.Tensor, how: Augmentation) -> tf.Tensor:
    """Flip, rotate, zoom and shift with one resampling.

    The output pixel (x, y) is the input pixel (ax + by + c, dx + ey + f).
    """
    count, side = tf.shape(images)[0], tf.cast(tf.shape(images)[1], tf.float32)
    draws = tf.random.stateless_uniform([5, count], seed, -1.0, 1.0)
    mirror = tf.where(draws[0] < 0, -1.0, 1.0) if how["flip"] else tf.ones([count])
    angle = draws[1] * how["rotate"] * (3.141592653589793 / 180)
    scale = 1 + draws[2] * how["zoom"]
    # Shift by whole pixels, so that nothing is blurred without zoom and rotation.
    shift_x, shift_y = (tf.round(draw * how["crop"] * side) for draw in (draws[3], draws[4]))
    a, b = mirror * tf.cos(angle) * scale, -tf.sin(angle) * scale
    d, e = mirror * tf.sin(angle) * scale, tf.cos(angle) * scale
    middle = (side - 1) / 2
    zeros = tf.zeros([count])
    c = middle - (a + b) * middle + shift_x
    f = middle - (d + e) * middle + shift_y
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, zeros, zeros], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR" if how["rotate"] or how["zoom"] else "NEAREST",
        fill_mode="REFLECT",
    )


def _recolour(images: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    factors = tf.random.stateless_uniform([3, tf.shape(images)[0], 1, 1, 1], seed, 1 - share, 1 + share)
    images *= factors[0]
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    images = mean + (images - mean) * factors[1]
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    return tf.clip_by_value(grey + (images - grey) * factors[2], 0.0, 255.0)


def _cut_out(images: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    count, side = tf.shape(images)[0], tf.shape(images)[1]
    centres = tf.random.stateless_uniform([2, count, 1], seed) * tf.cast(side, tf.float32)
    away = tf.abs(tf.range(tf.cast(side, tf.float32)) + 0.5 - centres) <= share * tf.cast(side, tf.float32) / 2
    square = away[0][:, :, None] & away[1][:, None, :]
    return tf.where(square[..., None], 127.5, images)


def _mix(
    images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, seed: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mix each image with the previous one of the batch, which is a random image because batches are shuffled."""
    left, right = tf.unstack(tf.random.stateless_gamma([2, tf.shape(images)[0]], seed, alpha))
    share = left / tf.maximum(left + right, 1e-7)

    def blend(values: tf.Tensor) -> tf.Tensor:
        own = tf.reshape(share, [-1] + [1] * (len(values.shape) - 1))
        return own * values + (1 - own) * tf.roll(values, 1, axis=0)

    return blend(images), blend(labels), blend(weights)
