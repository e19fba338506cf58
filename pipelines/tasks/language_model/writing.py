"""Text generation in the graph: whole continuations, streams of tokens, and next-token probabilities.

Shapes: B texts, P tokens of a prompt, T tokens.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pipelines.task import Tensors
from pipelines.tasks.language_model.preprocessing import TextPreprocessor
from pipelines.text.beam_search import beam_search
from pipelines.text.sampling import (
    AT_ONCE,
    MOST_TOKENS,
    Decoding,
    GenerativeModel,
    Reader,
    SamplingParams,
    choose,
    continue_tokens,
    draw_all,
)
from pipelines.text.tokenizers import END, PAD, SPECIAL, UNKNOWN, Tokenizer

STOP_WITHIN = 32  # number of last tokens in which the stop text is searched
MOST_LIKELY = 20  # tokens that a stream tells with their probabilities


def write(
    model: GenerativeModel,
    preprocessor: TextPreprocessor,
    prompts: tf.Tensor,
    choice: SamplingParams,
    beams: tf.Tensor,
    stop: tf.Tensor,
) -> Tensors:
    """Continue padded prompts (B, P) up to the text `stop` (B,). The result excludes the prompt.

    Rows with `beams` (B,) above 1 use beam search. All others are sampled.
    """
    prompts, lengths = last_of(model, prompts)
    widths, groups = tf.unique(beams)

    def body(at: tf.Tensor, texts: tf.Tensor, logarithms: tf.Tensor) -> tuple:
        rows = tf.where(groups == at)[
            :, 0
        ]  # rows with the same number of beams, so that no answer depends on the rest of the batch
        given, until = tf.gather(prompts, rows), tf.gather(stop, rows)
        own, wanted = tf.gather(lengths, rows), SamplingParams(*(tf.gather(field, rows) for field in choice))
        text, logarithm = tf.cond(
            widths[at] > 1,
            lambda: _search(model, preprocessor.tokenizer, given, own, wanted.max_tokens, widths[at], until),
            lambda: _draw(model, preprocessor.tokenizer, given, own, wanted, until),
        )
        places = rows[:, None]
        texts = tf.tensor_scatter_nd_update(texts, places, text)
        return at + 1, texts, tf.tensor_scatter_nd_update(logarithms, places, logarithm)

    start = (0, tf.zeros_like(stop), tf.zeros(tf.shape(stop)))
    _, texts, logarithms = tf.while_loop(lambda at, *_: at < tf.size(widths), body, start, parallel_iterations=1)
    return {"completion": texts, "log_probability": logarithms}


def _draw(
    model: GenerativeModel,
    tokenizer: Tokenizer,
    prompts: tf.Tensor,
    lengths: tf.Tensor,
    choice: SamplingParams,
    stop: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    def ended(tokens: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
        first = tf.maximum(0, at + 1 - STOP_WITHIN)
        tail = tokenizer.decode(_after(tokens[:, first : at + 1], lengths - first))
        return (stop != "") & (_place(tail, stop) >= 0)

    at_once = tf.where(tf.reduce_any(stop != ""), 1, AT_ONCE)
    tokens, logarithm = continue_tokens(model, prompts, lengths, choice, ended, at_once)
    return _until(tokenizer.decode(_after(tokens, lengths)), stop), logarithm


def _search(
    model: GenerativeModel,
    tokenizer: Tokenizer,
    prompts: tf.Tensor,
    lengths: tf.Tensor,
    max_tokens: tf.Tensor,
    beams: tf.Tensor,
    stop: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    found = beam_search(model, tf.shape(prompts)[0], prompts, lengths, max_tokens, beams, 0.0)
    return _until(tokenizer.decode(_after(found.tokens[:, 0], lengths)), stop), found.log_probabilities[:, 0]


def next_tokens(
    model: GenerativeModel, preprocessor: TextPreprocessor, prompts: tf.Tensor, top_k: tf.Tensor
) -> Tensors:
    """Return the `top_k` (B,) most probable next tokens of prompts (B, P) and their probabilities, padded."""
    prompts, lengths = last_of(model, prompts)
    state = model.start(tf.shape(prompts)[0], tf.shape(prompts)[1])
    scores, _ = model.step(prompts, state)
    scores = tf.gather(scores, lengths - 1, batch_dims=1)
    most = tf.minimum(tf.reduce_max(top_k), preprocessor.tokenizer.size)
    probabilities, ids = tf.math.top_k(tf.nn.softmax(scores), most)
    wanted = tf.range(most) < top_k[:, None]
    names = tf.gather(tf.constant(preprocessor.tokenizer.pieces), ids)
    return {"next_tokens": tf.where(wanted, names, ""), "probabilities": tf.where(wanted, probabilities, 0.0)}


class Stream:
    """Generate one text token by token.

    `start` reads the prompt and how to continue it, and each call returns the text of one token. A step needs only the
    outputs of the previous call, which the client keeps. The joined pieces equal the text that `write` samples. Text is
    held back while it may be the beginning of a stop text, or of a character that is not complete.
    """

    def __init__(self, model: GenerativeModel, tokenizer: Tokenizer):
        self.model, self.tokenizer, self.room = model, tokenizer, model.context or 1
        self.empty = model.start(1, self.room)  # for the structure of a state

    @property
    def asked(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the sampling parameters, and of the stop texts (1, any number)."""
        kinds = {"max_tokens": tf.int32, "temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32}
        one = {name: tf.TensorSpec([1], kind, name) for name, kind in {**kinds, "seed": tf.int32}.items()}
        return {**one, "stop": tf.TensorSpec([1, None], tf.string, "stop")}

    @property
    def defaults(self) -> dict[str, Any]:
        """Return the values of `asked` that the config sets."""
        wanted = self.model.decoding
        return {**{name: getattr(wanted, name) for name in SamplingParams._fields}, "stop": [wanted.stop]}

    @property
    def kept(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the values that one call passes to the next."""
        one = {name: tf.TensorSpec([1], tf.int32, name) for name in ("read", "sent")}
        state = {name: tf.TensorSpec(part.shape, part.dtype, name) for name, part in self._named(self.empty).items()}
        return {"tokens": tf.TensorSpec([1, None], tf.int32, "tokens"), **one, **self.asked, **state}

    def start(self, prompts: tf.Tensor, asked: Mapping[str, tf.Tensor]) -> Tensors:
        """Read a prompt (1, P)."""
        tokens, lengths = last_of(self.model, prompts)
        # Splitting by a pattern loses the static batch size, which is 1.
        tokens, lengths = tf.ensure_shape(tokens, [1, None]), tf.ensure_shape(lengths, [1])
        scores, state = Reader(self.model, 1, self.room).read(tokens)
        return self._piece({"tokens": tokens, "read": lengths, "sent": tf.zeros_like(lengths), **asked}, scores, state)

    def step(self, kept: Mapping[str, tf.Tensor]) -> Tensors:
        """Continue after the previous call."""
        state = tf.nest.pack_sequence_as(self.empty, [kept[name] for name in self._named(self.empty)])
        reader, at = Reader(self.model, 1, self.room), tf.shape(kept["tokens"])[1] - 1
        return self._piece(kept, *reader.go_on(kept["tokens"], at, state))

    def _piece(self, kept: Mapping[str, tf.Tensor], scores: tf.Tensor, state: Any) -> Tensors:
        tokens, read, asked = kept["tokens"], kept["read"], {name: kept[name] for name in self.asked}
        choice, stops = SamplingParams(*(asked[name] for name in SamplingParams._fields)), asked["stop"][0]
        written = tf.shape(tokens)[1] - read[0]  # tokens after the prompt
        draws = draw_all(choice.seed, tokens[:, : read[0]], tf.minimum(choice.max_tokens[0], MOST_TOKENS))
        token = choose(scores, choice, draws[:, written])
        tokens = tf.concat([tokens, token[:, None]], axis=1)
        whole = tf.reshape(self.tokenizer.decode(_after(tokens, read)), [1])
        text = _until_any(whole, stops)
        stopped = (token == END) | (text != whole)
        finished = stopped | (written + 1 >= choice.max_tokens)
        text = tf.where(finished, text, _settled(text, stops))
        sent = tf.strings.length(text, unit="UTF8_CHAR")
        piece = tf.strings.substr(text, tf.minimum(kept["sent"], sent), sent, unit="UTF8_CHAR")
        state = {name: tf.reshape(part, self.kept[name].shape) for name, part in self._named(state).items()}
        told = {"text": piece, "finished": finished, "stopped": stopped, **self._likely(scores, token)}
        return {**told, "tokens": tokens, "read": read, "sent": sent, **asked, **state}

    def _likely(self, scores: tf.Tensor, token: tf.Tensor) -> Tensors:
        """Return a token and the most probable ones at its place, with the logarithms of their probabilities."""
        names, logarithms = tf.constant(self.tokenizer.pieces), tf.nn.log_softmax(scores)
        most, ids = tf.math.top_k(logarithms, min(MOST_LIKELY, self.tokenizer.size))
        own = {"token": tf.gather(names, token), "log_probability": tf.gather(logarithms, token, batch_dims=1)}
        return {**own, "top_tokens": tf.gather(names, ids), "top_log_probabilities": most}

    def _named(self, state: Any) -> dict[str, tf.Tensor]:
        return {f"state_{at}": tf.convert_to_tensor(part) for at, part in enumerate(tf.nest.flatten(state))}


def make_choice(wanted: Decoding, count: tf.Tensor | int) -> SamplingParams:
    """Return the sampling settings of the config for `count` texts."""
    return SamplingParams(*(tf.fill([count], getattr(wanted, name)) for name in SamplingParams._fields))


def last_of(model: GenerativeModel, prompts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Truncate prompts (B, P) to the context of the model, and return their lengths. Empty prompts become `END`."""
    lengths = tf.reduce_sum(tf.cast(prompts != PAD, tf.int32), axis=1)
    if model.context is not None:
        most = tf.minimum(lengths, model.context - 1)
        places = (lengths - most)[:, None] + tf.range(tf.reduce_max(most))
        prompts = tf.gather(prompts, tf.minimum(places, tf.shape(prompts)[1] - 1), batch_dims=1)
        prompts = tf.where(tf.range(tf.reduce_max(most)) < most[:, None], prompts, PAD)
        lengths = most
    prompts = tf.pad(prompts, [[0, 0], [0, tf.maximum(0, 1 - tf.shape(prompts)[1])]])
    first = tf.where((lengths == 0)[:, None] & (tf.range(tf.shape(prompts)[1]) == 0), END, prompts)
    return first, tf.maximum(lengths, 1)


def _settled(texts: tf.Tensor, stops: tf.Tensor) -> tf.Tensor:
    """Remove the end of texts (B,) that later tokens may change: a start of a stop, or an incomplete character."""
    whole = tf.strings.regex_replace(texts, f"{SPECIAL[UNKNOWN]}+$", "")
    longest = tf.maximum(1, tf.reduce_max(tf.strings.length(stops, unit="UTF8_CHAR")))
    length = tf.strings.length(whole, unit="UTF8_CHAR") - longest + 1
    return tf.strings.substr(whole, tf.zeros_like(length), tf.maximum(0, length), unit="UTF8_CHAR")


def _until_any(text: tf.Tensor, stops: tf.Tensor) -> tf.Tensor:
    """Cut a text (1,) before the first occurrence of any of several stops (S,)."""
    places = _place(tf.repeat(text, tf.size(stops)), stops)
    none = (stops == "") | (places < 0)
    first = tf.reduce_min(tf.where(none, places.dtype.max, places))
    return tf.strings.substr(text, [0], [first])


def _until(texts: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Cut texts (B,) before the first occurrence of `stop` (B,)."""
    place = tf.where(stop == "", -1, _place(texts, stop))
    return tf.where(place >= 0, tf.strings.substr(texts, tf.zeros_like(place), tf.maximum(place, 0)), texts)


def _after(tokens: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Replace the tokens (B, T) before a position in each row (B,) with padding."""
    return tf.where(tf.range(tf.shape(tokens)[1]) >= places[:, None], tokens, PAD)


def _place(texts: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Return the byte offset of each wanted text (B,) in its text (B,), or -1."""
    lengths, own = tf.strings.length(texts), tf.strings.length(wanted)
    places = tf.range(tf.maximum(0, tf.reduce_max(lengths)) + 1)
    starts = tf.minimum(places, lengths[:, None])
    found = tf.strings.substr(
        tf.broadcast_to(texts[:, None], tf.shape(starts)), starts, tf.broadcast_to(own[:, None], tf.shape(starts))
    )
    hit = found == wanted[:, None]
    return tf.where(tf.reduce_any(hit, axis=1), tf.argmax(hit, axis=1, output_type=tf.int32), -1)
