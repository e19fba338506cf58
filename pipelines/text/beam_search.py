"""Beam search, in graph, over any model that can go on from a state; with one beam it is greedy search.

Shapes: B sequences, A of them still searched, K beams of each, T tokens, V token ids.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import tensorflow as tf
from pydantic import Field

from pipelines.text.sampling import MOST_BEAMS, MOST_TOKENS, NEVER, GenerativeModel, Reader, State
from pipelines.text.tokenizers import END

BLOCK = 32  # scores among which only the highest is looked at first


class BeamParams(NamedTuple):
    """What a config's `decoding` section says where answers are searched for."""

    beams: int
    length_penalty: float
    length_ratio: float
    extra_tokens: int

    def most_tokens(self, source: tf.Tensor) -> tf.Tensor:
        """Give how long answers to sources of given lengths (B,) may become."""
        return tf.cast(self.length_ratio * tf.cast(source, tf.float32), tf.int32) + self.extra_tokens


def searching(
    *,
    beams: Annotated[
        int, Field(ge=1, le=MOST_BEAMS, description="how many beginnings are followed at once; 1: greedy")
    ],
    length_penalty: Annotated[
        float,
        Field(
            ge=0,
            description="log-probabilities are divided by ((5 + tokens) / 6) to this power (Wu et al. 2016, section 7);"
            " 0: not",
        ),
    ],
    length_ratio: Annotated[
        float, Field(ge=0, le=100, description="tokens of an answer at the most, for each of the source")
    ],
    extra_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS, description="and this many more")],
) -> BeamParams:
    """Say how answers are searched for where a client does not."""
    return BeamParams(beams, length_penalty, length_ratio, extra_tokens)


class Found(NamedTuple):
    """The ended sequences of each row, the best first."""

    tokens: tf.Tensor  # (B, K, T): the prompt first, zeros last
    scores: tf.Tensor  # (B, K): log-probabilities with the length penalty; `NEVER` where there are fewer than K
    log_probabilities: tf.Tensor  # (B, K)


class Beams(NamedTuple):
    """What is still searched."""

    at: tf.Tensor  # (): the next token's place
    rows: tf.Tensor  # (A,): which sequences
    tokens: tf.Tensor  # (A, K, T)
    logarithms: tf.Tensor  # (A, K)
    origin: tf.Tensor  # (A, K): the beam that the last token was put behind
    state: State  # after the last token, (A K, ...), but for what beams share, (A, ...)
    found: Found


def beam_search(
    model: GenerativeModel,
    given: Any,
    prompts: tf.Tensor,
    lengths: tf.Tensor,
    max_tokens: tf.Tensor,
    beams: tf.Tensor | int,
    length_penalty: tf.Tensor | float,
) -> Found:
    """Find the most probable continuations of prompts (B, P) of given lengths (B,), of `max_tokens` (B,) at the most.

    `given` is what the model starts from. At each token the K best beginnings of a row go on. The row ends once K of
    its continuations have ended, each among the K best of its time, or at its length; it then leaves the batch, so
    that only what is still searched costs time. A prompt that is shorter than another is continued while the others
    are still read.
    """
    stops = lengths + max_tokens
    least, total = tf.reduce_min(lengths), tf.reduce_max(stops)
    reader = Reader(model, given, total)
    scores, state = reader.read(prompts[:, :least])
    begun = _begin(model, state, prompts, least, total, beams)

    def choose(now: Beams, scores: tf.Tensor) -> Beams:
        """Choose the next token of each beam by its scores (A K, V)."""
        read = tf.gather(lengths, now.rows)
        given, last = (now.at < read)[:, None], (now.at + 1 >= tf.gather(stops, now.rows))[:, None]
        best, ids, origin = _candidates(scores, now.logarithms, beams)
        tokens = tf.gather(now.tokens, origin, batch_dims=1)
        tokens = tf.where(tf.range(total) == now.at, ids[:, :, None], tokens)
        penalty = _penalty(tf.cast(now.at + 1 - read, tf.float32), length_penalty)[:, None]
        ended = tf.where(~given & ((ids == END) | last) & (best > NEVER / 2), best / penalty, NEVER)
        found = _merge(now.found, now.rows, tokens, ended, best, beams)
        kept = _survivors(now, given, tokens, tf.where(ids == END, NEVER, best), origin, beams)
        full = tf.reduce_all(tf.gather(found.scores, now.rows) > NEVER, axis=1)
        return _leave(model, kept._replace(found=found), tf.where(~(full | last[:, 0]))[:, 0], beams)

    def go_on(now: Beams) -> tuple[Beams]:
        scores, state = reader.go_on(tf.reshape(now.tokens, [-1, total]), now.at - 1, now.state)
        return (choose(now._replace(state=state), scores),)

    first = choose(begun, tf.repeat(scores, beams, axis=0))
    (end,) = tf.while_loop(
        lambda now: tf.size(now.rows) > 0,
        go_on,
        (first,),
        shape_invariants=(tf.nest.map_structure(_open, first),),
        parallel_iterations=1,
    )
    return end.found


def _open(tensor: tf.Tensor) -> tf.TensorShape:
    """Leave all of a shape open but the width: batches become smaller, caches longer."""
    rank = tensor.shape.rank
    return tf.TensorShape([*[None] * (rank - 1), tensor.shape[-1] if rank > 1 else None] if rank else [])


