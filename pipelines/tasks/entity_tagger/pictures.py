"""Plots and pages about an entity tagger's predictions, for the report."""

from collections import Counter
from collections.abc import Mapping
from html import escape

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.data.batches import padded
from pipelines.layers.recurrent import gates_of_layers
from pipelines.layers.transformer import encoder_attention
from pipelines.metrics.entity_f1 import Entity, entities, entity_scores
from pipelines.tasks.entity_tagger.preprocessing import SentencePreprocessor
from pipelines.tasks.entity_tagger.sources import TAGS, TOKENS
from pipelines.text.attention_maps import draw_attention
from pipelines.text.gate_maps import draw_gates

KINDS_OF_MISTAKE = 12
SENTENCES_EACH = 4
DRAWN_TOKENS = 16  # largest number of tokens in the plots of attention and gates
COLOURS = ("#cfe8ff", "#ffe3b8", "#d5f2cf", "#f6d0e4", "#e3d8fa", "#fff3a8", "#c8efec", "#f7d2c6")
MISSED = "no entity"
OTHER_BOUNDARIES = "the same type with other boundaries"


def draw_pictures(
    learnt: Mapping[str, list[str]], examples: pd.DataFrame, answers: list[list[str]]
) -> dict[str, Figure | str]:
    """Draw the plots of a split from its predicted tags."""
    tokens, true = examples[TOKENS].tolist(), examples[TAGS].tolist()
    return {
        "f1_by_type": _by_type(true, answers),
        "seen_and_unseen": _by_novelty(set(learnt["entities"]), tokens, true, answers),
        "tag_confusion": _confusion(["O", *learnt["types"]], true, answers),
        "mistakes": mistakes_page(tokens, true, answers),
    }


def draw_inside(
    model: keras.Model, preprocessor: SentencePreprocessor, sentences: pd.Series
) -> dict[str, Figure | str]:
    """Draw the attention of a Transformer, or the gates of a recurrent model, in the longest sentence that fits."""
    lengths = sentences.map(len).to_numpy()
    tokens = sentences.iloc[int(np.argmax(np.where(lengths <= DRAWN_TOKENS, lengths, -lengths)))]
    inputs = padded(preprocessor.inputs({TOKENS: tf.ragged.constant([tokens])}))
    inside: dict[str, Figure | str] = {}
    if maps := encoder_attention(model, inputs):
        inside["attention"] = draw_attention([each[0].numpy() for each in maps], tokens, tokens)
    if layers := gates_of_layers(model, inputs):
        inside["gates"] = draw_gates(layers, tokens)
    return inside


def mistakes_page(tokens: list[list[str]], true: list[list[str]], answers: list[list[str]]) -> str:
    """Return an HTML page of the most frequent kinds of mistake, with example sentences."""
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for number, (words, actual, answered) in enumerate(zip(tokens, true, answers, strict=True)):
        for kind, name in _mistakes(words, entities(actual), entities(answered)):
            found.setdefault(kind, []).append((name, number))
    kinds = sorted({tag[2:] for tags in [*true, *answers] for tag in tags if tag != "O"})
    colours = {kind: COLOURS[at % len(COLOURS)] for at, kind in enumerate(kinds)}
    parts = [
        _HEAD,
        _legend(colours),
        f"<p>{_counted(sum(map(len, found.values())), 'mistake')} in {_counted(len(tokens), 'sentence')}.</p>",
    ]
    for (wanted, given), places in sorted(found.items(), key=lambda item: -len(item[1]))[:KINDS_OF_MISTAKE]:
        names = ", ".join(f"{escape(name)} ({count})" for name, count in Counter(n for n, _ in places).most_common(8))
        times = _counted(len(places), "time")
        parts.append(f"<h2>{escape(wanted)} predicted as {escape(given)}: {times}</h2><p>{names}</p>")
        for number in list(dict.fromkeys(number for _, number in places))[:SENTENCES_EACH]:
            rows = (("true", true[number]), ("predicted", answers[number]))
            parts.append(
                "<table>" + "".join(_row(label, tokens[number], tags, colours) for label, tags in rows) + "</table>"
            )
    return "\n".join([*parts, "</body></html>\n"])


