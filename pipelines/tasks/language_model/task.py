"""The language model's implementation of the `Task` interface."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.data.batches import padded
from pipelines.data.fields import Fields
from pipelines.data.files import read_texts
from pipelines.data.pairs.languages import parts_words
from pipelines.errors import UserError
from pipelines.task import Endpoint, Task, Tensors, evenly_spaced, ratio_of
from pipelines.tasks.language_model import sources
from pipelines.tasks.language_model.batches import random_windows
from pipelines.tasks.language_model.models import MODELS
from pipelines.tasks.language_model.pictures import draw_pictures
from pipelines.tasks.language_model.preprocessing import TextPreprocessor
from pipelines.tasks.language_model.sources import DOCUMENT, TEXT
from pipelines.tasks.language_model.streams import Stream
from pipelines.tasks.language_model.writing import make_choice, next_tokens, write
from pipelines.text.sampling import (
    MOST_BEAMS,
    MOST_TEMPERATURE,
    MOST_TOKENS,
    GenerativeModel,
    SamplingParams,
    bounded,
    decoding,
)
from pipelines.text.tokenizers import check_same_tokens

MEASURED = 256  # stretches of a split that are evaluated, evenly spaced: about a million characters
COUNTED = 5_000_000  # tokens of train used for the baseline, evenly spaced
BEGINNING = 80  # characters at the start of a stretch that identify it
SHOWN = 5  # number of most probable next tokens
PROMPT_WORDS = 8  # words of an example that form a prompt for `run`
SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "seed": 1}
LIMITS = {  # limits of the values that a client may send
    "max_tokens": (1, MOST_TOKENS),
    "beams": (1, MOST_BEAMS),
    "temperature": (0, MOST_TEMPERATURE),
    "top_k": (0, 1 << 30),
    "top_p": (1e-6, 1),
}
TYPICAL = {
    "max_tokens": 32,
    "beams": 1,
    **SAMPLING,
    "stop": "\n\n",
}  # defaults of inputs that are not columns of the examples


def cross_entropy() -> keras.Loss:
    """Cross-entropy of the tokens, averaged."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class LanguageModelTask(Task[TextPreprocessor, GenerativeModel]):
    """Predict how a text continues."""

    sources = {"embedded": sources.embedded, "files": sources.files, "tfds": sources.tfds}
    preprocessor = TextPreprocessor
    preset_kind = "causal language model"
    models = MODELS
    losses = {"cross_entropy": cross_entropy}
    metrics = {
        "loss": "min",  # nats per token
        "bits_per_character": "min",
        "perplexity": "min",
        "word_perplexity": "min",
        "top_1_accuracy": "max",
        "top_5_accuracy": "max",
    }
    fields = Fields("running_text", [TEXT])
    samples = 2
    curves = ("bits_per_character",)
    batches = staticmethod(random_windows)
    decoding = staticmethod(decoding)
    limits = (
        "- The model generates probable text, which may be false.\n"
        "- It reproduces errors and biases of the training text, and sometimes copies it word for word.\n"
        "- It was evaluated on later parts of the same text. Expect lower quality on other kinds of text, times or"
        " languages.\n"
        "- It uses only as many previous tokens as fit into its context."
    )

    def evaluation_examples(self, split: str, examples: pd.DataFrame) -> pd.DataFrame:
        """Return evenly spaced stretches of a long split."""
        return evenly_spaced(examples, MEASURED)

    def teach(
        self, teacher: GenerativeModel, theirs: TextPreprocessor, own: TextPreprocessor, temperature: float
    ) -> None:
        """Check that the teacher scores the same tokens, for texts of the same length."""
        check_same_tokens(theirs.state, own.state, theirs.level == own.level)
        if teacher.context is not None and theirs.context < own.context:
            problem = f"it reads {theirs.context} tokens, fewer than preprocessing.context {own.context}"
            raise UserError("distill.teacher", problem)

    def validation_step(
        self,
        model: GenerativeModel,
        preprocessor: TextPreprocessor,
        inputs: Tensors,
        labels: tf.Tensor,
        weights: tf.Tensor,
    ) -> tuple[tf.Tensor, Tensors]:
        """Score texts window by window. A recurrent model carries its state from one window to the next."""
        answers = _score(model, preprocessor, inputs["tokens"], labels, weights)
        return tf.reduce_sum(answers["nats"]) / tf.reduce_sum(answers["tokens"]), answers

    def answer_raw(self, model: GenerativeModel, preprocessor: TextPreprocessor, raw: Tensors) -> Tensors:
        """Score texts. The results are sums over the tokens of each text."""
        inputs, labels, weights = padded(preprocessor.example(raw, training=False))
        return self.validation_step(model, preprocessor, inputs, labels, weights)[1]

    def answer_inputs(
        self, model: GenerativeModel, preprocessor: TextPreprocessor, inputs: Tensors, outputs: tf.Tensor | None = None
    ) -> Tensors:
        """Continue texts with the decoding settings, and return the most probable next tokens."""
        wanted, count = model.decoding, tf.shape(inputs["tokens"])[0]
        choice, beams, stop = make_choice(wanted, count), tf.fill([count], wanted.beams), tf.fill([count], wanted.stop)
        written = write(model, preprocessor, inputs["tokens"], choice, beams, stop)
        following = next_tokens(model, preprocessor, inputs["tokens"], tf.fill([count], SHOWN))
        return {"completion": written["completion"], **following}

    def endpoints(self, model: GenerativeModel, preprocessor: TextPreprocessor) -> dict[str, Endpoint]:
        """Return endpoints that continue, stream and score texts, and predict the next token."""

        def tokens(raw: Tensors) -> tf.Tensor:
            return padded(preprocessor.tokenizer.encode(raw["prompt"]))

        def checked(raw: Tensors) -> Tensors:
            return {**raw, **{name: bounded(name, raw[name], *ends) for name, ends in LIMITS.items() if name in raw}}

        def generate(raw: Tensors) -> Tensors:
            asked = checked(raw)
            choice = SamplingParams(**{name: asked[name] for name in SamplingParams._fields})
            return write(model, preprocessor, tokens(raw), choice, asked["beams"], raw["stop"])

        def following(raw: Tensors) -> Tensors:
            return next_tokens(model, preprocessor, tokens(raw), bounded("top_k", raw["top_k"], 1, 1 << 30))

        def spec(**kinds: tf.DType) -> dict[str, tf.TensorSpec]:
            return {name: tf.TensorSpec([None], kind, name=name) for name, kind in kinds.items()}

        prompt = {"prompt": tf.string}
        drawn = {"temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32, "seed": tf.int32}
        whole = {**prompt, "max_tokens": tf.int32, "beams": tf.int32, **drawn, "stop": tf.string}
        stream = Stream(model, preprocessor.tokenizer)
        return {
            "serve": Endpoint(
                lambda raw: self.answer_inputs(model, preprocessor, {"tokens": tokens(raw)}), spec(**prompt)
            ),
            "generate": Endpoint(generate, spec(**whole), TYPICAL),
            "stream_start": Endpoint(
                lambda raw: stream.start(tokens(raw), {name: checked(raw)[name] for name in stream.asked}),
                {"prompt": tf.TensorSpec([1], tf.string, "prompt"), **stream.asked},
                stream.defaults,
            ),
            "stream_step": Endpoint(stream.step, stream.kept),
            "next_token": Endpoint(following, spec(**prompt, top_k=tf.int32), {"top_k": SHOWN}),
            "score": Endpoint(partial(self.answer_raw, model, preprocessor), preprocessor.signature),
        }

    def printable(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Pair each next token with its probability."""
        pairs = zip(answer["next_tokens"], answer["probabilities"], strict=True)
        return {"completion": answer["completion"], "next_tokens": {token: round(share, 4) for token, share in pairs}}

    def compute_metrics(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compute the loss in nats per token, bits per character, perplexities and accuracies."""
        total = {name: float(np.sum(values, dtype=np.float64)) for name, values in answers.items()}
        texts = [str(text) for text in examples[TEXT]]
        # The perplexity per word is undefined for languages without spaces.
        words = max(1, sum(len(text.split()) for text in texts)) if parts_words(texts) else np.nan
        tokens = max(total["tokens"], 1)
        with np.errstate(over="ignore"):
            return {
                "loss": total["nats"] / tokens,
                "bits_per_character": total["nats"] / np.log(2) / max(total["characters"], 1),
                "perplexity": float(np.exp(total["nats"] / tokens)),
                "word_perplexity": float(np.exp(np.minimum(total["nats"] / words, 700))),
                "top_1_accuracy": total["top_1"] / tokens,
                "top_5_accuracy": total["top_5"] / tokens,
            }

    def metric_sums(
        self, metric: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None:
        """Return the sums over each stretch that the metric is a ratio of."""
        above, below = {
            "loss": ("nats", "tokens"),
            "perplexity": ("nats", "tokens"),
            "bits_per_character": ("nats", "characters"),
            "top_1_accuracy": ("top_1", "tokens"),
            "top_5_accuracy": ("top_5", "tokens"),
        }.get(metric, ("", ""))
        if not above:
            return None
        sums, ratio = ratio_of(answers[above], answers[below])
        if metric == "perplexity":
            return sums, lambda drawn: np.exp(ratio(drawn))
        return (sums / [np.log(2), 1], ratio) if metric == "bits_per_character" else (sums, ratio)

    def baseline_metrics(
        self, preprocessor: TextPreprocessor, train: pd.DataFrame, examples: pd.DataFrame
    ) -> dict[str, float]:
        """Return the metrics of a unigram model: each token has its frequency in train."""
        ids, tokenizer = preprocessor.ids(train), preprocessor.tokenizer
        counts = np.bincount(ids[:: -(-len(ids) // COUNTED)], minlength=tokenizer.size) + 1.0
        places = np.argsort(np.argsort(-counts, kind="stable"))  # rank of each token by frequency
        texts = tokenizer.encode(tf.constant([str(text) for text in examples[TEXT]]))
        labels = texts[:, 1:].flat_values.numpy()
        each = {
            "nats": -np.log(counts / counts.sum())[labels],
            "tokens": np.ones(len(labels)),
            "top_1": places[labels] < 1,
            "top_5": places[labels] < 5,
            "characters": tokenizer.characters[labels],
        }
        return self.compute_metrics(examples, each)

    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """List the stretches of text, each by its beginning, with their losses and accuracy."""
        tokens, characters = np.maximum(answers["tokens"], 1), np.maximum(answers["characters"], 1)
        return pd.DataFrame(
            {
                "document": examples[DOCUMENT].to_numpy(),
                "text": [str(text)[:BEGINNING] for text in examples[TEXT]],
                "loss": answers["nats"] / tokens,
                "bits_per_character": answers["nats"] / np.log(2) / characters,
                "top_1_accuracy": answers["top_1"] / tokens,
            }
        )

    def pictures(
        self,
        model: GenerativeModel,
        preprocessor: TextPreprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, Figure | str]:
        """Draw the loss next to that of n-gram models, the embeddings, the attention, and the gates."""
        return draw_pictures(model, preprocessor, examples, answers)

    def client_inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Return prompts from the first words of the examples."""
        return pd.DataFrame({"prompt": [" ".join(str(text).split(" ")[:PROMPT_WORDS]) for text in examples[TEXT]]})

    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read prompts: each input is one prompt, and so is each non-empty line of the file."""
        return read_texts("prompt", inputs, file)


TASK = LanguageModelTask()


def _score(
    model: GenerativeModel, preprocessor: TextPreprocessor, tokens: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
) -> Tensors:
    """Return sums over each text (B, T): nats, tokens, characters, and top-1 and top-5 hits."""
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
