"""The entity tagger's implementation of the `Task` interface."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure

from pipelines.data.batches import padded
from pipelines.data.files import read_texts
from pipelines.data.stored import parts
from pipelines.errors import UserError
from pipelines.layers.crf import (
    ConditionalRandomField,
    cross_entropy,
    forbidding,
    negative_log_likelihood,
    pair_probabilities,
    potentials,
)
from pipelines.metrics.entity_f1 import entities, entity_scores
from pipelines.statistics.calibration import set_metrics
from pipelines.statistics.conformal import label_confidence
from pipelines.task import Confidence, Endpoint, Task, Tensors, evenly_spaced, ratio_of
from pipelines.tasks.entity_tagger import sources
from pipelines.tasks.entity_tagger.calibration import fitted_temperature, token_probabilities
from pipelines.tasks.entity_tagger.decoding import Decoded, decode_scores, found_entities
from pipelines.tasks.entity_tagger.explanations import contributions
from pipelines.tasks.entity_tagger.models import MODELS
from pipelines.tasks.entity_tagger.pictures import draw_inside, draw_pictures
from pipelines.tasks.entity_tagger.preprocessing import SentencePreprocessor
from pipelines.tasks.entity_tagger.sources import FIELDS, TAGS, TOKENS
from pipelines.training.distillation import divergence

MEASURED = 20_000  # sentences of train and of validation that are evaluated, evenly spaced
EXPLAINED = 16  # sentences of which an export's explanations are checked: each takes a prediction per token


class NegativeLogLikelihood(keras.Loss):
    """Negative log-likelihood of the tags, averaged over the tokens.

    With scores (B, T, K), each token contributes the cross-entropy of its own tag. With the potentials (B, T, K, K) of
    a CRF, each sentence contributes the negative log-likelihood of its whole tag sequence. Labels (B, T) are tag ids
    plus 1. The label 0 is padding.
    """

    def __init__(self):
        super().__init__(reduction="mean_with_sample_weight")

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Return each token's contribution to the loss (B, T)."""
        labels = ops.cast(y_true, "int32")
        tags = ops.maximum(labels - 1, 0)
        if len(y_pred.shape) == 3:
            return keras.losses.sparse_categorical_crossentropy(tags, y_pred, from_logits=True)
        mask = ops.cast(labels > 0, y_pred.dtype)
        last = ops.max(ops.where(mask > 0, ops.cumsum(ops.ones_like(tags), axis=1), 1), axis=1, keepdims=True) - 1
        tags = ops.where(labels > 0, tags, ops.take_along_axis(tags, last, axis=1))  # padding repeats the last tag
        return negative_log_likelihood(y_pred, tags)[:, None] * mask / ops.sum(mask, axis=1, keepdims=True)


def negative_log_likelihood_loss() -> keras.Loss:
    """Negative log-likelihood of the tags, averaged over the tokens."""
    return NegativeLogLikelihood()


