"""Counts instead of a network: interpolated modified Kneser-Ney (Chen & Goodman 1999, section 3), the yardstick.

The counts are a tree: node i of level k is an n-gram of k tokens, found by its key, which is the node of its first
k - 1 tokens, times V, plus its last token. Keys of a level are sorted, so a node's children stand side by side.
Shapes: N tokens, V token ids.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import keras
import numpy as np
from keras import ops
from pydantic import Field

from pipelines.decoding import GenerativeModel, State
from pipelines.tasks.language_model.preprocessing import Features

Order = Annotated[int, Field(ge=1, le=10, description="tokens of the longest n-gram, the predicted one included")]


@dataclass(frozen=True)
class Level:
    """The n-grams of one length."""

    keys: np.ndarray  # (n,) int64, sorted
    shares: np.ndarray  # (n,) float32: the discounted probability of the last token after the others
    rests: np.ndarray  # (n,) float32: what a longer n-gram's discounts leave to the shorter ones, as a context


def count_ngrams(ids: np.ndarray, order: int, tokens: int) -> list[Level]:
    """Count the n-grams of up to `order` tokens of a text (N,) and discount them.

    Lower orders count the distinct tokens before an n-gram, not how often it occurs.
    """
    ids = ids.astype(np.int64)
    tree = [(np.arange(tokens), np.bincount(ids, minlength=tokens))]
    nodes = ids  # of the n-gram that starts at each place
    for length in range(2, min(order, len(ids)) + 1):
        keys, first, nodes_, counts = np.unique(
            nodes[:-1] * tokens + ids[length - 1 :], return_index=True, return_inverse=True, return_counts=True
        )
        shorter, _ = tree[-1]  # each distinct n-gram counts once for the one that lacks its first token
        tree[-1] = (shorter, np.bincount(nodes[first + 1], minlength=len(shorter)))
        tree.append((keys, counts))
        nodes = nodes_
    levels: list[Level] = []
    for keys, counts in tree:
        size = len(levels[-1].keys) if levels else 1
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        totals = np.maximum(np.bincount(keys // tokens, counts, size), 1)
        shares = (counts - discounts) / totals[keys // tokens]
        left = np.bincount(keys // tokens, discounts, size) / totals
        if levels:  # a context that nothing follows leaves all
            levels[-1] = replace(levels[-1], rests=np.where(left > 0, left, 1.0).astype(np.float32))
        else:
            shares += left / tokens
        levels.append(Level(keys, shares.astype(np.float32), np.ones(len(keys), np.float32)))
    return levels


def label_probabilities(levels: list[Level], ids: np.ndarray) -> np.ndarray:
    """Give the probability of each token of a text after those before it: (N,) float64."""
    ids = ids.astype(np.int64)
    tokens = len(levels[0].keys)
    probabilities = levels[0].shares[ids].astype(np.float64)
    for length in range(2, len(levels) + 1):
        context, known = ids[: len(ids) - length + 1], np.ones(len(ids) - length + 1, bool)
        for deep in range(1, length):
            keys = context * tokens + ids[deep : len(ids) - length + 1 + deep]
            places = np.minimum(np.searchsorted(levels[deep].keys, keys), len(levels[deep].keys) - 1)
            found = known & (levels[deep].keys[places] == keys)
            if deep < length - 1:
                context, known = places, found
        rests = np.where(known, levels[length - 2].rests[context], 1.0)
        own = np.where(found, levels[length - 1].shares[places], 0.0)
        probabilities[length - 1 :] = own + rests * probabilities[length - 1 :]
    return probabilities


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Give what is taken off a count of 0, 1, 2 and more (Chen & Goodman 1999, equation 26)."""
    of = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)[1:5]
    share = of[0] / max(of[0] + 2 * of[1], 1)
    taken = [at + 1 - (at + 2) * share * of[at + 1] / max(of[at], 1) for at in range(3)]
    return np.array([0.0, *np.clip(taken, 0.05, [0.95, 1.95, 2.95])])


