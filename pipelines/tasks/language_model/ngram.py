"""Counts instead of a network, or beside one: what `kneser_ney` counts, looked up in graph.

Shapes: B texts, T tokens, N of them in all, V token ids.
"""

from dataclasses import astuple
from typing import Annotated, Any

import keras
import numpy as np
from keras import ops
from pydantic import Field

from pipelines.tasks.language_model.kneser_ney import Level, Tree, count_tree, discount
from pipelines.tasks.language_model.preprocessing import Features
from pipelines.text.sampling import GenerativeModel, State

Order = Annotated[int, Field(ge=1, le=10, description="tokens of the longest n-gram, the predicted one included")]


class Counts(keras.layers.Layer):
    """Give the log-probability of each token id after a text: (B, T) -> (B, T, V).

    The counts are saved with a model's weights, but are none: how many there are is known once the text is counted.
    """

    def __init__(self, features: Features, order: int):
        super().__init__(name="counts")
        self.tokens, self.order, self.count = features.tokens, order, features.train_ids
        self.levels: list[Level] = []
        self.contexts: list[tuple] = []  # of each level: the sums of what follows, and of what is taken off that
        self.firsts: list = []  # where each node's children begin, by their level
        self.most: list[int] = []  # children of the node that has the most, by their level

    def learn(self) -> None:
        """Count the training text."""
        self._take(count_tree(self.count(), self.order, self.tokens))

    def save_own_variables(self, store: Any) -> None:
        """Write the counts."""
        for at, level in enumerate(self.levels):
            store[f"keys_{at}"], store[f"counts_{at}"] = map(ops.convert_to_numpy, (level.keys, level.counts))

    def load_own_variables(self, store: Any) -> None:
        """Read as many counts as there are."""
        self._take(
            [(np.asarray(store[f"keys_{at}"]), np.asarray(store[f"counts_{at}"])) for at in range(len(store) // 2)]
        )

    def compute_output_spec(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        """Say the shape, which is known before any text is counted."""
        return keras.KerasTensor((*tokens.shape, self.tokens), "float32")

    def call(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        """Mix the orders, the longest context that training had first of all."""
        return ops.log(self.look_up(tokens)[0])

    def look_up(self, tokens: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Give probabilities after each token, (B, T, V), and how often each context occurs, (B, T, order)."""
        shape, ids = ops.shape(tokens), ops.cast(tokens, "int64")
        probabilities = ops.broadcast_to(self.levels[0].shares, (shape[0] * shape[1], self.tokens))
        seen = [ops.broadcast_to(self.contexts[0][0], (shape[0] * shape[1],))]
        for length, (level, node) in enumerate(zip(self.levels[:-1], self._nodes(ids), strict=True), 1):
            place = ops.reshape(node, (-1,))
            known = place >= 0
            rests = ops.where(known, ops.take(level.rests, ops.maximum(place, 0)), 1.0)
            probabilities = rests[:, None] * probabilities + self._children(length, place, known)
            seen.append(ops.where(known, ops.take(level.totals, ops.maximum(place, 0)), 0))
        probabilities = ops.reshape(probabilities, (shape[0], shape[1], self.tokens))
        return probabilities, ops.reshape(ops.stack(seen, axis=-1), (shape[0], shape[1], len(seen)))

    def leave_out(
        self, tokens: keras.KerasTensor, labels: keras.KerasTensor
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Do as `look_up` for a label (B, T) after each token of the training text, as if it did not occur there.

        An n-gram that occurs but once would be gone, and with it what it counts for the one without its first token.
        Of what the training text holds before the first token nothing is known.
        """
        ids, labels = ops.cast(tokens, "int64"), ops.cast(labels, "int64")
        nodes = [ops.zeros_like(ids), *self._nodes(ids)]
        gone, found_at = True, []
        for length in reversed(range(len(self.levels))):
            level, node = self.levels[length], nodes[length]
            place, found = self._find(length, node, labels)
            count = ops.where(found, ops.take(level.counts, place), 0)
            found_at.insert(0, (count, ops.cast(ops.logical_and(found, gone), "int64")))
            gone = ops.logical_and(gone, ops.logical_or(~found, count == 1))
        probability, seen = 1.0 / self.tokens, []
        for level, (totals, left), node, (count, less) in zip(self.levels, self.contexts, nodes, found_at, strict=True):
            before, after = (ops.take(level.discounts, ops.minimum(each, 3)) for each in (count, count - less))
            total = ops.where(node >= 0, ops.take(totals, ops.maximum(node, 0)) - less, 0)
            own = ops.cast(count - less, "float32") - after
            rest = ops.take(left, ops.maximum(node, 0)) - before + after
            mixed = (own + rest * probability) / ops.cast(ops.maximum(total, 1), "float32")
            probability = ops.where(total > 0, mixed, probability)
            seen.append(total)
        return probability, ops.stack(seen, axis=-1)

    def _nodes(self, ids: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Find the last 1, 2 ... tokens up to each one: nodes (B, T), -1 where training had no such n-gram."""
        nodes = [ids]
        for length in range(1, len(self.levels) - 1):
            before = ops.pad(nodes[-1][:, :-1], ((0, 0), (1, 0)), constant_values=-1)
            place, found = self._find(length, before, ids)
            nodes.append(ops.where(found, place, -1))
        return nodes[: len(self.levels) - 1]

    def _find(self, length: int, node: keras.KerasTensor, token: keras.KerasTensor) -> tuple:
        """Find the child (B, T) of each node, -1 being none, by halves: its place, and whether it is there.

        XLA's own search would compare each with all.
        """
        keys, wanted = self.levels[length].keys, node * self.tokens + token
        first, end = self._family(length, node)
        below = ops.zeros_like(first)  # children before the wanted one
        for bit in reversed(range(self.most[length].bit_length())):
            further = below + (1 << bit)
            last = ops.take(keys, ops.minimum(first + further, end) - 1)
            below = ops.where(ops.logical_and(first + further <= end, last < wanted), further, below)
        place = ops.minimum(first + below, keys.shape[0] - 1)
        return place, ops.logical_and(node >= 0, ops.take(keys, place) == wanted)

    def _family(self, length: int, node: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Give the places of each node's first child, and after its last."""
        known = ops.maximum(node, 0)
        return ops.take(self.firsts[length], known), ops.take(self.firsts[length], known + 1)

    def _children(self, length: int, node: keras.KerasTensor, known: keras.KerasTensor) -> keras.KerasTensor:
        """Spread the shares of what follows each node over all token ids: (N, V)."""
        keys, shares = self.levels[length].keys, self.levels[length].shares
        first, end = self._family(length, node)
        places = first[:, None] + ops.arange(self.most[length], dtype="int64")
        own = known[:, None] & (places < end[:, None])
        places = ops.minimum(places, keys.shape[0] - 1)
        found = ops.take(keys, places)
        rows = ops.broadcast_to(ops.arange(ops.shape(node)[0], dtype="int64")[:, None], ops.shape(places))
        where = ops.stack([ops.reshape(rows, (-1,)), ops.reshape(found % self.tokens, (-1,))], axis=1)
        values = ops.reshape(ops.where(own, ops.take(shares, places), 0.0), (-1,))
        return ops.scatter(where, values, (ops.shape(node)[0], self.tokens))

    def _take(self, tree: Tree) -> None:
        """Make tensors of what was counted: a graph holds each once, however often it is looked at."""
        levels = discount(tree, self.tokens)
        parents = [1, *(len(level.keys) for level in levels[:-1])]
        firsts = [
            np.searchsorted(level.keys, np.arange(count + 1) * self.tokens)
            for level, count in zip(levels, parents, strict=True)
        ]
        self.most = [int(np.diff(first).max()) for first in firsts]
        self.firsts = [ops.convert_to_tensor(first) for first in firsts]
        first = levels[0]
        whole = (first.counts.sum()[None], first.discounts[np.minimum(first.counts, 3)].sum()[None])
        contexts = [whole, *((level.totals, level.totals * level.rests) for level in levels[:-1])]
        self.contexts = [(ops.convert_to_tensor(totals), ops.cast(left, "float32")) for totals, left in contexts]
        self.levels = [Level(*(ops.convert_to_tensor(array) for array in astuple(level))) for level in levels]


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
