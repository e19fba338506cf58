"""Text generation in the graph: whole continuations and next-token probabilities.

Shapes: B texts, P tokens of a prompt, T tokens.
"""

import tensorflow as tf

from pipelines.task import Tensors
from pipelines.tasks.language_model.preprocessing import TextPreprocessor
from pipelines.text.beam_search import beam_search
from pipelines.text.sampling import (
    AT_ONCE,
    Decoding,
    GenerativeModel,
    SamplingParams,
    continue_tokens,
)
from pipelines.text.tokenizers import END, PAD, Tokenizer

STOP_WITHIN = 32  # number of last tokens in which the stop text is searched


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
        tail = tokenizer.decode(after(tokens[:, first : at + 1], lengths - first))
        return (stop != "") & (place_of(tail, stop) >= 0)

    at_once = tf.where(tf.reduce_any(stop != ""), 1, AT_ONCE)
    tokens, logarithm = continue_tokens(model, prompts, lengths, choice, ended, at_once)
    return _until(tokenizer.decode(after(tokens, lengths)), stop), logarithm


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
    return _until(tokenizer.decode(after(found.tokens[:, 0], lengths)), stop), found.log_probabilities[:, 0]


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


def _until(texts: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Cut texts (B,) before the first occurrence of `stop` (B,)."""
    place = tf.where(stop == "", -1, place_of(texts, stop))
    return tf.where(place >= 0, tf.strings.substr(texts, tf.zeros_like(place), tf.maximum(place, 0)), texts)


def after(tokens: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Replace the tokens (B, T) before a position in each row (B,) with padding."""
    return tf.where(tf.range(tf.shape(tokens)[1]) >= places[:, None], tokens, PAD)


def place_of(texts: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Return the byte offset of each wanted text (B,) in its text (B,), or -1."""
    lengths, own = tf.strings.length(texts), tf.strings.length(wanted)
    places = tf.range(tf.maximum(0, tf.reduce_max(lengths)) + 1)
    starts = tf.minimum(places, lengths[:, None])
    found = tf.strings.substr(
        tf.broadcast_to(texts[:, None], tf.shape(starts)), starts, tf.broadcast_to(own[:, None], tf.shape(starts))
    )
    hit = found == wanted[:, None]
    return tf.where(tf.reduce_any(hit, axis=1), tf.argmax(hit, axis=1, output_type=tf.int32), -1)
