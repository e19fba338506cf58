"""Linear-chain conditional random fields (Lafferty et al. 2001): layer, loss and Viterbi decoding.

Shapes: B sentences, T tokens, K tags. The potential [b, t, i, j] of (B, T, K, K) scores tag j at token t if token
t - 1 has tag i. Tag 0 precedes the first token. On padding, the last tag is repeated at no cost.
"""

import keras
import numpy as np
from keras import ops

FORBIDDEN = -1e4  # low enough that no sum of other scores outweighs it, and far from overflow


class ConditionalRandomField(keras.layers.Layer):
    """Compute CRF potentials: emissions (B, T, K) and mask (B, T) -> (B, T, K, K).

    `allowed` (K + 1, K) is true where the column's tag may follow the row's tag. Its last row is for the first token.
    """

    def __init__(self, allowed: np.ndarray, **kwargs):
        super().__init__(autocast=False, **kwargs)  # in float32 always: 16 bits are too few for sums with FORBIDDEN
        self.allowed = np.asarray(allowed, "bool")

    def build(self, input_shape: tuple[int | None, ...], *_: tuple[int | None, ...]) -> None:
        """Create the transition scores (K + 1, K); the last row is for the first token."""
        self.transitions = self.add_weight(shape=self.allowed.shape, initializer="zeros", name="transitions")

    @property
    def axis_parts(self) -> dict[str, dict[int, list[int]]]:
        """Return the parts of the rows of the transition scores: the tags, and the first token."""
        return {"transitions": {0: [self.allowed.shape[1], 1]}}

    def call(self, emissions: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
        """Add the transition scores to the emissions."""
        emissions = ops.cast(emissions, self.variable_dtype)
        return potentials(emissions, mask, self.transitions + forbidding(self.allowed))


def forbidding(allowed: np.ndarray) -> np.ndarray:
    """Return transition scores (K + 1, K): 0 where `allowed` is true, otherwise `FORBIDDEN`."""
    return np.where(allowed, 0.0, FORBIDDEN).astype("float32")


def potentials(
    emissions: keras.KerasTensor, mask: keras.KerasTensor, transitions: keras.KerasTensor
) -> keras.KerasTensor:
    """Combine emissions (B, T, K), mask (B, T) and transitions (K + 1, K) into potentials (B, T, K, K)."""
    tags = emissions.shape[-1]
    first = ops.expand_dims(ops.equal(ops.cumsum(ops.ones_like(mask, "int32"), axis=1), 1), -1)  # (B, T, 1)
    first = ops.expand_dims(first, -1)
    scores = emissions[:, :, None, :] + ops.where(first, transitions[tags], transitions[:tags])
    stay = np.where(np.eye(tags), 0.0, FORBIDDEN).astype("float32")
    return ops.where(mask[:, :, None, None], scores, stay)


def messages(potentials: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the forward and the backward messages as log weights, (T, B, K) each.

    Both recursions of Rabiner (1989, section III.A) run in one loop. Each step normalizes its weights to a sum of 1,
    which keeps them accurate in long sentences.
    """
    forwards = ops.transpose(potentials, (1, 0, 2, 3))  # (T, B, K, K)
    backwards = ops.flip(ops.transpose(potentials, (1, 0, 3, 2)), 0)
    end = ops.zeros_like(forwards[0, :, 0, :])

    def step(carry: keras.KerasTensor, scores: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        carry = ops.log_softmax(ops.logsumexp(carry[..., None] + scores, axis=-2), axis=-1)
        return carry, carry

    _, both = ops.scan(step, ops.stack([_only_first(end), end]), ops.stack([forwards, backwards], axis=1))
    right = ops.flip(both[:-1, 1], 0)  # both: (T, 2, B, K)
    return both[:, 0], ops.concatenate([right, end[None]])


def negative_log_likelihood(potentials: keras.KerasTensor, tags: keras.KerasTensor) -> keras.KerasTensor:
    """Return the negative log-likelihood (B,) of tag sequences (B, T), each padded with its last tag."""
    return cross_entropy(potentials, path_pairs(tags, potentials.shape[-1]))


def cross_entropy(potentials: keras.KerasTensor, actual: keras.KerasTensor) -> keras.KerasTensor:
    """Return the expected negative log-likelihood (B,) of sequences with these probabilities of pairs (B, T, K, K).

    The gradient is the expected minus the actual count of each tag pair. The same recursion yields it, so there is no
    backpropagation through the loop.
    """

    @ops.custom_gradient
    def compute(potentials: keras.KerasTensor) -> tuple[keras.KerasTensor, object]:
        pairs, right = _pairs(potentials)
        # Subtract per token, before the sum over tokens, so that only small numbers are added up.
        each = ops.logsumexp(pairs, axis=(2, 3)) - ops.sum(potentials * actual, axis=(2, 3))

        def gradient(*arguments: keras.KerasTensor, upstream: keras.KerasTensor | None = None) -> keras.KerasTensor:
            upstream = arguments[0] if upstream is None else upstream
            return upstream[:, None, None, None] * (_probabilities(pairs, right) - actual)

        return ops.sum(each, axis=1), gradient

    return compute(potentials)


def pair_probabilities(potentials: keras.KerasTensor) -> keras.KerasTensor:
    """Return the probability of each (previous tag, tag) pair (B, T, K, K); tag 0 precedes the first token."""
    return _probabilities(*_pairs(potentials))


def _pairs(potentials: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the log weights of pairs given the tokens up to them (B, T, K, K), and the backward messages (T, B, K)."""
    left, right = messages(potentials)
    before = ops.concatenate([_only_first(left[:1]), left[:-1]])
    return ops.transpose(before, (1, 0, 2))[..., None] + potentials, right


def _probabilities(pairs: keras.KerasTensor, right: keras.KerasTensor) -> keras.KerasTensor:
    joint = pairs + ops.transpose(right, (1, 0, 2))[:, :, None, :]
    return ops.exp(joint - ops.logsumexp(joint, axis=(2, 3), keepdims=True))


def path_pairs(tags: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """One-hot encode the (previous tag, tag) pairs of (B, T) as (B, T, K, K); tag 0 precedes the first token."""
    before = ops.concatenate([ops.zeros_like(tags[:, :1]), tags[:, :-1]], axis=1)
    shape = (*ops.shape(tags), count, count)
    return ops.reshape(ops.one_hot(before * count + tags, count * count), shape)


def best_path(potentials: keras.KerasTensor) -> keras.KerasTensor:
    """Return the tag sequence with the highest score (B, T), found by the Viterbi algorithm (Viterbi 1967)."""
    scores = ops.transpose(potentials, (1, 0, 2, 3))
    start = _only_first(scores[:1, :, 0])[0]

    def forward(best: keras.KerasTensor, scores: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        best = ops.max(best[..., None] + scores, axis=-2)
        return best, best

    def backward(tag: keras.KerasTensor, scores: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        column = ops.take_along_axis(scores, tag[:, None, None], axis=2)[:, :, 0]
        tag = ops.cast(ops.argmax(column, axis=-1), "int32")
        return tag, tag

    _, best = ops.scan(forward, start, scores)  # (T, B, K)
    last = ops.cast(ops.argmax(best[-1], axis=-1), "int32")
    before = ops.concatenate([start[None], best[:-1]])
    _, path = ops.scan(backward, last, before[..., None] + scores, reverse=True)  # the tag before each token
    return ops.transpose(ops.concatenate([path[1:], last[None]]))


def _only_first(like: keras.KerasTensor) -> keras.KerasTensor:
    """Return the message for a known tag 0, in the shape of `like` (..., K)."""
    return ops.zeros_like(like) + np.where(np.arange(like.shape[-1]) == 0, 0.0, FORBIDDEN).astype("float32")
