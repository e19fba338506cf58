"""In-graph text generation by sampling, for any `GenerativeModel`; `beam_search` has the beam search.

Shapes: B sequences, T tokens, V token ids.
"""

import abc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import keras
import tensorflow as tf
from pydantic import Field

from pipelines.text.tokenizers import END, PAD

State = Any  # any nested structure of tensors with the batch dimension first
NEVER = -1e9  # score of a token that must not be chosen
MOST_TOKENS, MOST_BEAMS, MOST_TEMPERATURE = 10_000, 100, 100.0  # upper limits for configs and clients
AT_ONCE = 32  # tokens generated between two checks of the whole text


class GenerativeModel(keras.Model):
    """A model that scores the next token and can continue from a saved state."""

    context: int | None = None  # context length in tokens; None: the state covers a text of any length
    one_shape: bool = False  # True if the state's shape does not depend on the text length, so XLA can compile steps
    shared: Sequence[str] = ()  # keys of the state that tokens do not change, so that beams can share them

    by_row: bool = False  # True if `step` takes `by_row=True`: then it reads one token of each text, of any lengths

    can_distill: bool = True  # False if the scores come in part from counts of the training text

    def output_scores(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the scores (..., V) of the next tokens from the model's outputs. Default: they are the outputs."""
        return outputs

    @abc.abstractmethod
    def start(self, given: Any, length: int) -> State:
        """Return the state before the first token, with room for `length` tokens.

        `given` holds the model inputs, such as sentences to translate. If there are none, it is the number of texts.
        """

    @abc.abstractmethod
    def step(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Read the next tokens (B, n); return the scores after each of them (B, n, V) and the new state."""


def traced_once(step: Callable) -> Callable:
    """Return a step that is traced once per kind of shapes, and called from every graph that needs it."""
    return tf.function(step, reduce_retracing=True, autograph=False)


class SamplingParams(NamedTuple):
    """Sampling parameters of B texts; every field is (B,)."""

    max_tokens: tf.Tensor  # maximum number of new tokens
    temperature: tf.Tensor  # divides the scores; 0: greedy
    top_k: tf.Tensor  # sample from this many of the most probable tokens; 0: all
    top_p: tf.Tensor  # sample from the most probable tokens whose probabilities sum to this
    seed: tf.Tensor  # per text, so that an output does not depend on the rest of the batch


class Decoding(NamedTuple):
    """The `decoding` section of a config: the generation defaults of a model."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    beams: int
    stop: str


def decoding(
    *,
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS, description="maximum number of new tokens")],
    temperature: Annotated[
        float,
        Field(
            ge=0,
            le=MOST_TEMPERATURE,
            description="sampling temperature: below 1 favors probable tokens; 0: greedy",
        ),
    ],
    top_k: Annotated[int, Field(ge=0, description="sample from this many of the most probable tokens; 0: all")],
    top_p: Annotated[
        float,
        Field(gt=0, le=1, description="sample from the most probable tokens whose probabilities sum to this"),
    ],
    seed: Annotated[int, Field(ge=0, description="random seed of the sampling")],
    beams: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_BEAMS,
            description="number of beams; above 1: find the most probable text by beam search instead of sampling",
        ),
    ],
    stop: Annotated[str, Field(description="stop string, not part of the output; empty: none")],
) -> Decoding:
    """Set the generation defaults for requests that do not set their own."""
    return Decoding(max_tokens, temperature, top_k, top_p, seed, beams, stop)


def bounded(name: str, values: tf.Tensor, least: float, most: float) -> tf.Tensor:
    """Return `values`; the graph raises an error if one is below `least`, above `most` or NaN."""
    possible = tf.reduce_all((values >= least) & (values <= most))
    with tf.control_dependencies([tf.debugging.Assert(possible, [f"{name} must be from {least} to {most}"])]):
        return tf.identity(values)


