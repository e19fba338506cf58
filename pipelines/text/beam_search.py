"""In-graph beam search for any `GenerativeModel`; with one beam it is greedy search.

Shapes: B sequences, A sequences still active, K beams per sequence, T tokens, V token ids.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import tensorflow as tf
from pydantic import Field

from pipelines.text.sampling import MOST_BEAMS, MOST_TOKENS, NEVER, GenerativeModel, Reader, State
from pipelines.text.tokenizers import END

BLOCK = 32  # scores per block in `top_k`, which compares the blocks' maxima first


class BeamParams(NamedTuple):
    """The `decoding` section of a config whose task uses beam search."""

    beams: int
    length_penalty: float
    length_ratio: float
    extra_tokens: int

    def most_tokens(self, source: tf.Tensor) -> tf.Tensor:
        """Return the maximum output lengths (B,) for source lengths (B,), in tokens."""
        return tf.cast(self.length_ratio * tf.cast(source, tf.float32), tf.int32) + self.extra_tokens


def searching(
    *,
    beams: Annotated[int, Field(ge=1, le=MOST_BEAMS, description="number of beams; 1: greedy search")],
    length_penalty: Annotated[
        float,
        Field(
            ge=0,
            description="exponent of the length penalty: log-probabilities are divided by ((5 + tokens) / 6) to this"
            " power (Wu et al. 2016, section 7); 0: no penalty",
        ),
    ],
    length_ratio: Annotated[float, Field(ge=0, le=100, description="maximum output tokens per source token")],
    extra_tokens: Annotated[
        int, Field(ge=1, le=MOST_TOKENS, description="output tokens added to the maximum from length_ratio")
    ],
) -> BeamParams:
    """Set the beam search defaults for requests that do not set their own."""
    return BeamParams(beams, length_penalty, length_ratio, extra_tokens)


class Found(NamedTuple):
    """The finished sequences of each row, best first."""

    tokens: tf.Tensor  # (B, K, T): the prompt, then the continuation, padded with zeros
    scores: tf.Tensor  # (B, K): log-probabilities with the length penalty; `NEVER` in unused slots
    log_probabilities: tf.Tensor  # (B, K)


class Beams(NamedTuple):
    """The state of the search loop: the active rows and the results so far."""

    at: tf.Tensor  # (): position of the next token
    rows: tf.Tensor  # (A,): indices of the active sequences
    tokens: tf.Tensor  # (A, K, T)
    logarithms: tf.Tensor  # (A, K)
    origin: tf.Tensor  # (A, K): the beam that the last token extended
    state: State  # model state: (A K, ...), or (A, ...) for the parts that beams share
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
    """Find the most probable continuations of prompts (B, P) of lengths (B,), up to `max_tokens` (B,) new tokens.

    `given` is the input of the model's `start`. Each step keeps the K best beams of a row. A candidate finishes if it
    ends while it is among the K best of its step. A row is done when it has K finished sequences or reaches its
    maximum length. It then leaves the batch, so that only active rows cost time. Short prompts are continued while
    longer ones are still read.
    """
    stops = lengths + max_tokens
    least, total = tf.reduce_min(lengths), tf.reduce_max(stops)
    reader = Reader(model, given, total)
    scores, state = reader.read(prompts[:, :least])
    begun = _begin(model, state, prompts, least, total, beams)

    def choose(now: Beams, scores: tf.Tensor) -> Beams:
        """Choose the next token of each beam from scores (A K, V)."""
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
    """Return a shape with only the last dimension fixed, because batches shrink and caches grow."""
    rank = tensor.shape.rank
    return tf.TensorShape([*[None] * (rank - 1), tensor.shape[-1] if rank > 1 else None] if rank else [])


def _begin(model: GenerativeModel, state: State, prompts: tf.Tensor, at: Any, total: Any, beams: Any) -> Beams:
    """Start each row with one beam of probability 1; the other beams are placeholders with score `NEVER`."""
    batch, length = tf.unstack(tf.shape(prompts))
    tokens = tf.repeat(tf.pad(prompts, [[0, 0], [0, total - length]])[:, None], beams, axis=1)
    nothing = tf.fill([batch, beams], NEVER)
    logarithms = tf.where(tf.range(beams) == 0, 0.0, nothing)
    state = _map(model, state, own=lambda part: tf.repeat(part, beams, axis=0))
    found = Found(tf.zeros_like(tokens), nothing, nothing)
    return Beams(at, tf.range(batch), tokens, logarithms, tf.zeros([batch, beams], tf.int32), state, found)


def _candidates(scores: tf.Tensor, logarithms: tf.Tensor, beams: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the 2 K best next tokens of each row: log-probabilities, ids and source beams, (A, 2 K) each.

    `scores` is (A K, V). K tokens would not be enough, because K of the 2 K may be `END`. The special tokens before
    `END` are never chosen.
    """
    most = tf.minimum(2 * beams + END, tf.shape(scores)[1])
    best, ids = top_k(scores, most)
    best += tf.reshape(logarithms, [-1, 1]) - tf.reduce_logsumexp(scores, axis=1, keepdims=True)
    best = tf.where(ids < END, NEVER, best)
    best, place = tf.math.top_k(tf.reshape(best, [-1, beams * most]), 2 * beams)
    ids = tf.gather(tf.reshape(ids, [-1, beams * most]), place, batch_dims=1)
    return best, ids, place // most


