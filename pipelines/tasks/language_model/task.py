"""The language-model task: what the line needs to know of it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.batches import padded
from pipelines.data.files import read_lines
from pipelines.decoding import Choice, GenerativeModel, continue_tokens, decoding
from pipelines.task import Endpoint, Preprocessor, Task, Tensors
from pipelines.tasks.language_model import sources
from pipelines.tasks.language_model.batches import random_windows
from pipelines.tasks.language_model.models import MODELS
from pipelines.tasks.language_model.pictures import draw_pictures
from pipelines.tasks.language_model.preprocessing import TextPreprocessor
from pipelines.tasks.language_model.sources import TEXT
from pipelines.tasks.language_model.streams import streams
from pipelines.tokenizers import END, PAD

MEASURED = 256  # stretches of a split, evenly spread: about a million characters
SHOWN = 5  # most probable next tokens
PROMPT_WORDS = 8  # of an example, for the prompts that `run` shows
TYPICAL = {"max_tokens": 32, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "seed": 1, "stop": "\n\n"}
STOP_WITHIN = 32  # last tokens among which a text to stop at is looked for


def cross_entropy() -> keras.Loss:
    """Take minus the log-probability of each token, averaged."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class LanguageModelTask(Task):
    """Say what comes next in a text."""

    sources = {"embedded": sources.embedded, "files": sources.files, "tfds": sources.tfds}
    preprocessor = TextPreprocessor
    models = MODELS
    losses = {"cross_entropy": cross_entropy}
    metrics = {
        "loss": "min",  # nats a token
        "bits_per_character": "min",
        "perplexity": "min",
        "word_perplexity": "min",
        "top_1_accuracy": "max",
        "top_5_accuracy": "max",
    }
    batches = staticmethod(random_windows)
    decoding = staticmethod(decoding)
    limits = (
        "- It says what is probable after the texts that it learnt from, not what is true.\n"
        "- It repeats what these texts hold, their errors and their prejudices included, and at times word for word.\n"
        "- It was measured on the end of the same text: expect worse on texts of another kind, time or language.\n"
        "- Only as many tokens as its context holds are looked back on."
    )

    def measured(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Take stretches evenly spread over a long split."""
        return examples.iloc[:: -(-len(examples) // MEASURED)].reset_index(drop=True)

    def measure(
        self, model: keras.Model, preprocessor: Preprocessor, inputs: Tensors, labels: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors]:
        """Score texts window by window: a model that carries a state carries it from one to the next."""
        answers = _score(model, preprocessor, inputs["tokens"], labels, weights)
        return tf.reduce_sum(answers["nats"]) / tf.reduce_sum(answers["tokens"]), answers

    def respond(self, model: keras.Model, preprocessor: Preprocessor, raw: Tensors) -> Tensors:
        """Score texts: sums over the tokens of each."""
        inputs, labels, weights = padded(preprocessor.example(raw, training=False))
        return self.measure(model, preprocessor, inputs, labels, weights)[1]

    def answer(
        self, model: keras.Model, preprocessor: Preprocessor, inputs: Tensors, outputs: tf.Tensor | None = None
    ) -> Tensors:
        """Continue texts as the config says, and give the most probable next tokens with their probabilities."""
        wanted, count = model.decoding, tf.shape(inputs["tokens"])[:1]
        choice = Choice(
            tf.fill(count, wanted.max_tokens),
            tf.fill(count, wanted.temperature),
            tf.fill(count, wanted.top_k),
            tf.fill(count, wanted.top_p),
            tf.fill(count, wanted.seed),
        )
        written = write(model, preprocessor, inputs["tokens"], choice, tf.fill(count, wanted.stop))
        following = next_tokens(model, preprocessor, inputs["tokens"], tf.fill(count, SHOWN))
        return {"completion": written["completion"], **following}

    def endpoints(self, model: keras.Model, preprocessor: Preprocessor) -> dict[str, Endpoint]:
        """Continue prompts as the config says, or as the client does; give next tokens; score texts; stream them."""

        def tokens(raw: Tensors) -> tf.Tensor:
            return padded(preprocessor.tokenizer.encode(raw["prompt"]))

        def generate(raw: Tensors) -> Tensors:
            choice = Choice(**{name: raw[name] for name in Choice._fields})
            return write(model, preprocessor, tokens(raw), choice, raw["stop"])

        def spec(**kinds: tf.DType) -> dict[str, tf.TensorSpec]:
            return {name: tf.TensorSpec([None], kind, name=name) for name, kind in kinds.items()}

        prompt = {"prompt": tf.string}
        whole = {"max_tokens": tf.int32, "temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32}
        return {
            "serve": Endpoint(lambda raw: self.answer(model, preprocessor, {"tokens": tokens(raw)}), spec(**prompt)),
            "generate": Endpoint(generate, spec(**prompt, **whole, seed=tf.int32, stop=tf.string), TYPICAL),
            "next_token": Endpoint(
                lambda raw: next_tokens(model, preprocessor, tokens(raw), raw["top_k"]),
                spec(**prompt, top_k=tf.int32),
                {"top_k": SHOWN},
            ),
            "score": Endpoint(partial(self.respond, model, preprocessor), preprocessor.signature),
            **streams(model, preprocessor, lambda texts: _last_of(model, tokens({"prompt": texts}))),
        }

    def readable(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Name each next token's probability."""
        pairs = zip(answer["next_tokens"], answer["probabilities"], strict=True)
        return {"completion": answer["completion"], "next_tokens": {token: round(share, 4) for token, share in pairs}}

    def score(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compute the loss in nats a token, bits a character, perplexities and accuracies."""
        total = {name: float(np.sum(values, dtype=np.float64)) for name, values in answers.items()}
        words = sum(len(str(text).split()) for text in examples[TEXT])
        tokens = max(total["tokens"], 1)
        with np.errstate(over="ignore"):
            return {
                "loss": total["nats"] / tokens,
                "bits_per_character": total["nats"] / np.log(2) / max(total["characters"], 1),
                "perplexity": float(np.exp(total["nats"] / tokens)),
                "word_perplexity": float(np.exp(min(total["nats"] / max(words, 1), 700))),
                "top_1_accuracy": total["top_1"] / tokens,
                "top_5_accuracy": total["top_5"] / tokens,
            }

    def pictures(
        self,
        model: keras.Model,
        preprocessor: Preprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, Figure | str]:
        """Draw the loss beside that of counts, the embeddings, and what the model writes."""
        return draw_pictures(model, preprocessor, examples, answers)

    def raw_inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Take the first words of examples for prompts."""
        return pd.DataFrame({"prompt": [" ".join(str(text).split(" ")[:PROMPT_WORDS]) for text in examples[TEXT]]})

    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read prompts: each input is one, and each line of a file that is not empty."""
        return pd.DataFrame({"prompt": [*inputs, *(read_lines(file) if file is not None else [])]})


TASK = LanguageModelTask()


def write(
    model: GenerativeModel, preprocessor: TextPreprocessor, prompts: tf.Tensor, choice: Choice, stop: tf.Tensor
) -> Tensors:
    """Continue prompts (B, P), padded: what follows each, without the prompt, up to the text `stop` (B,)."""
    prompts, lengths = _last_of(model, prompts)
    decode = preprocessor.tokenizer.decode

    def ended(tokens: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
        tail = decode(_after(tokens, tf.maximum(lengths, at + 1 - STOP_WITHIN))[:, : at + 1])
        return tf.logical_and(stop != "", _place(tail, stop) >= 0)

    tokens, logarithm = continue_tokens(model, prompts, lengths, choice, ended)
    text = decode(_after(tokens, lengths))
    place = tf.where(stop == "", -1, _place(text, stop))
    text = tf.where(place >= 0, tf.strings.substr(text, tf.zeros_like(place), tf.maximum(place, 0)), text)
    return {"completion": text, "log_probability": logarithm}


def next_tokens(
    model: GenerativeModel, preprocessor: TextPreprocessor, prompts: tf.Tensor, top_k: tf.Tensor
) -> Tensors:
    """Give the `top_k` (B,) most probable next tokens of prompts (B, P), with probabilities, filled up with nothing."""
    prompts, lengths = _last_of(model, prompts)
    state = model.start(tf.shape(prompts)[0], tf.shape(prompts)[1])
    scores, _ = model.step(prompts, state)
    scores = tf.gather(scores, lengths - 1, batch_dims=1)
    most = tf.minimum(tf.reduce_max(top_k), preprocessor.tokenizer.size)
    probabilities, ids = tf.math.top_k(tf.nn.softmax(scores), most)
    wanted = tf.range(most) < top_k[:, None]
    names = tf.gather(tf.constant(preprocessor.tokenizer.pieces), ids)
    return {"next_tokens": tf.where(wanted, names, ""), "probabilities": tf.where(wanted, probabilities, 0.0)}


def _score(
    model: GenerativeModel, preprocessor: TextPreprocessor, tokens: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
) -> Tensors:
    """Sum up over each text (B, T): nats, tokens, characters, and how often the label was among the first."""
    window, (batch, steps) = preprocessor.context, tf.unstack(tf.shape(tokens))
    parts = -(-steps // window)
    gap = [[0, 0], [0, parts * window - steps]]
    tokens, labels, weights = (tf.pad(each, gap) for each in (tokens, labels, weights))
    characters = tf.gather(tf.constant(preprocessor.tokenizer.characters), labels) * weights
    start = model.start(batch, window)

    def body(at, state, sums) -> tuple:
        span = slice(at * window, (at + 1) * window)
        scores, state = model.step(tokens[:, span], state if model.context is None else start)
        own, real = labels[:, span], weights[:, span]
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(own, scores)
        label = tf.gather(scores, own, batch_dims=2)
        rank = tf.reduce_sum(tf.cast(scores > label[:, :, None], tf.int32), axis=2)
        each = (nats, tf.ones_like(nats), tf.cast(rank < 1, tf.float32), tf.cast(rank < 5, tf.float32))
        return at + 1, state, sums + tf.stack([tf.reduce_sum(values * real, axis=1) for values in each])

    zeros = tf.zeros([4, batch])
    _, _, sums = tf.while_loop(lambda at, state, sums: at < parts, body, (0, start, zeros), parallel_iterations=1)
    names = ("nats", "tokens", "top_1", "top_5")
    return {**dict(zip(names, tf.unstack(sums), strict=True)), "characters": tf.reduce_sum(characters, axis=1)}


def _last_of(model: GenerativeModel, prompts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut prompts (B, P) to what a model can look back on, and give their lengths; an empty one becomes `END`."""
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


def _after(tokens: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Blank the tokens (B, T) before a place in each row (B,)."""
    return tf.where(tf.range(tf.shape(tokens)[1]) >= places[:, None], tokens, PAD)


def _place(texts: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Find each wanted text (B,) in its text (B,): the byte where it begins, or -1."""
    lengths, own = tf.strings.length(texts), tf.strings.length(wanted)
    places = tf.range(tf.reduce_max(lengths) + 1)
    starts = tf.minimum(places, lengths[:, None])
    found = tf.strings.substr(
        tf.broadcast_to(texts[:, None], tf.shape(starts)), starts, tf.broadcast_to(own[:, None], tf.shape(starts))
    )
    hit = found == wanted[:, None]
    return tf.where(tf.reduce_any(hit, axis=1), tf.argmax(hit, axis=1, output_type=tf.int32), -1)
