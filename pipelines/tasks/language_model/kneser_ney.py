"""Interpolated modified Kneser-Ney in plain arrays (Chen & Goodman 1999, section 3), the yardstick.

The counts are a tree: node i of level k is an n-gram of k tokens, found by its key, which is the node of its first
k - 1 tokens, times V, plus its last token. Keys of a level are sorted, so a node's children stand side by side.
Shapes: N tokens, V token ids.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Level:
    """The n-grams of one length."""

    keys: np.ndarray  # (n,) int64, sorted
    counts: np.ndarray  # (n,) int64: how often each occurs; of all but the longest, after how many distinct tokens
    discounts: np.ndarray  # (4,) float32: what is taken off a count of 0, 1, 2 and more
    shares: np.ndarray  # (n,) float32: the discounted probability of the last token after the others
    totals: np.ndarray  # (n,) int64: the sum of the counts of what follows each n-gram
    rests: np.ndarray  # (n,) float32: what a longer n-gram's discounts leave to the shorter ones, as a context


Tree = list[tuple[np.ndarray, np.ndarray]]  # keys and counts of each level


def count_ngrams(ids: np.ndarray, order: int, tokens: int) -> list[Level]:
    """Count the n-grams of up to `order` tokens of a text (N,) and discount them."""
    return discount(count_tree(ids, order, tokens), tokens)


def count_tree(ids: np.ndarray, order: int, tokens: int) -> Tree:
    """Count the n-grams of up to `order` tokens of a text (N,).

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
    return tree


def discount(tree: Tree, tokens: int) -> list[Level]:
    """Discount the counts of each level, and tell what that leaves to the shorter contexts."""
    levels: list[Level] = []
    for keys, counts in tree:
        size = len(levels[-1].keys) if levels else 1
        discounts = _discounts(counts).astype(np.float32)
        taken = discounts[np.minimum(counts, 3)]
        totals = np.bincount(keys // tokens, counts, size).astype(np.int64)
        shares = (counts - taken) / np.maximum(totals, 1)[keys // tokens]
        left = np.bincount(keys // tokens, taken, size) / np.maximum(totals, 1)
        if levels:  # a context that nothing follows leaves all
            rests = np.where(left > 0, left, 1.0).astype(np.float32)
            levels[-1] = replace(levels[-1], totals=totals, rests=rests)
        else:
            shares += left / tokens
        nothing, all_ = np.zeros(len(keys), np.int64), np.ones(len(keys), np.float32)
        levels.append(Level(keys, counts, discounts, shares.astype(np.float32), nothing, all_))
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
