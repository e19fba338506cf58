"""The labels of near training houses as features of a house, in graph.

Neighbours' targets are what retrieval-augmented models of tables draw on (Gorishniy et al. 2024, "TabR"); here the
distance is given, not learnt. Shapes: B houses, N training houses, C columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

SOFTNESS = 0.1  # of the farthest neighbour's distance, added to each: the nearest never outweighs all others


class KnownHouses(NamedTuple):
    """The training split: raw numbers (N, C), raw prices (N,) and their labels (N,)."""

    numbers: np.ndarray
    prices: np.ndarray
    labels: tf.Tensor


def neighbour_labels(
    houses: tf.Tensor, own_price: tf.Tensor | None, known: KnownHouses, weights: np.ndarray, counts: Sequence[int]
) -> list[tf.Tensor]:
    """Average the labels of the nearest known houses: for each count once plainly and once by nearness, (B,) each.

    `houses` (B, C) are raw numbers, `weights` (C,) the columns' weights in the distance, zero for those that do not
    count. A missing number is at no distance from any other. Where `own_price` (B,) is given, a known house that
    equals the asking one in every number and in its price is the house itself, and is passed over.
    """
    distance = tf.zeros([tf.shape(houses)[0], len(known.prices)])
    for column in np.flatnonzero(weights):  # a column at a time: (B, N) and never (B, N, C)
        apart = (houses[:, column, None] - known.numbers[None, :, column]) * weights[column]
        distance += tf.where(tf.math.is_nan(apart), 0.0, tf.square(apart))
    most = max(counts)
    spare = 8 if own_price is not None else 0  # room for the house itself and for houses that equal it
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
