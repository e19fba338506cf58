"""Features from the labels of nearby training houses, computed in the graph.

Retrieval-augmented models for tables use the targets of neighbours (Gorishniy et al. 2024, "TabR"). Here the distance
is fixed instead of learned. Shapes: B houses, N training houses, C columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

SOFTNESS = 0.1  # share of the farthest distance added to each distance, so the nearest cannot outweigh all others


class KnownHouses(NamedTuple):
    """The training split: raw numbers (N, C), raw prices (N,) and labels (N,)."""

    numbers: np.ndarray
    prices: np.ndarray
    labels: tf.Tensor


def neighbour_labels(
    houses: tf.Tensor, own_price: tf.Tensor | None, known: KnownHouses, weights: np.ndarray, counts: Sequence[int]
) -> list[tf.Tensor]:
    """Return the mean label of the nearest training houses: for each count a plain and a weighted mean, (B,) each.

    `houses` (B, C) are raw numbers. `weights` (C,) are the weights of the columns in the distance, 0 for unused
    columns. A missing number has distance 0 to any other number. If `own_price` (B,) is given, training houses that
    equal the house in every number and in the price are treated as the house itself and skipped.
    """
    distance = tf.zeros([tf.shape(houses)[0], len(known.prices)])
    for column in np.flatnonzero(weights):  # one column at a time, for tensors of (B, N) instead of (B, N, C)
        apart = (houses[:, column, None] - known.numbers[None, :, column]) * weights[column]
        distance += tf.where(tf.math.is_nan(apart), 0.0, tf.square(apart))
    most = max(counts)
    spare = 8 if own_price is not None else 0  # room for the house itself and for equal houses
    nearest, index = tf.math.top_k(-distance, k=min(most + spare, len(known.prices)))
    nearest, near_labels = tf.sqrt(-nearest), tf.gather(known.labels, index)
    if own_price is not None:
        itself = tf.gather(known.prices, index) == own_price[:, None]
        near = tf.gather(known.numbers, index)  # (B, K, C)
        equal = (near == houses[:, None]) | (tf.math.is_nan(near) & tf.math.is_nan(houses[:, None]))
        itself &= tf.reduce_all(equal, axis=-1)
        order = tf.argsort(tf.cast(itself, tf.int32), axis=1, stable=True)
        nearest, near_labels = tf.gather(nearest, order, batch_dims=1), tf.gather(near_labels, order, batch_dims=1)
    features = []
    for count in counts:
        values, distances = near_labels[:, :count], nearest[:, :count]
        nearness = 1 / (distances + SOFTNESS * distances[:, -1:] + 1e-6)
        features += [
            tf.reduce_mean(values, axis=1),
            tf.reduce_sum(values * nearness, axis=1) / tf.reduce_sum(nearness, axis=1),
        ]
    return features
