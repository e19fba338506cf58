"""Interpolated modified Kneser-Ney smoothing in NumPy (Chen & Goodman 1999, section 3), as a baseline.

The counts form a tree. Node i of level k is an n-gram of k tokens. Its key is the node of its first k - 1 tokens, times
V, plus its last token. The keys of a level are sorted, so the children of a node are adjacent. Shapes: N tokens, V
token ids.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Level:
    """All n-grams of one length."""

    keys: np.ndarray  # (n,) int64, sorted
    counts: (
        np.ndarray
    )  # (n,) int64: frequency, or for all but the longest n-grams the number of distinct preceding tokens
    discounts: np.ndarray  # (4,) float32: discount of a count of 0, 1, 2, and 3 or more
    shares: np.ndarray  # (n,) float32: discounted probability of the last token given the others
    totals: np.ndarray  # (n,) int64: total count of the n-grams that extend each n-gram by one token
    rests: np.ndarray  # (n,) float32: weight of the shorter context if the n-gram is the context


Tree = list[tuple[np.ndarray, np.ndarray]]  # keys and counts of each level


def count_ngrams(ids: np.ndarray, order: int, tokens: int) -> list[Level]:
    """Count the n-grams of up to `order` tokens in a text (N,), and apply the discounts."""
    return discount(count_tree(ids, order, tokens), tokens)


def count_tree(ids: np.ndarray, order: int, tokens: int) -> Tree:
    """Count the n-grams of up to `order` tokens in a text (N,).

    Lower orders count the distinct tokens that precede an n-gram instead of its frequency.
    """
    ids = ids.astype(np.int64)
    tree = [(np.arange(tokens), np.bincount(ids, minlength=tokens))]
    nodes = ids  # node of the n-gram that starts at each position
    for length in range(2, min(order, len(ids)) + 1):
        keys, first, nodes_, counts = np.unique(
            nodes[:-1] * tokens + ids[length - 1 :], return_index=True, return_inverse=True, return_counts=True
        )
        shorter, _ = tree[-1]  # each distinct n-gram adds 1 to the count of the n-gram without its first token
        tree[-1] = (shorter, np.bincount(nodes[first + 1], minlength=len(shorter)))
        tree.append((keys, counts))
        nodes = nodes_
    return tree


def discount(tree: Tree, tokens: int) -> list[Level]:
    """Discount the counts of each level, and compute the weights of the shorter contexts."""
    levels: list[Level] = []
    for keys, counts in tree:
        size = len(levels[-1].keys) if levels else 1
        discounts = _discounts(counts).astype(np.float32)
        taken = discounts[np.minimum(counts, 3)]
        totals = np.bincount(keys // tokens, counts, size).astype(np.int64)
        shares = (counts - taken) / np.maximum(totals, 1)[keys // tokens]
        left = np.bincount(keys // tokens, taken, size) / np.maximum(totals, 1)
        if levels:  # a context without continuations has a weight of 1 for the shorter context
            rests = np.where(left > 0, left, 1.0).astype(np.float32)
            levels[-1] = replace(levels[-1], totals=totals, rests=rests)
        else:
            shares += left / tokens
        nothing, all_ = np.zeros(len(keys), np.int64), np.ones(len(keys), np.float32)
        levels.append(Level(keys, counts, discounts, shares.astype(np.float32), nothing, all_))
    return levels


def label_probabilities(levels: list[Level], ids: np.ndarray) -> np.ndarray:
    """Return the probability of each token of a text given the previous tokens: (N,) float64."""
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
    """Return the discounts of a count of 0, 1, 2, and 3 or more (Chen & Goodman 1999, equation 26)."""
    of = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)[1:5]
    share = of[0] / max(of[0] + 2 * of[1], 1)
    taken = [at + 1 - (at + 2) * share * of[at + 1] / max(of[at], 1) for at in range(3)]
    return np.array([0.0, *np.clip(taken, 0.05, [0.95, 1.95, 2.95])])
