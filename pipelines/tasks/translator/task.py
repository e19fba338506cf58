"""The translator's implementation of the `Task` interface."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.data.batches import make_token_batches, padded
from pipelines.data.files import read_texts
from pipelines.data.pairs.read import SOURCE, TARGET
from pipelines.errors import UserError
from pipelines.task import Endpoint, Task, Tensors, evenly_spaced, mean_of, ratio_of
from pipelines.tasks.translator import sources
from pipelines.tasks.translator.losses import cross_entropy
from pipelines.tasks.translator.models import MODELS
from pipelines.tasks.translator.pictures import draw_pictures
from pipelines.tasks.translator.preprocessing import PairPreprocessor
from pipelines.tasks.translator.scores import exact_matches, score_translations, signatures, sums_of_scores
from pipelines.tasks.translator.searching import look, search
from pipelines.tasks.translator.sources import FIELDS
from pipelines.tasks.translator.translation import Translator
from pipelines.text.beam_search import Found, searching
from pipelines.text.sampling import bounded
from pipelines.text.tokenizers import PAD, check_same_tokens

MEASURED = 3072  # pairs of train and of validation that are evaluated, evenly spaced
COUNTED = 20_000  # pairs of train whose tokens the baseline counts


class TranslatorTask(Task[PairPreprocessor, Translator]):
    """Translate a text from one language to another."""

    sources = {"embedded": sources.embedded, "files": sources.files, "tfds": sources.tfds}
    preprocessor = PairPreprocessor
    preset_kind = "encoder-decoder or encoder model"
    models = MODELS
    losses = {"cross_entropy": cross_entropy}
    metrics = {"bleu": "max", "bleu_lower": "max", "chrf": "max", "exact_match": "max", "perplexity": "min"}
    perfect = {"bleu": 100.0, "bleu_lower": 100.0, "chrf": 100.0}
    fields = FIELDS
    batches = staticmethod(make_token_batches)
    decoding = staticmethod(searching)
    limits = (
        "- Expect lower quality on subjects, styles or lengths that differ from the training pairs.\n"
        "- A wrong translation may still be fluent. Names, numbers and negations may be lost or invented.\n"
        "- The score ranks translations of the same text. It is not the probability that one is correct.\n"
        "- Each text is translated separately. Tokens beyond `preprocessing.longest` are cut off.\n"
        "- Translations reproduce biases of the training pairs, such as the gender of professions."
    )

    def evaluation_examples(self, split: str, examples: pd.DataFrame) -> pd.DataFrame:
        """Return all of the test split, or evenly spaced pairs of another large split."""
        return evenly_spaced(examples, len(examples) if split == "test" else MEASURED)

    def teach(self, teacher: Translator, theirs: PairPreprocessor, own: PairPreprocessor, temperature: float) -> None:
        """Check that the teacher scores the same tokens, for texts of the same length."""
        check_same_tokens(theirs.state, own.state, theirs.settings[0] == own.settings[0])
        if theirs.longest < own.longest:
            problem = f"it reads {theirs.longest} tokens, fewer than preprocessing.longest {own.longest}"
            raise UserError("distill.teacher", problem)

    def validation_step(
        self, model: Translator, preprocessor: PairPreprocessor, inputs: Tensors, labels: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors]:
        """Translate greedily, which is fast, and score the reference translations."""
        weighed = _weigh(model, inputs, labels, weights)
        best = _best(preprocessor, search(model, preprocessor, inputs[SOURCE], beams=1))
        return tf.reduce_sum(weighed["nats"]) / tf.reduce_sum(weighed["tokens"]), {**weighed, **best}

    def answer_raw(self, model: Translator, preprocessor: PairPreprocessor, raw: Tensors) -> Tensors:
        """Translate as for a client, and score the reference translations."""
        inputs, labels, weights = padded(preprocessor.example(raw, training=False))
        return {**_weigh(model, inputs, labels, weights), **self.answer_inputs(model, preprocessor, inputs)}

    def answer_inputs(
        self, model: Translator, preprocessor: PairPreprocessor, inputs: Tensors, outputs: tf.Tensor | None = None
    ) -> Tensors:
        """Return the best translation that the search finds, and its score."""
        return _best(preprocessor, search(model, preprocessor, inputs[SOURCE], model.decoding.beams))

    def endpoints(self, model: Translator, preprocessor: PairPreprocessor) -> dict[str, Endpoint]:
        """Return endpoints for the best translation, several translations, the score of a given one, and attention."""

        def source(raw: Tensors) -> tf.Tensor:
            return padded(preprocessor.inputs(raw))[SOURCE]

        def n_best(raw: Tensors) -> Tensors:
            beams = model.decoding.beams  # always the same number, so that no answer depends on the rest of the batch
            count = bounded("count", raw["count"], 1, beams)
            tokens = source(raw)
            found, shown = search(model, preprocessor, tokens, beams), tf.reduce_max(count)
            wanted, written = tf.range(shown) < count[:, None], found.tokens[:, :shown]
            return {
                "translations": tf.where(wanted, _texts(preprocessor, written), ""),
                "scores": tf.where(wanted, found.scores[:, :shown], 0.0),
                "tokens": tf.where(wanted, _lengths(written) - 1, 0),  # without `START`
                "source_tokens": _lengths(tokens),
            }

        def weigh(raw: Tensors) -> Tensors:
            return _weigh(model, *padded(preprocessor.example(raw, training=False)))

        text = {SOURCE: preprocessor.signature[SOURCE]}
        count = tf.TensorSpec([None], tf.int32, name="count")
        return {
            "serve": Endpoint(lambda raw: self.answer_inputs(model, preprocessor, {SOURCE: source(raw)}), text),
            "n_best": Endpoint(n_best, {**text, "count": count}, {"count": model.decoding.beams}),
            "score": Endpoint(weigh, preprocessor.signature),
            "attention": Endpoint(lambda raw: look(model, preprocessor, source(raw)), text),
        }

    def metric_signatures(self, examples: pd.DataFrame) -> dict[str, str]:
        """Return the signatures of the sacrebleu metrics."""
        return signatures(examples[TARGET].tolist())

    def printable(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Round the score."""
        return {**answer, "score": round(answer["score"], 4)}

    def compute_metrics(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compute BLEU, chrF, the share of exact matches, and the perplexity per token."""
        return score_translations(examples, answers)

    def metric_sums(
        self, metric: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None:
        """Return the nats and tokens of each pair, the exact matches, or the counts of n-grams."""
        if metric == "exact_match":
            return mean_of(exact_matches(examples, answers))
        if metric != "perplexity":
            return sums_of_scores(metric, examples, answers)
        sums, nats = ratio_of(answers["nats"], answers["tokens"])
        return sums, lambda drawn: np.exp(np.minimum(nats(drawn), 700))

    def baseline_metrics(
        self, preprocessor: PairPreprocessor, train: pd.DataFrame, examples: pd.DataFrame
    ) -> dict[str, float]:
        """Return the better value of each translation metric for two baselines, and the perplexity of a unigram model.

        The two are to copy the source and to always predict the most frequent target of train. To the unigram model,
        each token has its frequency in train.
        """
        unknown = {"nats": np.zeros(len(examples)), "tokens": np.ones(len(examples))}
        guesses = [examples[SOURCE].tolist(), [train[TARGET].mode()[0]] * len(examples)]
        answers = [{"translation": np.array([text.encode() for text in guess], "O"), **unknown} for guess in guesses]
        scores = pd.DataFrame([self.compute_metrics(examples, each) for each in answers]).max()
        found = scores[[name for name, better in self.metrics.items() if better == "max"]].to_dict()
        return {**found, "perplexity": _unigram_perplexity(preprocessor, train, examples)}

    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """List the texts with their translations."""
        pairs = examples[[SOURCE, TARGET]].reset_index(drop=True)
        return pairs.assign(answer=[text.decode() for text in answers["translation"]])

    def pictures(
        self,
        model: Translator,
        preprocessor: PairPreprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, Figure | str]:
        """Draw BLEU by length, sample and worst translations, attention, and the gates of the encoder."""
        return draw_pictures(model, preprocessor, examples, answers)

    def client_inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Return the source texts."""
        return examples[[SOURCE]]

    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read texts: each input is one text, and so is each non-empty line of the file."""
        return read_texts(SOURCE, inputs, file)


TASK = TranslatorTask()


def _texts(preprocessor: PairPreprocessor, tokens: tf.Tensor) -> tf.Tensor:
    """Decode the found tokens (B, K, T) into texts (B, K)."""
    texts = preprocessor.decode(tf.reshape(tokens, [-1, tf.shape(tokens)[2]]))
    return tf.reshape(texts, tf.shape(tokens)[:2])


def _lengths(tokens: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tokens != PAD, tf.int32), axis=-1)


def _best(preprocessor: PairPreprocessor, found: Found) -> Tensors:
    return {"translation": preprocessor.decode(found.tokens[:, 0]), "score": found.scores[:, 0]}


def _unigram_perplexity(preprocessor: PairPreprocessor, train: pd.DataFrame, examples: pd.DataFrame) -> float:
    known, asked = (
        preprocessor.encode(TARGET, tf.constant(texts.tolist())).flat_values.numpy()
        for texts in (evenly_spaced(train, COUNTED)[TARGET], examples[TARGET])
    )
    counts = np.bincount(known, minlength=preprocessor.features.target_tokens) + 1.0
    return float(np.exp(-np.log(counts / counts.sum())[asked].mean()))


def _weigh(model: Translator, inputs: Tensors, labels: tf.Tensor, weights: tf.Tensor) -> Tensors:
    """Return the negative log-likelihood of given translations and their number of tokens, (B,) each."""
    hidden = model(inputs, training=False)

    def one(
        row: tuple[tf.Tensor, tf.Tensor],
    ) -> tf.Tensor:  # one row at a time, because the scores of all rows may not fit in memory
        return tf.nn.sparse_softmax_cross_entropy_with_logits(row[1], model.scores(row[0]))

    nats = tf.map_fn(one, (hidden, labels), fn_output_signature=tf.float32)
    return {"nats": tf.reduce_sum(nats * weights, axis=1), "tokens": tf.reduce_sum(weights, axis=1)}
