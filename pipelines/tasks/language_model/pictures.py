"""Plots and pages about a language model, for the report: loss against n-grams, embeddings, attention and gates."""

from collections.abc import Callable, Mapping
from html import escape

import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.tasks.language_model.kneser_ney import count_ngrams, label_probabilities
from pipelines.tasks.language_model.networks import LanguageModel
from pipelines.tasks.language_model.preprocessing import TextPreprocessor
from pipelines.tasks.language_model.sources import TEXT
from pipelines.text.attention_maps import draw_attention
from pipelines.text.gate_maps import draw_gates
from pipelines.text.sampling import GenerativeModel

ORDERS = {"byte": 6, "character": 6, "word": 3, "subword": 3, "token": 3}  # higher orders improve little
COUNTED = 5_000_000  # tokens of train that are counted
NEAREST, SHOWN_WORDS, DRAWN, ATTENDED = 6, 40, 300, 32
ANALOGIES = (  # a, b, c, d: a is to b as c is to d (Mikolov et al. 2013)
    ("is", "are", "was", "were"),
    ("has", "have", "does", "do"),
    ("he", "him", "she", "her"),
    ("man", "woman", "king", "queen"),
    ("good", "better", "great", "greater"),
    ("one", "two", "first", "second"),
    ("call", "called", "use", "used"),
    ("use", "using", "call", "calling"),
    ("return", "returns", "raise", "raises"),
    ("object", "objects", "method", "methods"),
    ("name", "names", "value", "values"),
    ("class", "classes", "function", "functions"),
)