class Counts(keras.layers.Layer):
    """Give the log-probability of each token id after a text: (B, T) -> (B, T, V).

    The tables are saved with a model's weights, but are none: how long they are is known once the text is counted.
    """

    def __init__(self, features: Features, order: int):
        super().__init__(name="counts")
        self.tokens, self.order, self.count = features.tokens, order, features.train_ids
        self.tables: list[dict[str, np.ndarray]] = []
        self.most: list[int] = []  # children of the node that has the most, by their level

    def learn(self) -> None:
        """Count the training text."""
        for level in count_ngrams(self.count(), self.order, self.tokens):
            self._add(level.keys, level.shares, level.rests)

    def save_own_variables(self, store: Any) -> None:
        """Write the tables."""
        for at, table in enumerate(self.tables):
            for name, values in table.items():
                store[f"{name}_{at}"] = values

    def load_own_variables(self, store: Any) -> None:
        """Read tables of whatever length."""
        self.tables.clear()
        self.most.clear()
        for at in range(len(store) // 3):
            self._add(*(np.asarray(store[f"{name}_{at}"]) for name in ("keys", "shares", "rests")))

    def compute_output_spec(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        """Say the shape, which is known before any text is counted."""
        return keras.KerasTensor((*tokens.shape, self.tokens), "float32")

    def call(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        """Mix the orders, the longest context that training had first of all."""
        shape = ops.shape(tokens)
        ids = ops.cast(tokens, "int64")
        probabilities = ops.broadcast_to(self.tables[0]["shares"], (shape[0] * shape[1], self.tokens))
        for length in range(1, len(self.tables)):
            place = ops.reshape(self._node(ids, length), (-1,))
            known = place >= 0
            rests = ops.where(known, ops.take(self.tables[length - 1]["rests"], ops.maximum(place, 0)), 1.0)
            probabilities = rests[:, None] * probabilities + self._children(length, place, known)
        return ops.log(ops.reshape(probabilities, (shape[0], shape[1], self.tokens)))

    def _node(self, ids: keras.KerasTensor, length: int) -> keras.KerasTensor:
        """Find the last `length` tokens up to each one: a node (B, T), or -1."""
        padded = ops.pad(ids, ((0, 0), (length - 1, 0)), constant_values=-1)
        steps = ops.shape(ids)[1]
        node = padded[:, :steps]
        for deep in range(1, length):
            token = padded[:, deep : deep + steps]
            keys = node * self.tokens + token
            table = self.tables[deep]["keys"]
            place = ops.minimum(ops.searchsorted(table, ops.reshape(keys, (-1,))), table.shape[0] - 1)
            place = ops.cast(ops.reshape(place, ops.shape(keys)), "int64")
            node = ops.where((ops.take(table, place) == keys) & (node >= 0), place, -1)
        return node

    def _children(self, length: int, node: keras.KerasTensor, known: keras.KerasTensor) -> keras.KerasTensor:
        """Spread the shares of what follows each node over all token ids: (N, V)."""
        keys, shares = self.tables[length]["keys"], self.tables[length]["shares"]
        first = ops.cast(ops.searchsorted(keys, node * self.tokens), "int64")
        places = ops.minimum(first[:, None] + ops.arange(self.most[length], dtype="int64"), keys.shape[0] - 1)
        found = ops.take(keys, places)
        own = known[:, None] & (found // self.tokens == node[:, None])
        own &= first[:, None] + ops.arange(self.most[length], dtype="int64") < keys.shape[0]
        rows = ops.broadcast_to(ops.arange(ops.shape(node)[0], dtype="int64")[:, None], ops.shape(places))
        where = ops.stack([ops.reshape(rows, (-1,)), ops.reshape(found % self.tokens, (-1,))], axis=1)
        values = ops.reshape(ops.where(own, ops.take(shares, places), 0.0), (-1,))
        return ops.scatter(where, values, (ops.shape(node)[0], self.tokens))

    def _add(self, keys: np.ndarray, shares: np.ndarray, rests: np.ndarray) -> None:
        self.tables.append({"keys": keys.astype(np.int64), "shares": shares, "rests": rests})
        self.most.append(int(np.unique(keys // self.tokens, return_counts=True)[1].max()))


class Ngram(GenerativeModel):
    """A model of counts, which carries the last tokens."""

    context = None

    def __init__(self, features: Features, order: int):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        counts = Counts(features, order)
        super().__init__({"tokens": tokens}, counts(tokens), name="ngram")
        self.counts, self.order = counts, order

    def load(self) -> None:
        """Count the training text: the whole of this model's training."""
        self.counts.learn()

    def start(self, batch: int, length: int) -> State:
        """Give as many tokens as count, none of which is one."""
        return ops.full((batch, self.order - 1), -1, "int32")

    def step(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Score what follows each of the next tokens (B, n)."""
        joined = ops.concatenate([state, tokens], axis=1)
        steps = ops.shape(tokens)[1]
        last = joined[:, ops.shape(joined)[1] - self.order + 1 :]
        return self.counts(joined)[:, -steps:], ops.reshape(last, (ops.shape(tokens)[0], self.order - 1))


def ngram(features: Features, *, order: Order) -> keras.Model:
    """Count n-grams, discount them and mix them with shorter ones: modified Kneser-Ney (Chen & Goodman 1999)."""
    return Ngram(features, order)