class Reader:
    """Feed tokens to a model and track its state; when the context is full, read its last half again.

    This way the cost of a token does not grow with the length of the text, and the model never sees a position that
    training did not have.
    """

    def __init__(self, model: GenerativeModel, given: Any, most: tf.Tensor):
        self.model, self.room = model, model.context or most
        self.behind = (model.context or 2) // 2  # number of last tokens that `go_on` may need
        self.state = model.start(given, self.room)

    def read(self, tokens: tf.Tensor) -> tuple[tf.Tensor, State]:
        """Read the first tokens (B, n), at most `room`; return the scores of the next token (B, V) and the state."""
        scores, state = self.model.step(tokens, self.state)
        return scores[:, -1], state

    def go_on(self, tokens: tf.Tensor, at: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Read `tokens[:, at]` after all tokens before it; return the scores of the next one (B, V) and the state."""
        one = lambda: self._step(tokens[:, at : at + 1], state)  # noqa: E731
        if self.model.context is None:
            return one()
        half = self.model.context // 2
        full = state["position"][0] >= self.model.context
        anew = partial(self.model.start, tf.shape(tokens)[0], self.room)
        again = lambda: self._step(tokens[:, at + 1 - half : at + 1], anew())  # noqa: E731
        return tf.cond(full, again, one)

    def go_on_by_row(self, tokens: tf.Tensor, lengths: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Read the last token of each text (B, T) of its own length (B,), as `go_on` does; for models `by_row`."""
        last = tf.gather(tokens, lengths[:, None] - 1, batch_dims=1)
        if self.model.context is None:
            scores, state = self.model.step(last, state, by_row=True)  # type: ignore[call-arg]  # for models `by_row`
            return scores[:, 0], state
        half, full = self.model.context // 2, state["position"] >= self.model.context
        state = {**state, "position": tf.minimum(state["position"], self.model.context - 1)}
        scores, state = self.model.step(last, state, by_row=True)  # type: ignore[call-arg]  # as above
        rows = tf.where(full)
        recent = tf.gather(
            tf.gather(tokens, rows[:, 0]), tf.gather(lengths, rows) - half + tf.range(half), batch_dims=1
        )

        def again() -> tuple[tf.Tensor, State]:
            anew = self._step(recent, self.model.start(tf.shape(rows)[0], self.room))
            put = partial(tf.tensor_scatter_nd_update, indices=rows)
            return tf.nest.map_structure(lambda old, new: put(old, updates=new), (scores[:, 0], state), anew)

        return tf.cond(tf.reduce_any(full), again, lambda: (scores[:, 0], state))

    def _step(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        scores, state = self.model.step(tokens, state)
        return scores[:, -1], state


def continue_tokens(
    model: GenerativeModel,
    prompts: tf.Tensor,
    lengths: tf.Tensor,
    choice: SamplingParams,
    ended: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    at_once: tf.Tensor | int = AT_ONCE,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Continue prompts (B, P) of lengths (B,); return tokens (B, T) and log-probabilities (B,).

    The tokens are the prompt, the continuation and `PAD`. Short prompts are continued while longer ones are still
    read. `ended(tokens, at)` returns (B,), true for texts that have to end for a reason other than `END` or length. It
    is called after every `at_once` tokens, which is at most `AT_ONCE`.
    """
    batch, stops = tf.shape(prompts)[0], lengths + choice.max_tokens
    total, least = tf.reduce_max(stops), tf.reduce_min(lengths)
    reader = Reader(model, batch, total)
    tokens = tf.pad(prompts, [[0, 0], [0, total - tf.shape(prompts)[1] + AT_ONCE]])
    draws = draw_all(choice.seed, prompts, total + AT_ONCE)
    advance = _advance(reader)

    def body(at, tokens, last, logarithm) -> tuple:
        places = tf.maximum(at + tf.range(AT_ONCE) - lengths[:, None], 0)
        recent = tf.pad(tokens, [[0, 0], [reader.behind, 0]])[:, at : at + reader.behind]
        given = Given(tokens[:, at : at + AT_ONCE], lengths - at, stops - at, tf.gather(draws, places, batch_dims=1))
        count, written, own, last = advance(recent, given, choice, last, at_once)
        tokens = tf.concat([tokens[:, :at], written, tokens[:, at + AT_ONCE :]], axis=1)
        if ended is not None:
            last = last._replace(done=last.done | (at >= lengths) & ended(tokens, at))
        return at + count, tokens, last, logarithm + own

    start = (least, tokens, Last(*reader.read(prompts[:, :least]), tf.zeros([batch], tf.bool)), tf.zeros([batch]))
    _, tokens, _, logarithm = tf.while_loop(
        lambda at, tokens, last, logarithm: ~tf.reduce_all(last.done),
        body,
        start,
        shape_invariants=tf.nest.map_structure(any_batch, start),
        parallel_iterations=1,
    )
    return tokens[:, :total], logarithm


class Given(NamedTuple):
    """Known inputs for the next `AT_ONCE` tokens of each text."""

    tokens: tf.Tensor  # (B, AT_ONCE): tokens of the prompts that are not read yet
    read: tf.Tensor  # (B,): number of these prompt tokens
    left: tf.Tensor  # (B,): number of tokens until the text has to end
    draws: tf.Tensor  # (B, AT_ONCE): random numbers in [0, 1)


class Last(NamedTuple):
    """The state of generation after the last token."""

    scores: tf.Tensor  # (B, V): scores of the next token
    state: State
    done: tf.Tensor  # (B,): True for finished texts


def _advance(reader: Reader) -> Callable[..., tuple]:
    """Return a function that generates the next tokens; for a batch of one text it is XLA-compiled if possible.

    With one text all shapes are constant, so that it is compiled once. Every other batch size would need its own
    compilation, so these run uncompiled.
    """

    def several(recent: tf.Tensor, given: Given, choice: SamplingParams, last: Last, most: tf.Tensor) -> tuple:
        def one(at, recent, written, own, last) -> tuple:
            chosen, reading = choose(last.scores, choice, given.draws[:, at]), at < given.read
            token = tf.where(reading, given.tokens[:, at], tf.where(last.done, PAD, chosen))
            logarithm = tf.gather(tf.nn.log_softmax(last.scores), token, batch_dims=1)
            own += tf.where(reading | last.done, 0.0, logarithm)
            done = last.done | ~reading & ((token == END) | (at + 1 >= given.left))
            written = tf.where(tf.range(AT_ONCE) == at, token[:, None], written)
            recent = tf.concat([recent[:, 1:], token[:, None]], axis=1)
            return at + 1, recent, written, own, Last(*reader.go_on(recent, reader.behind - 1, last.state), done)

        start = (tf.constant(0), recent, given.tokens, tf.zeros_like(last.scores[:, 0]), last)
        count, _, written, own, last = tf.while_loop(
            lambda at, recent, written, own, last: (at < most) & ~tf.reduce_all(last.done),
            one,
            start,
            shape_invariants=tf.nest.map_structure(any_batch, start),
            parallel_iterations=1,
        )
        return count, written, own, last

    if not reader.model.one_shape:
        return several
    compiled = tf.function(several, jit_compile=True, autograph=False)
    return lambda recent, *more: tf.cond(
        tf.shape(recent)[0] == 1, lambda: compiled(recent, *more), lambda: several(recent, *more)
    )


def any_batch(tensor: tf.Tensor) -> tf.TensorShape:
    """Return the shape of a tensor with the batch dimension open.

    The branches that continue from a state and from a new one infer different static batch sizes.
    """
    return tf.TensorShape([None, *tensor.shape[1:]] if tensor.shape.rank else [])


def choose(scores: tf.Tensor, choice: SamplingParams, draw: tf.Tensor) -> tf.Tensor:
    """Choose a token for each row of scores (B, V), greedily or with random numbers `draw` (B,) in [0, 1).

    Top-k is from Fan et al. (2018), top-p from Holtzman et al. (2020).
    """
    scores = tf.where(tf.range(tf.shape(scores)[1]) < END, NEVER, scores)  # `END` is the only special token allowed
    heated = scores / tf.maximum(choice.temperature, 1e-6)[:, None]
    logits, order = tf.math.top_k(heated, k=tf.shape(scores)[1])
    probabilities = tf.nn.softmax(logits)
    before = tf.cumsum(probabilities, axis=1, exclusive=True)
    rank = tf.range(tf.shape(scores)[1])
    most = tf.where(choice.top_k > 0, choice.top_k, tf.shape(scores)[1])
    kept = (before < choice.top_p[:, None]) & (rank < most[:, None])
    kept &= (rank == 0) | (choice.temperature > 0)[:, None]
    cumulated = tf.cumsum(tf.where(kept, probabilities, 0.0), axis=1)
    place = tf.reduce_sum(tf.cast(cumulated <= draw[:, None] * cumulated[:, -1:], tf.int32), axis=1)
    return tf.gather(order, place, batch_dims=1)


def draw_all(seeds: tf.Tensor, prompts: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Return uniform random numbers in [0, 1) (B, count); each row depends only on its seed and prompt."""
    texts = tf.strings.reduce_join(tf.where(prompts == PAD, "", tf.strings.as_string(prompts) + ","), axis=1)
    own = tf.cast(tf.strings.to_hash_bucket_fast(texts, (1 << 31) - 1), tf.int32)
    pairs = tf.stack([tf.cast(seeds, tf.int32), own], axis=1)
    return tf.map_fn(lambda pair: tf.random.stateless_uniform([count], pair), pairs, fn_output_signature=tf.float32)
