"""Kneser-Ney counts: probabilities that add up, and the same ones in the graph as in plain arrays."""

import numpy as np
import pytest
from keras import ops

from pipelines.tasks.language_model.kneser_ney import count_ngrams, label_probabilities
from pipelines.tasks.language_model.models import MODELS
from pipelines.tasks.language_model.preprocessing import Features

TOKENS = 7
IDS = np.random.default_rng(0).choice(TOKENS - 1, 400, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05])  # the last never occurs


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_after_any_context_add_up_to_one(order):
    levels = count_ngrams(IDS, order, TOKENS)
    for context in ([0, 1, 0, 2], [5, 5, 5, 5], [6, 6, 0, 1]):
        each = [label_probabilities(levels, np.array([*context, label]))[-1] for label in range(TOKENS)]
        assert sum(each) == pytest.approx(1, abs=1e-6)
        assert min(each) > 0


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_graph_gives_the_same_probabilities_all_at_once_or_step_by_step(order):
    model = MODELS["ngram"](Features(TOKENS, 8, lambda: IDS), order=order)
    model.load()
    text = np.random.default_rng(1).integers(0, TOKENS, (2, 30))
    expected = [label_probabilities(count_ngrams(IDS, order, TOKENS), row)[1:] for row in text]
    scores = ops.convert_to_numpy(model({"tokens": text}))
    got = np.take_along_axis(np.exp(scores[:, :-1]), text[:, 1:, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    state, stepped = model.start(2, 30), []
    for span in (slice(0, 1), slice(1, 4), slice(4, 30)):
        part, state = model.step(ops.convert_to_tensor(text[:, span], "int32"), state)
        stepped.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(stepped, axis=1), scores, rtol=1e-5)


def test_a_bigram_model_by_hand():
    # a b a b a c: bigrams ab 2, ba 2, ac 1; continuation counts a 1 (after b), b 1, c 1 (each after a)
    levels = count_ngrams(np.array([0, 1, 0, 1, 0, 2]), 2, 3)
    bigrams = dict(zip(levels[1].keys.tolist(), levels[1].shares.tolist(), strict=True))
    n1, n2 = 1, 2
    share = n1 / (n1 + 2 * n2)
    one, two = 1 - 2 * share * n2 / n1, 2.0
    clipped = (max(one, 0.05), min(two, 1.95))
    assert bigrams[0 * 3 + 1] == pytest.approx((2 - clipped[1]) / 3)
    assert bigrams[0 * 3 + 2] == pytest.approx((1 - clipped[0]) / 3)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_place_left_out_counts_as_if_it_were_not_there(order):
    model = MODELS["ngram"](Features(TOKENS, 8, lambda: IDS), order=order)
    model.load()
    at = order + 200  # a window so far inside that its first label has a whole context
    window = IDS[at - order + 1 : at + 2]
    got, seen = model.counts.leave_out(window[None, :-1], window[None, 1:])
    expected, total = _without(order, at)
    assert float(got[0, order - 1]) == pytest.approx(expected, rel=1e-5)
    assert int(seen[0, order - 1, -1]) == total


def _without(order: int, at: int) -> tuple[float, int]:
    """Give the probability of the token after a place by plain sums, its own n-gram taken out of the list of all."""
    grams = [tuple(IDS[i : i + order]) for i in range(len(IDS) - order + 1)]
    own = grams.pop(at + 2 - order)
    discounts = [level.discounts for level in count_ngrams(IDS, order, TOKENS)]
    probability = 1 / TOKENS
    for length in range(1, order + 1):
        listed = grams if length == order else sorted({gram[-length - 1 :] for gram in _longer(grams, length + 1)})
        counts = {}
        for gram in listed:
            counts[gram[-length:]] = counts.get(gram[-length:], 0) + 1
        following = {gram: n for gram, n in counts.items() if gram[:-1] == own[order - length : order - 1]}
        taken = discounts[length - 1]
        total = sum(following.values())
        if total:
            count = following.get(own[order - length :], 0)
            left = sum(taken[min(n, 3)] for n in following.values())
            probability = (count - taken[min(count, 3)] + left * probability) / total
    return probability, total


def _longer(grams: list[tuple], length: int) -> list[tuple]:
    """Give the n-grams of a length that the text has, but for those that only the one taken out holds."""
    starts = [tuple(IDS[i : i + length]) for i in range(len(grams[0]) - length)]
    return [*starts, *(gram[-length:] for gram in grams)]