class TagLesson:
    """Learn from the distribution of tag sequences that a teacher predicts.

    The soft labels are the emissions of its CRF, or the log-probabilities of its tags. With its transition scores they
    make a chain without invalid sequences, whose probabilities are the target: those of whole sequences for a model
    with a CRF (structural distillation, Wang et al. 2020, section 3.1, with exact expectations), those of the tags of
    each token for one without.
    """

    def __init__(
        self, teacher: keras.Model, theirs: SentencePreprocessor, own: SentencePreprocessor, temperature: float
    ):
        self.theirs, self.temperature = theirs, temperature
        self.order = [theirs.tags.index(tag) for tag in own.tags]
        crf = next((layer for layer in teacher.layers if isinstance(layer, ConditionalRandomField)), None)
        transitions = forbidding(theirs.features.allowed)
        if crf is not None:
            transitions = transitions + crf.transitions.numpy()
            teacher = keras.Model(teacher.input, crf._inbound_nodes[0].input_tensors[0])
        self.teacher, self.has_crf = teacher, crf is not None
        rows = [*self.order, len(self.order)]  # the last row is for the first token
        self.transitions = transitions[np.ix_(rows, self.order)]

    def soft_labels(self, raw: Tensors) -> tf.Tensor:
        """Return the score of each tag (B, T, K), padded with zeros."""
        inputs = padded(self.theirs.inputs(raw))
        scores = self.teacher(inputs, training=False)
        scores = scores if self.has_crf else tf.nn.log_softmax(scores)
        mask = tf.sequence_mask(tf.reduce_sum(tf.cast(raw[TOKENS] != "", tf.int32), axis=1), tf.shape(scores)[1])
        return tf.where(mask[:, :, None], tf.gather(scores, self.order, axis=2), 0.0)

    def loss(self, labels: keras.KerasTensor, soft: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return each token's contribution to the divergence (B, T)."""
        mask = labels > 0
        target = potentials(soft, mask, self.transitions) / self.temperature
        pairs = ops.stop_gradient(pair_probabilities(target))
        if len(outputs.shape) == 3:
            return divergence(ops.sum(pairs, axis=2), outputs, self.temperature)
        apart = cross_entropy(outputs / self.temperature, pairs) - ops.stop_gradient(cross_entropy(target, pairs))
        real = ops.cast(mask, outputs.dtype)
        return self.temperature**2 * apart[:, None] * real / ops.sum(real, axis=1, keepdims=True)


class EntityTagger(Task[SentencePreprocessor, keras.Model]):
    """Find the named entities in a text."""

    sources = {"embedded": sources.embedded, "files": sources.files, "tfds": sources.tfds}
    preprocessor = SentencePreprocessor
    models = MODELS
    losses = {"negative_log_likelihood": negative_log_likelihood_loss}
    metrics = {"precision": "max", "recall": "max", "f1": "max"}
    fields = FIELDS
    preset_kind = "text encoder"
    calibrates = True
    limits = (
        "- The model finds only the entity types that occur in its training sentences.\n"
        "- Expect lower quality on other kinds of text, times or languages, on texts in a single case, and on texts"
        " with many errors. They were not evaluated.\n"
        "- Names that are not in the training data are missed more often. `report/` of the run shows how much.\n"
        "- A token's probability is that of its tag in its sentence. If it is calibrated, it is so for all tokens"
        " together, most of which are outside entities.\n"
        "- Each sentence is tagged separately, without the sentences before it."
    )

    def answer_inputs(
        self, model: keras.Model, preprocessor: SentencePreprocessor, inputs: Tensors, outputs: tf.Tensor | None = None
    ) -> Tensors:
        """Return the tag and its probability for each token (B, T), padded with empty strings and zeros."""
        decoded = _decode(model, preprocessor, inputs, outputs)
        tags = tf.gather(tf.constant(preprocessor.tags), decoded.path)
        return {"tags": tf.where(decoded.mask, tags, ""), "probabilities": decoded.probabilities()}

    def calibrate(
        self,
        model: keras.Model,
        preprocessor: SentencePreprocessor,
        train: pd.DataFrame,
        validation: pd.DataFrame,
        coverage: float,
        seed: int,
    ) -> Confidence:
        """Fit a temperature of the scores, and the least probability of a tag in the set of its token."""
        temperature = fitted_temperature(model, preprocessor, validation)
        true, _, (probabilities,) = token_probabilities(model, preprocessor, validation, [temperature])
        return label_confidence(probabilities, true, temperature, coverage)

    def confidence_metrics(
        self,
        model: keras.Model,
        preprocessor: SentencePreprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, float]:
        """Return the calibration error of the tags, and the coverage and mean size of the sets, over all tokens."""
        own = preprocessor.confidence
        given = model, preprocessor, examples, [float(own["temperature"]), 1.0]
        true, path, (probabilities, uncalibrated) = token_probabilities(*given)
        sets = probabilities >= own["least_probability"]
        sets[np.arange(len(path)), path] = True
        return set_metrics(true, probabilities, uncalibrated, sets)

    def teach(
        self, teacher: keras.Model, theirs: SentencePreprocessor, own: SentencePreprocessor, temperature: float
    ) -> TagLesson:
        """Learn from the teacher's tag sequences; its words, or subwords, may be others."""
        if set(theirs.tags) != set(own.tags):
            types = (", ".join(each.learnt["types"]) for each in (theirs, own))
            raise UserError("distill.teacher", "its entity types are {}, and those of train {}".format(*types))
        return TagLesson(teacher, theirs, own, temperature)

    def classes(self, examples: pd.DataFrame) -> Counter[str]:
        """Count the entities of each type."""
        found = parts(examples[[TAGS]])
        return Counter(entity.type for part in found for tags in part[TAGS] for entity in entities(tags))

    def evaluation_examples(self, split: str, examples: pd.DataFrame) -> pd.DataFrame:
        """Return all of the test split, or evenly spaced sentences of another large split."""
        return evenly_spaced(examples, len(examples) if split == "test" else MEASURED)

    def beliefs(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Sequence[str]]:
        """Return the probability of the predicted tag of each token; the other tags share the rest evenly."""
        answered = answered_tags(examples, answers)
        names = sorted({tag for tags in (*examples[TAGS], *answered) for tag in tags})
        order = {name: number for number, name in enumerate(names)}
        chosen = [order[tag] for tags in answered for tag in tags]
        sure = np.concatenate(
            [own[: len(tags)] for own, tags in zip(answers["probabilities"], examples[TAGS], strict=True)]
        )
        found = np.repeat((1 - sure[:, None]) / max(1, len(names) - 1), len(names), axis=1)
        found[np.arange(len(chosen)), chosen] = sure
        return found, names

    def endpoints(self, model: keras.Model, preprocessor: SentencePreprocessor) -> dict[str, Endpoint]:
        """Return endpoints that find entities in texts and in tokenized sentences, and that explain the answers.

        The offsets for a tokenized sentence refer to its tokens joined by spaces. `tags` answers each token (B, T) with
        its tag, and a calibrated model with the `set` of tags (B, T, K) that has the true one with the coverage of the
        config, '' for the others. `explain` answers each entity (B, E) with what each token adds to its probability.
        """

        def decode(tokens: tf.Tensor | tf.RaggedTensor) -> Decoded:
            return _decode(model, preprocessor, padded(preprocessor.inputs({TOKENS: tokens})), None)

        def find(text: tf.Tensor, tokens: tf.RaggedTensor, starts: tf.RaggedTensor) -> dict[str, tf.Tensor]:
            types = preprocessor.learnt["types"]
            return found_entities(decode(tokens), types, text, padded(tokens), padded(starts))

        def in_texts(raw: Tensors) -> Tensors:
            return find(raw["text"], *preprocessor.tokenize(raw["text"]))

        def in_tokens(raw: Tensors) -> Tensors:
            tokens = tf.ragged.boolean_mask(raw[TOKENS], raw[TOKENS] != "")
            widths = tf.strings.length(padded(tokens), unit="UTF8_CHAR") + 1
            starts = tf.cumsum(widths, axis=1, exclusive=True)
            starts = tf.RaggedTensor.from_tensor(starts, lengths=tokens.row_lengths())
            return find(tf.strings.reduce_join(tokens, axis=1, separator=" "), tokens, starts)

        def tags(raw: Tensors) -> Tensors:
            tokens, starts = preprocessor.tokenize(raw["text"])
            decoded, names = decode(tokens), tf.constant(preprocessor.tags)
            answer = {"token": padded(tokens), "start": padded(starts), "probability": decoded.probabilities()}
            answer["tag"] = tf.where(decoded.mask, tf.gather(names, decoded.path), "")
            if preprocessor.confidence:
                answer["set"] = tf.where(decoded.tag_sets(preprocessor.confidence["least_probability"]), names, "")
            return answer

        def explain(raw: Tensors) -> Tensors:
            tokens, starts = preprocessor.tokenize(raw["text"])
            found = find(raw["text"], tokens, starts)
            named = {name: found[name] for name in ("entity", "type", "start", "stop")}
            return {**named, "token": padded(tokens), "contribution": contributions(decode, padded(tokens))}

        text = {"text": tf.TensorSpec([None], tf.string, name="text")}
        return {
            "serve": Endpoint(in_texts, text),
            TOKENS: Endpoint(in_tokens, preprocessor.signature),
            "tags": Endpoint(tags, text),
            "explain": Endpoint(explain, text, compared=EXPLAINED),
        }

    def printable(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """List the entities of a text."""
        rows = zip(*(answer[name] for name in ("entity", "type", "start", "stop", "probability")), strict=True)
        names = ("text", "type", "start", "stop", "probability")
        return {"entities": [dict(zip(names, row, strict=True)) for row in rows if row[1]]}

    def compute_metrics(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compute precision, recall and F1 of whole entities, for all entities and for each type."""
        return entity_scores(examples[TAGS].tolist(), answered_tags(examples, answers))

    def metric_sums(
        self, metric: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None:
        """Return the right, the predicted and the true entities of each sentence."""
        pairs = zip(examples[TAGS], answered_tags(examples, answers), strict=True)
        found = [(set(entities(true)), set(entities(predicted))) for true, predicted in pairs]
        right, given, wanted = np.array([(len(a & b), len(b), len(a)) for a, b in found]).reshape(-1, 3).T
        below = {"precision": given, "recall": wanted, "f1": (given + wanted) / 2}
        sums, _ = ratio_of(right, below[metric])
        return sums, lambda drawn: drawn[..., 0] / np.maximum(drawn[..., 1], 0.5)  # 0 if there are no entities

    def metrics_by_class(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Compute precision, recall and F1 for each entity type."""
        scores = self.compute_metrics(examples, answers)
        counts = Counter(entity.type for tags in examples[TAGS] for entity in entities(tags))
        types = [name.removesuffix(".f1") for name in scores if name.endswith(".f1")]
        rows = [[*(scores[f"{name}.{score}"] for score in self.metrics), counts[name]] for name in types]
        return pd.DataFrame(rows, index=types, columns=[*self.metrics, "count"])

    def baseline_metrics(
        self, preprocessor: SentencePreprocessor, train: pd.DataFrame, examples: pd.DataFrame
    ) -> dict[str, float]:
        """Return the metrics of a model that finds no entities."""
        return entity_scores(examples[TAGS].tolist(), [["O"] * len(tags) for tags in examples[TAGS]])

    def simple_metrics(self, train: pd.DataFrame, examples: pd.DataFrame) -> dict[str, dict[str, float]]:
        """Return the metrics of the most frequent tag of each word in train; unknown words have none."""
        counts: dict[str, Counter[str]] = {}
        for part in parts(train[[TOKENS, TAGS]]):
            for tokens, tags in zip(part[TOKENS], part[TAGS], strict=True):
                for token, tag in zip(tokens, tags, strict=True):
                    counts.setdefault(token, Counter())[tag] += 1
        usual = {token: min(own, key=lambda tag: (-own[tag], tag)) for token, own in counts.items()}
        guesses = [[usual.get(token, "O") for token in tokens] for tokens in examples[TOKENS]]
        return {"most frequent tag": entity_scores(examples[TAGS].tolist(), guesses)}

    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """List the sentences with their true and predicted entities."""
        tokens = examples[TOKENS].tolist()
        target, answer = (
            [named(*pair) for pair in zip(tokens, tags, strict=True)]
            for tags in (examples[TAGS], answered_tags(examples, answers))
        )
        return pd.DataFrame({"text": map(" ".join, tokens), "target": target, "answer": answer})

    def pictures(
        self,
        model: keras.Model,
        preprocessor: SentencePreprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, Figure | str]:
        """Draw F1 by type and by novelty, confused tags, frequent mistakes, and attention or gates."""
        drawn = draw_pictures(preprocessor.learnt, examples, answered_tags(examples, answers))
        return drawn | draw_inside(model, preprocessor, examples[TOKENS])

    def client_inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Join the tokens of each example with spaces to form a text."""
        return pd.DataFrame({"text": examples[TOKENS].map(" ".join)})

    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read texts: each input is one text, and so is each non-empty line of the file."""
        return read_texts("text", inputs, file)


TASK = EntityTagger()


def named(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """Format the entities of a sentence as one line, such as `PER: Ann Lee; LOC: Oslo`."""
    return "; ".join(f"{each.type}: {' '.join(tokens[each.start : each.stop])}" for each in entities(tags))


def answered_tags(examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Remove the padding from the predicted tags of each sentence."""
    rows = zip(examples[TAGS], answers["tags"], strict=True)
    return [[tag.decode() for tag in tags[: len(true)]] for true, tags in rows]


def _decode(
    model: keras.Model, preprocessor: SentencePreprocessor, inputs: Tensors, outputs: tf.Tensor | None
) -> Decoded:
    outputs = model(inputs, training=False) if outputs is None else outputs
    return decode_scores(preprocessor, inputs, outputs, preprocessor.confidence.get("temperature", 1.0))
