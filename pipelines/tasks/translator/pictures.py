"""Plots and pages about a translator, for the report: BLEU by length, translations, attention and gates."""

from collections.abc import Iterable, Mapping
from html import escape

import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure
from sacrebleu.metrics import BLEU, CHRF

from pipelines.data.batches import padded
from pipelines.data.pairs.languages import parts_words
from pipelines.data.pairs.read import SOURCE, TARGET
from pipelines.layers.recurrent import gates_of_layers
from pipelines.tasks.translator.preprocessing import PairPreprocessor
from pipelines.tasks.translator.recurrent import RecurrentTranslator
from pipelines.tasks.translator.scores import choose_tokens, signatures
from pipelines.tasks.translator.searching import look
from pipelines.tasks.translator.transformers import TransformerTranslator
from pipelines.tasks.translator.translation import Translator
from pipelines.text.attention_maps import draw_attention
from pipelines.text.gate_maps import draw_gates

BINS = (
    0,
    3,
    6,
    10,
    15,
    20,
    30,
    50,
)  # lower bounds of the source length, in words, or in characters for languages without spaces
SHOWN = 50  # sentences per page
DRAWN_TOKENS = 16  # largest number of source tokens in the attention plot


def draw_pictures(
    model: Translator, preprocessor: PairPreprocessor, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> dict[str, Figure | str]:
    """Draw the plots of a split from its translations."""
    table = examples.assign(translation=[text.decode() for text in answers["translation"]])
    alike = CHRF()
    each = zip(table["translation"], table[TARGET], strict=True)
    table["chrf"] = [alike.sentence_score(own, [right]).score for own, right in each]
    worst = table.sort_values("chrf", kind="stable").head(SHOWN)
    pictures: dict[str, Figure | str] = {
        "bleu_by_length": draw_bleu_by_length(table),
        "translations": _page("Translations and references", table.head(SHOWN)),
        "worst_translations": _page("Translations with the lowest chrF", worst),
    }
    ids = _shown_source(preprocessor, table)
    keys = [preprocessor.tokenizers[SOURCE].pieces[at] for at in ids[0].numpy()]
    if attention := _attention(model, preprocessor, ids):
        pictures["attention"] = attention
    if isinstance(model, TransformerTranslator) and (maps := model.encoder_attention(ids)):
        pictures["encoder_attention"] = draw_attention([each[0].numpy() for each in maps], keys, keys)
    if isinstance(model, RecurrentTranslator) and (layers := gates_of_layers(model.encoder, ids)):
        pictures["encoder_gates"] = draw_gates(layers, keys)
    return pictures


def draw_bleu_by_length(table: pd.DataFrame) -> Figure:
    """Draw the BLEU of sentences of similar length, with the number of sentences."""
    words = parts_words(table[SOURCE].tolist())
    place = np.digitize((table[SOURCE].str.split() if words else table[SOURCE]).map(len), BINS) - 1
    tokens = choose_tokens(table[TARGET].tolist())
    names, scores = [], []
    for at in np.unique(place):
        part = table[place == at]
        until = f"-{BINS[at + 1] - 1}" if at + 1 < len(BINS) else "+"
        names.append(f"{BINS[at]}{until}\n({len(part)})")
        # With effective order, a group without four-word sentences can score: only shorter n-grams count. Otherwise
        # even perfect translations would have a BLEU of zero.
        bleu = BLEU(effective_order=True, tokenize=tokens)
        scores.append(bleu.corpus_score(part["translation"].tolist(), [part[TARGET].tolist()]).score)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.bar_label(axes.bar(names, scores), fmt="%.1f")
    unit = "words" if words else "characters"
    axes.set(
        title="BLEU by source length, test split",
        xlabel=f"{unit} in the source (number of sentences)",
        ylabel="BLEU (effective order)",
    )
    axes.margins(y=0.12)
    return figure


def _page(title: str, table: pd.DataFrame) -> str:
    """Return an HTML page of sentences with their translations and references."""
    rows = "".join(_row(row) for row in table[[SOURCE, "translation", TARGET, "chrf"]].itertuples(index=False))
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>'
    style = "body { font: 15px/1.5 system-ui, sans-serif; max-width: 80em; margin: 2em auto } th { text-align: left }"
    cells = "th, td { vertical-align: top; padding: 0.3em 1em 0.3em 0; border-bottom: 1px solid #ddd }"
    heads = "<tr><th>source</th><th>translation</th><th>reference</th><th>chrF</th></tr>"
    used = signatures(table[TARGET].tolist())
    how = escape("; ".join(f"{name}: {signature}" for name, signature in used.items()))
    return (
        f"{head}{style} {cells}</style></head><body><h1>{title}</h1><table>{heads}{rows}</table><p>Metrics: {how}</p>"
        "</body></html>\n"
    )


def _row(cells: Iterable) -> str:
    *texts, score = cells
    return f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in texts)}<td>{score:.1f}</td></tr>"


def _shown_source(preprocessor: PairPreprocessor, table: pd.DataFrame) -> tf.Tensor:
    """Return the tokens (1, S) of the longest sentence that fits into a plot."""
    ids = preprocessor.encode(SOURCE, tf.constant(table[SOURCE].tolist()))
    lengths = ids.row_lengths().numpy()
    at = int(np.argmax(np.where(lengths <= DRAWN_TOKENS, lengths, -lengths)))
    return padded(ids[at : at + 1])


def _attention(model: Translator, preprocessor: PairPreprocessor, source: tf.Tensor) -> Figure | None:
    """Draw the attention of each layer and head to a source."""
    found = {name: value.numpy()[0] for name, value in look(model, preprocessor, source).items()}
    if not len(found["weights"]):
        return None
    queries, keys = ([name.decode() for name in found[side] if name] for side in ("queries", "keys"))
    return draw_attention(found["weights"][:, :, : len(queries), : len(keys)], queries, keys)
