"""Continue sequences of tokens, in graph, over any model that can go on from a state; by sampling; `beams` searches.

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

State = Any  # any nest of tensors with the batch first
NEVER = -1e9  # a score that nothing chosen has
MOST_TOKENS, MOST_BEAMS, MOST_TEMPERATURE = 10_000, 100, 100.0  # that a config, or a client, may ask for
AT_ONCE = 32  # tokens that are written between two looks at the whole text


class GenerativeModel(keras.Model):
    """A model that scores the next token, and can go on from where it stopped."""

    context: int | None = None  # tokens that it can look back on; None: it carries a state, however long the text
    one_shape: bool = False  # its state has one shape, however long the text, so that XLA may compile its steps
    shared: Sequence[str] = ()  # keys of its state that tokens do not change, so that beams can share what they hold

    @abc.abstractmethod
    def start(self, given: Any, length: int) -> State:
        """Give the state before the first token, with room for `length` tokens.

        `given` is what the text depends on: model inputs, such as a sentence to translate, or where there are none the
        number of texts.
        """

    @abc.abstractmethod
    def step(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Score what follows each of the next tokens (B, n): (B, n, V), and the state after them."""


class SamplingParams(NamedTuple):
    """How each of B texts is continued; every field is (B,)."""

    max_tokens: tf.Tensor  # new tokens, at the most
    temperature: tf.Tensor  # scores are divided by it; 0: always the most probable token
    top_k: tf.Tensor  # only this many of the most probable tokens; 0: all
    top_p: tf.Tensor  # only the most probable tokens that have this probability together
    seed: tf.Tensor  # of the draws: a text's continuation does not depend on what is answered beside it


class Decoding(NamedTuple):
    """What a config's `decoding` section says: the defaults of a model's answers."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    beams: int
    stop: str


def decoding(
    *,
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS, description="new tokens, at the most")],
    temperature: Annotated[
        float,
        Field(
            ge=0,
            le=MOST_TEMPERATURE,
            description="below 1 the probable becomes more probable; 0: always the most probable",
        ),
    ],
    top_k: Annotated[int, Field(ge=0, description="draw among this many of the most probable tokens; 0: among all")],
    top_p: Annotated[
        float,
        Field(gt=0, le=1, description="draw among the most probable tokens that have this probability together"),
    ],
    seed: Annotated[int, Field(ge=0, description="of the draws")],
    beams: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_BEAMS,
            description="above 1: search for the most probable text, with so many beginnings followed at once, rather"
            " than draw one",
        ),
    ],
    stop: Annotated[str, Field(description="text at which an answer ends, itself left out; empty: none")],
) -> Decoding:
    """Say how texts are continued where a client does not."""
    return Decoding(max_tokens, temperature, top_k, top_p, seed, beams, stop)


def bounded(name: str, values: tf.Tensor, least: float, most: float) -> tf.Tensor:
    """Give what clients ask for; the graph stops where one of the values is below `least`, above `most`, or NaN."""
    possible = tf.reduce_all((values >= least) & (values <= most))
    with tf.control_dependencies([tf.debugging.Assert(possible, [f"{name} must be from {least} to {most}"])]):
        return tf.identity(values)


class Reader:
    """Feed a model tokens and keep its state; where its context is full, read the last half of it again.

    So the cost of a token does not grow with the length of the text, and no position is one that training never saw.
    """

    def __init__(self, model: GenerativeModel, given: Any, most: tf.Tensor):
        self.model, self.room = model, model.context or most
        self.behind = (model.context or 2) // 2  # tokens, the last ones, that going on may need
        self.state = model.start(given, self.room)

    def read(self, tokens: tf.Tensor) -> tuple[tf.Tensor, State]:
        """Read the first tokens (B, n), no more than there is room for; give the scores of the next one (B, V)."""
        scores, state = self.model.step(tokens, self.state)
        return scores[:, -1], state

    def go_on(self, tokens: tf.Tensor, at: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Read `tokens[:, at]`, all before it being read: scores of the next one (B, V), and the state."""
        one = lambda: self._step(tokens[:, at : at + 1], state)  # noqa: E731
        if self.model.context is None:
            return one()
        half = self.model.context // 2
        full = state["position"][0] >= self.model.context
        anew = partial(self.model.start, tf.shape(tokens)[0], self.room)
        again = lambda: self._step(tokens[:, at + 1 - half : at + 1], anew())  # noqa: E731
        return tf.cond(full, again, one)

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
    """Continue prompts (B, P) of given lengths (B,): tokens (B, T), prompt first and `PAD` last, and log-probabilities.

    A prompt that is shorter than another is continued while the others are still read. `ended(tokens, at)` (B,) says
    where a text is to end for another reason than `END` or its length; it is asked each time that `at_once` tokens,
    `AT_ONCE` at the most, are written.
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
    """What is known of the next tokens of each text."""

    tokens: tf.Tensor  # (B, AT_ONCE): those of prompts that are still read
    read: tf.Tensor  # (B,): how many of them there are
    left: tf.Tensor  # (B,): where the text has to end
    draws: tf.Tensor  # (B, AT_ONCE)


class Last(NamedTuple):
    """Where writing stands."""

    scores: tf.Tensor  # (B, V) of the next token
    state: State
    done: tf.Tensor  # (B,)


def _advance(reader: Reader) -> Callable[..., tuple]:
    """Make a function that writes the next tokens of each text; XLA compiles it for one text, where it may.

    Every shape in it is the same for each text, so that it is compiled once. A batch of another size would need
    a compilation of its own: those go without.
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
    compiled = tf.function(several, jit_compile=True)
    return lambda recent, *more: tf.cond(
        tf.shape(recent)[0] == 1, lambda: compiled(recent, *more), lambda: several(recent, *more)
    )


def any_batch(tensor: tf.Tensor) -> tf.TensorShape:
    """Leave the batch open, which branches that go on from a state and from none tell each other differently."""
    return tf.TensorShape([None, *tensor.shape[1:]] if tensor.shape.rank else [])


def choose(scores: tf.Tensor, choice: SamplingParams, draw: tf.Tensor) -> tf.Tensor:
    """Choose a token for each row of scores (B, V): the most probable, or as `draw` (B,) in [0, 1) falls.

    Top-k is from Fan et al. (2018), top-p from Holtzman et al. (2020).
    """
    scores = tf.where(tf.range(tf.shape(scores)[1]) < END, NEVER, scores)  # what is no text is no answer
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
    """Draw from [0, 1) for each row by its own seed and prompt: (B, count)."""
    texts = tf.strings.reduce_join(tf.where(prompts == PAD, "", tf.strings.as_string(prompts) + ","), axis=1)
    own = tf.cast(tf.strings.to_hash_bucket_fast(texts, (1 << 31) - 1), tf.int32)
    pairs = tf.stack([tf.cast(seeds, tf.int32), own], axis=1)
    return tf.map_fn(lambda pair: tf.random.stateless_uniform([count], pair), pairs, fn_output_signature=tf.float32)
