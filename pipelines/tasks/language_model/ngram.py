"""N-gram models in the graph, alone or as part of a mixture. `kneser_ney` counts the n-grams.

Shapes: B texts, T tokens, N tokens of all texts, V token ids.
"""

from dataclasses import astuple
from typing import Annotated, Any

import keras
import numpy as np
from keras import ops
from pydantic import Field

from pipelines.errors import UserError
from pipelines.tasks.language_model.kneser_ney import Level, Tree, count_tree, discount
from pipelines.tasks.language_model.preprocessing import Features
from pipelines.text.sampling import GenerativeModel, State

Order = Annotated[
    int, Field(ge=1, le=10, description="number of tokens in the longest n-gram, including the predicted token")
]


class Counts(keras.layers.Layer):
    """Return the log-probability of each next token: (B, T) -> (B, T, V).

    The counts are saved with the weights of a model, but they are not weights: their number is known only after the
    text is counted.
    """

    def __init__(self, features: Features, order: int):
        super().__init__(name="counts")
        self.tokens, self.order, self.count = features.tokens, order, features.train_ids
        self.levels: list[Level] = []
        self.contexts: list[tuple] = []  # for each level: the totals of the contexts, and the sums of their discounts
        self.firsts: list = []  # start of the children of each node, by the level of the children
        self.most: list[int] = []  # largest number of children of a node, by the level of the children

    def learn(self) -> None:
        """Count the n-grams of the training text."""
        self._take(count_tree(self.count(), self.order, self.tokens))

    def save_own_variables(self, store: Any) -> None:
        """Save the counts."""
        for at, level in enumerate(self.levels):
            store[f"keys_{at}"], store[f"counts_{at}"] = map(ops.convert_to_numpy, (level.keys, level.counts))

    def load_own_variables(self, store: Any) -> None:
        """Load the counts. Their number comes from the file."""
        self._take(
            [(np.asarray(store[f"keys_{at}"]), np.asarray(store[f"counts_{at}"])) for at in range(len(store) // 2)]
        )

    def compute_output_spec(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        """Return the output shape, which is known before any text is counted."""
        return keras.KerasTensor((*tokens.shape, self.tokens), "float32")

    def call(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        """Interpolate all orders, from the shortest context to the longest."""
        return ops.log(self.look_up(tokens)[0])

    def look_up(self, tokens: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return the probabilities of the next tokens (B, T, V), and how often each context occurs (B, T, order)."""
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
        """Do the same as `look_up` for the labels (B, T), as if this occurrence were not in the training text.

        An n-gram that occurs only once would not exist. Then its contribution to the count of the n-gram without its
        first token is removed as well. The text before the first token is unknown.
        """
        ids, labels = ops.cast(tokens, "int64"), ops.cast(labels, "int64")
        nodes = [ops.zeros_like(ids), *self._nodes(ids)]
        gone: Any = True
        found_at: list[tuple] = []
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
        """Find the n-grams of the last 1, 2, ... tokens at each position: nodes (B, T), -1 if train has none."""
        nodes = [ids]
        for length in range(1, len(self.levels) - 1):
            before = ops.pad(nodes[-1][:, :-1], ((0, 0), (1, 0)), constant_values=-1)
            place, found = self._find(length, before, ids)
            nodes.append(ops.where(found, place, -1))
        return nodes[: len(self.levels) - 1]

    def _find(self, length: int, node: keras.KerasTensor, token: keras.KerasTensor) -> tuple:
        """Find the child (B, T) of each node with binary search, and return its position and whether it exists.

        A node of -1 is missing. XLA's own search would compare each value with all keys.
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
        """Return the position of each node's first child, and the position after its last child."""
        known = ops.maximum(node, 0)
        return ops.take(self.firsts[length], known), ops.take(self.firsts[length], known + 1)

    def _children(self, length: int, node: keras.KerasTensor, known: keras.KerasTensor) -> keras.KerasTensor:
        """Return the shares of each node's children, spread over all token ids: (N, V)."""
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
        """Store the counts as tensors. A graph then contains each of them only once."""
        levels = discount(tree, self.tokens)
        largest = max(len(level.keys) for level in levels) * self.tokens
        if keras.backend.backend() == "jax" and largest > np.iinfo(np.int32).max:
            problem = "JAX counts in 32 bits, too few for the n-grams of this text; use a smaller order or vocabulary"
            raise UserError("training.backend", f"{problem}, or set it to tensorflow")
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
    """N-gram model. Its state is the last tokens."""

    context = None
    by_row = True
    can_distill = False

    def __init__(self, features: Features, order: int):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        counts = Counts(features, order)
        super().__init__({"tokens": tokens}, counts(tokens), name="ngram")
        self.counts, self.order = counts, order

    def load(self) -> None:
        """Count the n-grams of the training text. This model needs no other training."""
        self.counts.learn()

    def start(self, batch: int, length: int) -> State:
        """Return the initial state: -1 in place of the last tokens."""
        return ops.full((batch, self.order - 1), -1, "int32")

    def step(self, tokens: keras.KerasTensor, state: State, by_row: bool = False) -> tuple[keras.KerasTensor, State]:
        """Return the scores of the token after each of the next tokens (B, n), and the new state."""
        joined = ops.concatenate([state, tokens], axis=1)
        steps = ops.shape(tokens)[1]
        last = joined[:, ops.shape(joined)[1] - self.order + 1 :]
        return self.counts(joined)[:, -steps:], ops.reshape(last, (ops.shape(tokens)[0], self.order - 1))


def ngram(features: Features, *, order: Order) -> GenerativeModel:
    """N-gram model with modified Kneser-Ney smoothing (Chen & Goodman 1999)."""
    return Ngram(features, order)
