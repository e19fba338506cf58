"""What a report shows of a language model: its loss beside counts, what it writes, and its embeddings."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.decoding import GenerativeModel
from pipelines.tasks.language_model.ngram import count_ngrams, label_probabilities
from pipelines.tasks.language_model.preprocessing import TextPreprocessor
from pipelines.tasks.language_model.sources import TEXT

ORDERS = {"byte": 6, "character": 6, "word": 3, "subword": 3}  # beyond these, more counts gain little
COUNTED = 5_000_000  # tokens of train
NEAREST, SHOWN_WORDS, DRAWN = 6, 40, 300


def draw_pictures(
    model: GenerativeModel, preprocessor: TextPreprocessor, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> dict[str, Figure | str]:
    """Draw the pictures of a split whose stretches were scored."""
    pictures: dict[str, Figure | str] = {"beside_counts": _beside_counts(preprocessor, examples, answers)}
    if preprocessor.level in ("word", "subword") and hasattr(model, "embedding"):
        vectors = model.embedding.get_weights()[0]
        pictures |= {"embeddings": _map(vectors, preprocessor), "neighbours": _neighbours(vectors, preprocessor)}
    return pictures


def _beside_counts(preprocessor: TextPreprocessor, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> Figure:
    """Compare the loss with that of Kneser-Ney counts of the same training text, on the same tokens."""
    train, tokens = preprocessor.features.train_ids()[:COUNTED], preprocessor.tokenizer.size
    rows = [row.numpy() for row in preprocessor.tokenizer.encode(tf.constant([str(text) for text in examples[TEXT]]))]
    names, losses = [], []
    levels = count_ngrams(np.asarray(train), ORDERS[preprocessor.level], tokens)
    for order in range(1, len(levels) + 1):
        nats = [-np.log(label_probabilities(levels[:order], row)[1:]).sum() for row in rows]
        names.append(f"{order}-gram")
        losses.append(np.sum(nats) / max(sum(len(row) - 1 for row in rows), 1))
    own = float(answers["nats"].sum() / max(answers["tokens"].sum(), 1))
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar([*names, "this model"], [*losses, own], color=[*["tab:gray"] * len(names), "tab:blue"])
    axes.bar_label(bars, fmt="%.3f")
    axes.set(title="Loss on test, beside counts of the same training text (Kneser-Ney)", ylabel="nats a token")
    axes.margins(y=0.12)
    return figure


def nearest(vectors: np.ndarray, wanted: np.ndarray, count: int, without: tuple[int, ...]) -> list[int]:
    """Find the rows of `vectors` (V, D) that point most nearly where `wanted` (D,) does, but for `without`."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted)
    cosines = vectors @ wanted / np.maximum(lengths, 1e-9)
    cosines[list(without)] = -np.inf
    return np.argsort(-cosines)[:count].tolist()


def _words(preprocessor: TextPreprocessor) -> dict[str, int]:
    """Give the ids of whole words, the most frequent first."""
    pieces = preprocessor.tokenizer.pieces
    return {piece.strip(): at for at, piece in reversed(list(enumerate(pieces))) if piece.strip().isalpha() and at > 3}


def _neighbours(vectors: np.ndarray, preprocessor: TextPreprocessor) -> str:
    """Write the nearest neighbours of frequent words, as a page that stands alone."""
    ids, pieces = _words(preprocessor), preprocessor.tokenizer.pieces
    frequent = sorted((at, word) for word, at in ids.items() if len(word) > 2)[:SHOWN_WORDS]
    rows = [
        f"<tr><th>{escape(word)}</th><td>"
        + ", ".join(escape(pieces[near].strip()) for near in nearest(vectors, vectors[at], NEAREST, (at, 0, 1, 2, 3)))
        + "</td></tr>"
        for at, word in frequent
    ]
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Nearest neighbours</title><style>'
    style = "body { font: 15px/1.6 system-ui, sans-serif; max-width: 50em; margin: 2em auto } th { text-align: right;"
    return (
        f"{head}{style} padding-right: 1em }}</style></head><body><h1>Nearest neighbours of frequent words, by cosine"
        f"</h1><table>{''.join(rows)}</table></body></html>\n"
    )


def _map(vectors: np.ndarray, preprocessor: TextPreprocessor) -> Figure:
    """Lay frequent words out on a plane, near each other where their embeddings are (van der Maaten & Hinton 2008)."""
    from sklearn.manifold import TSNE

    words = sorted((at, word) for word, at in _words(preprocessor).items())[:DRAWN]
    perplexity = min(30, max(2, len(words) // 4))
    places = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=0).fit_transform(
        vectors[[at for at, _ in words]]
    )
    figure = Figure(figsize=(10, 10), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*places.T, s=4, color="tab:gray")
    for (_, word), place in zip(words, places, strict=True):
        axes.annotate(word, place, fontsize=7)
    axes.set(title="Embeddings of the most frequent words (t-SNE)", xticks=[], yticks=[])
    return figure