def draw_pictures(
    model: GenerativeModel, preprocessor: TextPreprocessor, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> dict[str, Figure | str]:
    """Draw the plots of a split from its scores."""
    pictures: dict[str, Figure | str] = {"loss_vs_ngrams": _loss_vs_ngrams(preprocessor, examples, answers)}
    if not isinstance(model, LanguageModel):  # an n-gram model has nothing else to show
        return pictures
    if preprocessor.level in ("word", "subword", "token"):
        vectors = model.embedding.get_weights()[0]
        pictures |= {"embeddings": _map(vectors, preprocessor), "neighbours": _neighbours(vectors, preprocessor)}
    line = max(
        str(examples[TEXT].iloc[0]).splitlines(), key=len
    ).strip()  # the longest line, so that it contains words and not only indentation
    ids = preprocessor.tokenizer.encode(tf.constant([line]))[:, :ATTENDED].to_tensor()
    ids = ids[:, : preprocessor.context]
    names = [preprocessor.tokenizer.pieces[at] for at in ids[0].numpy()]
    if maps := model.attention(ids):
        pictures["attention"] = draw_attention([each[0].numpy() for each in maps], names, names)
    if layers := model.gates(ids):
        pictures["gates"] = draw_gates(layers, names)
    return pictures


def _loss_vs_ngrams(
    preprocessor: TextPreprocessor, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> Figure:
    """Compare the loss with that of Kneser-Ney models of the same training text, on the same tokens."""
    train, tokens = preprocessor.features.train_ids()[:COUNTED], preprocessor.tokenizer.size
    rows = [row.numpy() for row in preprocessor.tokenizer.encode(tf.constant([str(text) for text in examples[TEXT]]))]
    names, losses = [], []
    for order in range(1, ORDERS[preprocessor.level] + 1):
        levels = count_ngrams(
            np.asarray(train), order, tokens
        )  # counted again for each order: only the longest n-grams have their plain frequency
        nats = [-np.log(label_probabilities(levels, row)[1:]).sum() for row in rows]
        names.append(f"{order}-gram")
        losses.append(np.sum(nats) / max(sum(len(row) - 1 for row in rows), 1))
    own = float(answers["nats"].sum() / max(answers["tokens"].sum(), 1))
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar([*names, "this model"], [*losses, own], color=[*["tab:gray"] * len(names), "tab:blue"])
    axes.bar_label(bars, fmt="%.3f")
    axes.set(title="Test loss, compared with Kneser-Ney models of the same training text", ylabel="nats per token")
    axes.margins(y=0.12)
    return figure


def nearest(vectors: np.ndarray, wanted: np.ndarray, count: int, without: tuple[int, ...]) -> list[int]:
    """Return the rows of `vectors` (V, D) with the highest cosine similarity to `wanted` (D,), except `without`."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted)
    cosines = vectors @ wanted / np.maximum(lengths, 1e-9)
    cosines[list(without)] = -np.inf
    return np.argsort(-cosines)[:count].tolist()


def _words(preprocessor: TextPreprocessor) -> dict[str, int]:
    """Return the ids of whole words, most frequent first."""
    pieces = preprocessor.tokenizer.pieces
    return {piece.strip(): at for at, piece in reversed(list(enumerate(pieces))) if piece.strip().isalpha() and at > 3}


def _neighbours(vectors: np.ndarray, preprocessor: TextPreprocessor) -> str:
    """Return an HTML page of the nearest neighbours of frequent words and of analogies."""
    ids, pieces = _words(preprocessor), preprocessor.tokenizer.pieces
    frequent = sorted((at, word) for word, at in ids.items() if len(word) > 2)[:SHOWN_WORDS]

    def row(asked: str, wanted: np.ndarray, without: tuple[int, ...], more: str = "") -> str:
        found = ", ".join(escape(pieces[near].strip()) for near in nearest(vectors, wanted, NEAREST, without))
        return f"<tr><th>{escape(asked)}</th><td>{found}</td>{more}</tr>"

    near = [row(word, vectors[at], (at, *range(4))) for at, word in frequent]
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Nearest neighbours</title><style>'
    style = "body { font: 15px/1.6 system-ui, sans-serif; max-width: 60em; margin: 2em auto } th { text-align: right;"
    return (
        f"{head}{style} padding-right: 1em; font-weight: 600 }} td + td {{ padding-left: 1em; color: #777 }}</style>"
        "</head><body><h1>Nearest neighbours of frequent words, by cosine similarity</h1>"
        f"<table>{''.join(near)}</table>"
        f"{_analogies(vectors, ids, row)}</body></html>\n"
    )


def _analogies(vectors: np.ndarray, ids: Mapping[str, int], row: Callable[..., str]) -> str:
    """Return an HTML table of analogies: the tokens nearest to b - a + c, except a, b and c."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-9)
    rows = []
    for *given, expected in ANALOGIES:
        if all(word in ids for word in given):
            a, b, c = (ids[word] for word in given)
            asked = "{} is to {} as {} is to".format(*given)
            rows.append(row(asked, unit[b] - unit[a] + unit[c], (a, b, c, *range(4)), f"<td>{expected}?</td>"))
    return f"<h1>Analogies</h1><table>{''.join(rows)}</table>" if rows else ""


def _map(vectors: np.ndarray, preprocessor: TextPreprocessor) -> Figure:
    """Draw frequent words in two dimensions with t-SNE of their embeddings (van der Maaten & Hinton 2008)."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    words = sorted((at, word) for word, at in _words(preprocessor).items())[:DRAWN]
    perplexity = min(30, max(2, len(words) // 4))
    sought = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=0)
    with threadpool_limits(1):  # threads synchronize at every step, which takes minutes on busy cores
        places = sought.fit_transform(vectors[[at for at, _ in words]])
    figure = Figure(figsize=(10, 10), layout="constrained")
    axes = figure.subplots()
    axes.scatter(places[:, 0], places[:, 1], s=4, color="tab:gray")
    for (_, word), place in zip(words, places, strict=True):
        axes.annotate(word, place, fontsize=7)
    axes.set(title="Embeddings of the most frequent words (t-SNE)", xticks=[], yticks=[])
    return figure