_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mistakes</title><style>
body { font: 15px/1.7 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 0 0 1em } td { vertical-align: top; padding: 0 .8em 0 0 }
td:first-child { color: #777; text-align: right; min-width: 4em } h2 { font-size: 1.05em; margin: 1.6em 0 0 }
mark { padding: .15em .3em; border-radius: .3em; color: inherit }
sub { color: #555; font-size: .7em; margin-left: .3em }
</style></head><body><h1>The most frequent mistakes</h1>"""


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' * (count != 1)}"


def _legend(colours: Mapping[str, str]) -> str:
    return (
        "<p>" + " ".join(f'<mark style="background:{c}">{escape(kind)}</mark>' for kind, c in colours.items()) + "</p>"
    )


def _row(label: str, tokens: list[str], tags: list[str], colours: Mapping[str, str]) -> str:
    pieces, at = [], 0
    for entity in entities(tags):
        pieces += [escape(token) for token in tokens[at : entity.start]]
        name = escape(" ".join(tokens[entity.start : entity.stop]))
        pieces.append(f'<mark style="background:{colours[entity.type]}">{name}<sub>{escape(entity.type)}</sub></mark>')
        at = entity.stop
    pieces += [escape(token) for token in tokens[at:]]
    return f"<tr><td>{label}</td><td>{' '.join(pieces)}</td></tr>"


def _mistakes(tokens: list[str], actual: list[Entity], answered: list[Entity]) -> list[tuple[tuple[str, str], str]]:
    """Match true and predicted entities that differ. Each item is ((true type, predicted type or reason), name)."""
    found = []
    for entity in sorted(set(actual) - set(answered)):
        name = " ".join(tokens[entity.start : entity.stop])
        over = [other for other in answered if other.start < entity.stop and entity.start < other.stop]
        given = MISSED if not over else over[0].type
        found.append(((entity.type, OTHER_BOUNDARIES if given == entity.type else given), name))
    for entity in sorted(set(answered) - set(actual)):
        if not any(other.start < entity.stop and entity.start < other.stop for other in actual):
            found.append(((MISSED, entity.type), " ".join(tokens[entity.start : entity.stop])))
    return found


def _by_type(true: list[list[str]], answers: list[list[str]]) -> Figure:
    scores = entity_scores(true, answers)
    kinds = [name.removesuffix(".f1") for name in scores if name.endswith(".f1")]
    counts = Counter(entity.type for tags in true for entity in entities(tags))
    labels = [f"all ({counts.total():,})", *(f"{kind} ({counts[kind]:,})" for kind in kinds)]
    figure = Figure(figsize=(8, 1.5 + 0.55 * len(labels)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(labels))
    for offset, name in ((-0.27, "precision"), (0.0, "recall"), (0.27, "f1")):
        values = [scores[name], *(scores[f"{kind}.{name}"] for kind in kinds)]
        bars = axes.barh(places + offset, values, height=0.25, label=name)
        if name == "f1":
            axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
    axes.set(yticks=places, yticklabels=labels, xlim=(0, 1.08), title="Whole entities in the test split")
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _by_novelty(known: set[str], tokens: list[list[str]], true: list[list[str]], answers: list[list[str]]) -> Figure:
    """Draw F1 for entities that occur in the training split with the same type, and for all others."""

    def kept(tags: list[list[str]], seen: bool) -> list[list[str]]:
        return [_only(words, row, known, seen) for words, row in zip(tokens, tags, strict=True)]

    groups = {name: (kept(true, seen), kept(answers, seen)) for name, seen in (("seen", True), ("unseen", False))}
    scores = {name: entity_scores(*group) for name, group in groups.items()}
    counts = {name: sum(len(entities(tags)) for tags in group[0]) for name, group in groups.items()}
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(2)
    for offset, name in ((-0.27, "precision"), (0.0, "recall"), (0.27, "f1")):
        bars = axes.bar(places + offset, [scores[group][name] for group in scores], width=0.25, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
    labels = [f"{name} in training\n(entities: {counts[name]:,})" for name in scores]
    axes.set(
        xticks=places,
        xticklabels=labels,
        ylim=(0, 1.1),
        title="Entities seen in training with the same type, and others",
    )
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _only(tokens: list[str], tags: list[str], known: set[str], seen: bool) -> list[str]:
    kept = ["O"] * len(tags)
    for entity in entities(tags):
        name = f"{entity.type} {' '.join(tokens[entity.start : entity.stop]).casefold()}"
        if (name in known) == seen:
            kept[entity.start : entity.stop] = tags[entity.start : entity.stop]
    return kept


def _confusion(kinds: list[str], true: list[list[str]], answers: list[list[str]]) -> Figure:
    rows = {
        kind: at for at, kind in enumerate([*kinds, *sorted({t[2:] for r in true for t in r if t != "O"} - set(kinds))])
    }
    counts = np.zeros((len(rows), len(kinds)), int)
    for actual, answered in zip(true, answers, strict=True):
        for wanted, given in zip(actual, answered, strict=True):
            counts[rows[wanted.partition("-")[2] or "O"], rows[given.partition("-")[2] or "O"]] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(2 + 0.8 * len(kinds), 1.5 + 0.7 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column, row, f"{count:,}", ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black"
        )
    axes.set(xticks=range(len(kinds)), xticklabels=kinds, yticks=range(len(rows)), yticklabels=list(rows))
    axes.set(xlabel="predicted", ylabel="true", title="Tokens by type")
    axes.tick_params(axis="x", rotation=30)
    return figure
