"""Write the report of a run: learning curves and the task's own figures."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names

from pipelines.errors import counted
from pipelines.runs.run import Run
from pipelines.storage import write_text, write_whole
from pipelines.trained_model import TrainedModel

DOTS_PER_INCH = 110
# Matplotlib's warnings about a missing glyph and about a script that it cannot lay out.
GLYPH = re.compile(r"Glyph \d+ \((.+?)\) missing|Matplotlib currently does not support (\w+)")
SHOWN_SIGNS = 3
# Fallback fonts for scripts that Matplotlib's own font lacks. Only those installed are used.
MORE_FONTS = ("Noto Sans CJK JP", "WenQuanYi Micro Hei", "Hiragino Sans", "Microsoft YaHei", "Arial Unicode MS")


def write_report(
    run: Run,
    trained: TrainedModel,
    examples: pd.DataFrame,
    answers: Mapping[str, np.ndarray],
    validation: pd.DataFrame,
    more: Mapping[str, Figure | str] | None = None,
) -> list[str]:
    """Write the learning curves and the task's figures to `report/`; return a warning if glyphs are missing.

    `examples` and `answers` are those of the test split. `more` figures are drawn beside them.

    Raises:
        UserError: If a file cannot be written.
    """
    curves = dict.fromkeys(
        [trained.config.training["monitor"], *(f"validation.{name}" for name in trained.task.curves)]
    )
    with glyphs_missed() as missed:
        pictures: dict[str, Figure | str] = {}
        pictures["learning_curves"] = learning_curves(run.history(), list(curves), run.trivial())
        if samples := run.samples():
            pictures["samples"] = samples_page(samples)
        pictures |= more or {}
        pictures |= trained.task.pictures(trained.model, trained.preprocessor, examples, answers)
        pictures |= trained.task.validation_pictures(
            trained.model, trained.preprocessor, validation, trained.answerer.answer_table, trained.config.seed
        )
        if len(by_class := trained.task.metrics_by_class(examples, answers)):
            pictures["by_class"] = by_class_page(by_class)
        write_pictures(run.report, pictures)
    if not missed:
        return []
    shown = ", ".join(sorted(missed)[:SHOWN_SIGNS])
    count = counted(len(missed), "character")
    return [f"no installed font has {count} of the figures ({shown}); install one that does, such as Noto Sans CJK"]


def write_pictures(folder: Path, pictures: Mapping[str, Figure | str]) -> None:
    """Write figures as PNG files and pages as HTML files, named by their keys.

    Raises:
        UserError: If a file cannot be written.
    """
    for name, picture in pictures.items():
        if isinstance(picture, str):
            write_text(folder / f"{name}.html", picture)
        else:
            write_whole(folder / f"{name}.png", partial(picture.savefig, dpi=DOTS_PER_INCH, bbox_inches="tight"))


@contextmanager
def glyphs_missed() -> Iterator[set[str]]:
    """Use all installed fallback fonts, and collect the glyphs that Matplotlib warns are missing."""
    families = ["sans-serif", *(each for each in MORE_FONTS if each in get_font_names())]
    missed: set[str] = set()
    with warnings.catch_warnings(record=True) as caught, matplotlib.rc_context({"font.family": families}):
        warnings.simplefilter("always")
        yield missed
    told: dict = {}
    for warning in caught:
        if found := GLYPH.match(str(warning.message)):
            missed.add(found[1] or found[2])
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno, registry=told)


def learning_curves(history: pd.DataFrame, metrics: Sequence[str], trivial: Mapping[str, float]) -> Figure:
    """Plot the training and validation loss and the validation metrics over epochs.

    `metrics` starts with the monitored metric, which decides the best epoch. `trivial` holds the baseline metrics.
    """
    # The first panel shows the loss, so it gets no second panel.
    shown = [metric for metric in metrics if metric != "validation.loss"] or list(metrics)
    figure = Figure(figsize=(5.5 * (1 + len(shown)), 4), layout="constrained")
    panels = figure.subplots(1, 1 + len(shown))
    panels[0].plot(history["epoch"], history["loss"], label="train")
    panels[0].plot(history["epoch"], history["validation.loss"], label="validation")
    panels[0].set(title="Loss", xlabel="epoch", ylabel="loss")
    if (history[["loss", "validation.loss"]] > 0).all(axis=None):
        panels[0].set_yscale("log")
    best = history.loc[history["epoch"] == history["best_epoch"].iloc[-1]]
    for axes, metric in zip(panels[1:], shown, strict=True):
        axes.plot(history["epoch"], history[metric], color="tab:orange", label="validation")
        axes.plot(best["epoch"], best[metric], "o", color="black", label=f"best epoch: {best[metric].iloc[0]:,.4g}")
        if np.isfinite(level := trivial.get(metric.removeprefix("validation."), np.nan)):
            axes.axhline(level, color="grey", linestyle=":", label=f"baseline: {level:,.4g}")
        axes.set(title=metric, xlabel="epoch", ylabel=metric.removeprefix("validation."))
    for axes in panels:
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    return figure


def by_class_page(figures: pd.DataFrame) -> str:
    """Return the metrics of each class as a self-contained HTML page."""
    shown = figures.sort_values("count", ascending=False).to_html(float_format="{:.4g}".format, border=0)
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Classes</title><style>'
    style = "body { font: 15px/1.5 system-ui, sans-serif; margin: 2em } th, td { text-align: right; padding: 0 1em }"
    return f"{head}{style}</style></head><body><h1>Metrics of each class in the test split</h1>{shown}</body></html>\n"


def samples_page(kept: Sequence[Mapping[str, Any]]) -> str:
    """Return the sample predictions of several epochs as a self-contained HTML page."""
    parts = []
    for number, first in enumerate(kept[0]["samples"]):
        rows = "".join(
            f"<tr><th>{each['epoch']}</th>{''.join(map(_cell, each['samples'][number]['answer'].values()))}</tr>"
            for each in kept
        )
        heads = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in first["answer"])
        asked = "".join(map(_cell, first["input"].values()))
        parts.append(f"<table><tr><th></th>{asked}</tr></table><table><tr><th>epoch</th>{heads}</tr>{rows}</table>")
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Samples</title><style>'
    style = "body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto } table { margin: 1em 0 }"
    cells = (
        "th { text-align: left } th, td { vertical-align: top; padding: 0.3em 1em 0.3em 0 } td { white-space: pre-wrap;"
    )
    return (
        f"{head}{style} {cells} font-family: monospace }}</style></head><body><h1>Predictions for validation examples"
        f" during training</h1>{''.join(parts)}</body></html>\n"
    )


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        value = "\n".join(f"{name!r} {each}" for name, each in value.items())
    return f"<td>{escape(str(value))}</td>"
