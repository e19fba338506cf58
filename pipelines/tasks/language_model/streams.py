"""Streams of generated text in the graph, token by token; those of most models in batches.

Shapes: B texts, P tokens of a prompt, T tokens, S stop texts.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pipelines.task import Tensors
from pipelines.tasks.language_model.writing import after, last_of, place_of
from pipelines.text.sampling import GenerativeModel, Reader, SamplingParams, choose, draw_all
from pipelines.text.tokenizers import END, PAD, SPECIAL, UNKNOWN, Tokenizer

MOST_LIKELY = 20  # tokens that a stream tells with their probabilities


class Stream:
    """Generate texts token by token.

    `start` reads the prompt of one text and how to continue it. Each step returns the text of one token of each text,
    and needs only the outputs of the previous calls, which the caller keeps: texts join a batch and leave it as rows.
    Only the steps of models that are `by_row` take several. The joined pieces equal the text that `write` samples.
    Text is held back while it may be the beginning of a stop text, or of a character that is not complete.
    """

    def __init__(self, model: GenerativeModel, tokenizer: Tokenizer):
        self.model, self.tokenizer, self.room = model, tokenizer, model.context or 1
        self.rows = None if model.by_row else 1
        self.empty = model.start(1, self.room)  # for the structure of a state

    @property
    def asked(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the sampling parameters, and of the stop texts (1, S)."""
        return self._asked(1)

    @property
    def defaults(self) -> dict[str, Any]:
        """Return the values of `asked` that the config sets."""
        wanted = self.model.decoding
        return {**{name: getattr(wanted, name) for name in SamplingParams._fields}, "stop": [wanted.stop]}

    @property
    def kept(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the values that one call passes to the next; tokens and stops may be padded."""
        one = {name: tf.TensorSpec([self.rows], tf.int32, name) for name in ("read", "sent")}
        state = {
            name: tf.TensorSpec([self.rows, *part.shape[1:]], part.dtype, name)
            for name, part in self._named(self.empty).items()
        }
        tokens = tf.TensorSpec([self.rows, None], tf.int32, "tokens")
        return {"tokens": tokens, **one, **self._asked(self.rows), **state}

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
        reader, tokens = Reader(self.model, 1, self.room), kept["tokens"]
        if self.model.by_row:
            return self._piece(kept, *reader.go_on_by_row(tokens, _lengths(tokens), state))
        return self._piece(kept, *reader.go_on(tokens, tf.shape(tokens)[1] - 1, state))

    def _piece(self, kept: Mapping[str, tf.Tensor], scores: tf.Tensor, state: Any) -> Tensors:
        tokens, read, asked = kept["tokens"], kept["read"], {name: kept[name] for name in self.asked}
        choice, lengths = SamplingParams(*(asked[name] for name in SamplingParams._fields)), _lengths(tokens)
        written = lengths - read  # tokens after the prompt
        places = tf.range(tf.reduce_max(lengths) + 1)
        prompts = tf.where(tf.range(tf.shape(tokens)[1]) < read[:, None], tokens, PAD)
        draws = draw_all(choice.seed, prompts, tf.reduce_max(written) + 1)
        token = choose(scores, choice, tf.gather(draws, written, batch_dims=1))
        # Padding that no text needs any more goes.
        tokens = tf.pad(tokens[:, : tf.reduce_max(lengths)], [[0, 0], [0, 1]])
        tokens = tf.where(places == lengths[:, None], token[:, None], tokens)
        # With the number of texts in the graph, because `substr` takes no offsets of 1 text with any number of lengths.
        whole = tf.ensure_shape(tf.reshape(self.tokenizer.decode(after(tokens, read)), [-1]), read.shape)
        text = _until_any(whole, asked["stop"])
        stopped = (token == END) | (text != whole)
        finished = stopped | (written + 1 >= choice.max_tokens)
        text = tf.where(finished, text, _settled(text, asked["stop"]))
        sent = tf.strings.length(text, unit="UTF8_CHAR")
        piece = tf.strings.substr(text, tf.minimum(kept["sent"], sent), sent, unit="UTF8_CHAR")
        state = {name: tf.ensure_shape(part, self.kept[name].shape) for name, part in self._named(state).items()}
        told = {"text": piece, "finished": finished, "stopped": stopped, **self._likely(scores, token)}
        return {**told, "tokens": tokens, "read": read, "sent": sent, **asked, **state}

    def _likely(self, scores: tf.Tensor, token: tf.Tensor) -> Tensors:
        """Return the tokens and the most probable ones at their places, with the logarithms of their probabilities."""
        names, logarithms = tf.constant(self.tokenizer.pieces), tf.nn.log_softmax(scores)
        most, ids = tf.math.top_k(logarithms, min(MOST_LIKELY, self.tokenizer.size))
        own = {"token": tf.gather(names, token), "log_probability": tf.gather(logarithms, token, batch_dims=1)}
        return {**own, "top_tokens": tf.gather(names, ids), "top_log_probabilities": most}

    def _asked(self, rows: int | None) -> dict[str, tf.TensorSpec]:
        kinds = {"max_tokens": tf.int32, "temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32}
        one = {name: tf.TensorSpec([rows], kind, name) for name, kind in {**kinds, "seed": tf.int32}.items()}
        return {**one, "stop": tf.TensorSpec([rows, None], tf.string, "stop")}

    def _named(self, state: Any) -> dict[str, tf.Tensor]:
        return {f"state_{at}": tf.convert_to_tensor(part) for at, part in enumerate(tf.nest.flatten(state))}


def _lengths(tokens: tf.Tensor) -> tf.Tensor:
    """Return the lengths (B,) of padded texts (B, T)."""
    return tf.reduce_sum(tf.cast(tokens != PAD, tf.int32), axis=1)


def _settled(texts: tf.Tensor, stops: tf.Tensor) -> tf.Tensor:
    """Remove the end of texts (B,) that later tokens may change: a start of a stop (B, S), or half a character."""
    whole = tf.strings.regex_replace(texts, f"{SPECIAL[UNKNOWN]}+$", "")
    longest = tf.maximum(1, tf.reduce_max(tf.strings.length(stops, unit="UTF8_CHAR"), axis=1))
    length = tf.strings.length(whole, unit="UTF8_CHAR") - longest + 1
    return tf.strings.substr(whole, tf.zeros_like(length), tf.maximum(0, length), unit="UTF8_CHAR")


def _until_any(texts: tf.Tensor, stops: tf.Tensor) -> tf.Tensor:
    """Cut texts (B,) before the first occurrence of any of their stops (B, S)."""
    count = tf.shape(stops)[1]
    places = tf.reshape(place_of(tf.repeat(texts, count), tf.reshape(stops, [-1])), tf.shape(stops))
    none = (stops == "") | (places < 0)
    first = tf.reduce_min(tf.where(none, places.dtype.max, places), axis=1)
    return tf.strings.substr(texts, tf.zeros_like(first), first)