def top_k(scores: tf.Tensor, count: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the `count` highest scores of each row (A, V) and their indices, like `tf.math.top_k`.

    They are in the `count` blocks with the highest maxima. Finding these blocks first takes a fraction of the time of
    `tf.math.top_k` over thousands of scores.
    """
    rows, width = tf.unstack(tf.shape(scores))
    blocks = tf.pad(scores, [[0, 0], [0, -width % BLOCK]], constant_values=scores.dtype.min)
    blocks = tf.reshape(blocks, [rows, -1, BLOCK])
    _, high = tf.math.top_k(tf.reduce_max(blocks, axis=2), tf.minimum(count, tf.shape(blocks)[1]))
    high = tf.sort(high)  # keeps ties in index order, like `tf.math.top_k`
    best, place = tf.math.top_k(tf.reshape(tf.gather(blocks, high, batch_dims=1), [rows, -1]), count)
    return best, tf.gather(high, place // BLOCK, batch_dims=1) * BLOCK + place % BLOCK


def _penalty(tokens: tf.Tensor, power: tf.Tensor | float) -> tf.Tensor:
    return ((5.0 + tokens) / 6.0) ** power


def _merge(
    found: Found, rows: tf.Tensor, tokens: tf.Tensor, scores: tf.Tensor, logarithms: tf.Tensor, beams: Any
) -> Found:
    """Merge the K best candidates of `rows`, if finished, into their results; keep the K best of each row."""
    new = Found(tokens[:, :beams], scores[:, :beams], logarithms[:, :beams])
    both = [tf.concat([tf.gather(old, rows), own], axis=1) for old, own in zip(found, new, strict=True)]
    _, place = tf.math.top_k(both[1], beams)
    best = [tf.gather(each, place, batch_dims=1) for each in both]
    return Found(*(tf.tensor_scatter_nd_update(old, rows[:, None], own) for old, own in zip(found, best, strict=True)))


def _survivors(
    now: Beams, given: tf.Tensor, tokens: tf.Tensor, logarithms: tf.Tensor, origin: tf.Tensor, beams: Any
) -> Beams:
    """Keep the K best candidates of each row; if the prompt gives the next token, keep the beams unchanged."""
    best, place = tf.math.top_k(logarithms, beams)
    tokens, origin = (tf.gather(each, place, batch_dims=1) for each in (tokens, origin))
    return now._replace(
        at=now.at + 1,
        tokens=tf.where(given[:, :, None], now.tokens, tokens),
        logarithms=tf.where(given, now.logarithms, best),
        origin=tf.where(given, tf.range(beams), origin),
    )


def _leave(model: GenerativeModel, now: Beams, left: tf.Tensor, beams: Any) -> Beams:
    """Keep only the rows `left`, and give each beam the model state of its origin."""
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
    """Apply `own` to the parts of a state that each beam has, and `shared` to those that beams share."""
    if not model.shared:
        return tf.nest.map_structure(own, state)
    return {name: tf.nest.map_structure(shared if name in model.shared else own, part) for name, part in state.items()}