def _begin(model: GenerativeModel, state: State, prompts: tf.Tensor, at: Any, total: Any, beams: Any) -> Beams:
    """Give each row one beam that counts, and others for what comes after it."""
    batch, length = tf.unstack(tf.shape(prompts))
    tokens = tf.repeat(tf.pad(prompts, [[0, 0], [0, total - length]])[:, None], beams, axis=1)
    nothing = tf.fill([batch, beams], NEVER)
    logarithms = tf.where(tf.range(beams) == 0, 0.0, nothing)
    state = _map(model, state, own=lambda part: tf.repeat(part, beams, axis=0))
    found = Found(tf.zeros_like(tokens), nothing, nothing)
    return Beams(at, tf.range(batch), tokens, logarithms, tf.zeros([batch, beams], tf.int32), state, found)


def _candidates(scores: tf.Tensor, logarithms: tf.Tensor, beams: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Give the 2 K best next tokens of each row, from scores (A K, V): log-probabilities, ids, beams (A, 2 K).

    So many, because K of them may be `END`. What is no text is no answer.
    """
    most = tf.minimum(2 * beams + END, tf.shape(scores)[1])
    best, ids = top_k(scores, most)
    best += tf.reshape(logarithms, [-1, 1]) - tf.reduce_logsumexp(scores, axis=1, keepdims=True)
    best = tf.where(ids < END, NEVER, best)
    best, place = tf.math.top_k(tf.reshape(best, [-1, beams * most]), 2 * beams)
    ids = tf.gather(tf.reshape(ids, [-1, beams * most]), place, batch_dims=1)
    return best, ids, place // most


def top_k(scores: tf.Tensor, count: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the `count` highest scores (A, V) of each row and their places, as `tf.math.top_k` does.

    They lie in the `count` blocks whose highest scores are highest. To find those takes a fraction of the time that
    `tf.math.top_k` takes over thousands of scores.
    """
    rows, width = tf.unstack(tf.shape(scores))
    blocks = tf.pad(scores, [[0, 0], [0, -width % BLOCK]], constant_values=scores.dtype.min)
    blocks = tf.reshape(blocks, [rows, -1, BLOCK])
    _, high = tf.math.top_k(tf.reduce_max(blocks, axis=2), tf.minimum(count, tf.shape(blocks)[1]))
    high = tf.sort(high)  # so that of equal scores the first come first
    best, place = tf.math.top_k(tf.reshape(tf.gather(blocks, high, batch_dims=1), [rows, -1]), count)
    return best, tf.gather(high, place // BLOCK, batch_dims=1) * BLOCK + place % BLOCK


def _penalty(tokens: tf.Tensor, power: tf.Tensor | float) -> tf.Tensor:
    return ((5.0 + tokens) / 6.0) ** power


def _merge(
    found: Found, rows: tf.Tensor, tokens: tf.Tensor, scores: tf.Tensor, logarithms: tf.Tensor, beams: Any
) -> Found:
    """Keep the K best of what some rows have found and of their K best candidates, where those have ended."""
    new = Found(tokens[:, :beams], scores[:, :beams], logarithms[:, :beams])
    both = [tf.concat([tf.gather(old, rows), own], axis=1) for old, own in zip(found, new, strict=True)]
    _, place = tf.math.top_k(both[1], beams)
    best = [tf.gather(each, place, batch_dims=1) for each in both]
    return Found(*(tf.tensor_scatter_nd_update(old, rows[:, None], own) for old, own in zip(found, best, strict=True)))


def _survivors(
    now: Beams, given: tf.Tensor, tokens: tf.Tensor, logarithms: tf.Tensor, origin: tf.Tensor, beams: Any
) -> Beams:
    """Let the K best of the candidates go on; where the next token is given, all beams as they are."""
    best, place = tf.math.top_k(logarithms, beams)
    tokens, origin = (tf.gather(each, place, batch_dims=1) for each in (tokens, origin))
    return now._replace(
        at=now.at + 1,
        tokens=tf.where(given[:, :, None], now.tokens, tokens),
        logarithms=tf.where(given, now.logarithms, best),
        origin=tf.where(given, tf.range(beams), origin),
    )


def _leave(model: GenerativeModel, now: Beams, left: tf.Tensor, beams: Any) -> Beams:
    """Go on with some of the rows, the state of each beam being that of its origin."""
    rows, tokens, logarithms, origin = (
        tf.gather(each, left) for each in (now.rows, now.tokens, now.logarithms, now.origin)
    )
    places = tf.reshape(tf.cast(left, tf.int32)[:, None] * beams + origin, [-1])
    fewer = tf.size(left) < tf.size(now.rows)
    state = _map(
        model,
        now.state,
        own=lambda part: tf.gather(part, places),
        shared=lambda part: tf.cond(fewer, lambda: tf.gather(part, left), lambda: part),
    )
    return Beams(now.at, rows, tokens, logarithms, origin, state, now.found)


def _map(model: GenerativeModel, state: State, own: Callable, shared: Callable = lambda part: part) -> State:
    """Apply one function to what each beam has of a state, another to what beams share."""
    if not model.shared:
        return tf.nest.map_structure(own, state)
    return {name: tf.nest.map_structure(shared if name in model.shared else own, part) for name, part in state.items()}
