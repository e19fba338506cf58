"""Write the results of a search: a table of its trials, its best config, HParams logs and figures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipelines.config.tune_nodes import Range, TuneNode
from pipelines.errors import counted
from pipelines.pages.search_page import write_search_page
from pipelines.report import glyphs_missed, write_pictures
from pipelines.storage import write_text, writing
from pipelines.tuning.journal import Trial
from pipelines.tuning.search import Search

FOREST = {"n_estimators": 200, "random_state": 0}
LEAST_FOR_IMPORTANCE = 8  # trials; with fewer, a random forest tells nothing


def trials_table(search: Search) -> pd.DataFrame:
    """Return a table of the trials: values, score, metrics of the best epoch, seconds and failures."""
    rows = []
    for trial in search.trials:
        figures = {name: value for name, value in (trial.figures or {}).items() if name != search.objective}
        row = {"trial": trial.number, **trial.values, search.objective: trial.score, "seconds": trial.seconds}
        more = {"until_epoch": trial.until_epoch, "goes_on": trial.goes_on, "repeats": trial.repeats}
        rows.append({**row, **more, "failed": trial.reason, **{f"best epoch {k}": v for k, v in figures.items()}})
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def write_results(search: Search) -> None:
    """Write `trials.csv`, the page and, if any trial has a score, `best.yaml`, HParams logs and figures."""
    folder, table = search.folder, trials_table(search)
    write_text(folder.table, table.to_csv(index=False))
    if search.ranked:
        _write_best(search)
    write_search_page(search, table)


def _write_best(search: Search) -> None:
    folder = search.folder
    write_text(folder.best, search.space.config(search.ranked[0].values).to_yaml())
    with writing(folder.logs):
        _write_hparams(search)
    with glyphs_missed():
        write_pictures(folder.report, pictures(search))


def pictures(search: Search) -> dict[str, Figure]:
    """Draw figures of a search: the objective over time, values against scores, and the importance of values."""
    scored = [trial for trial in search.trials if trial.score is not None]
    drawn = {"objective": _objective(search, scored), "parallel_coordinates": _parallel(search, scored)}
    if len(scored) >= LEAST_FOR_IMPORTANCE:
        drawn["importance"] = _importance(search, scored)
    if "batches.size" in search.space.nodes:
        drawn["batch_size"] = _batch_size(search, scored)
    return drawn


def _objective(search: Search, scored: list[Trial]) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    minutes = np.cumsum([trial.seconds for trial in scored]) / 60
    scores = np.array([trial.score for trial in scored])
    best = (np.minimum if search.direction == "min" else np.maximum).accumulate(scores)
    axes.plot(minutes, scores, "o", alpha=0.6, label="trial")
    axes.step(minutes, best, where="post", color="black", label=f"best: {best[-1]:,.4g}")
    low, high = np.quantile(scores, [0, 1]) if search.direction == "max" else np.quantile(scores, [0, 0.9])
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    axes.set(
        xlabel="training time of all trials (minutes)", ylabel=search.objective, ylim=(low - margin, high + margin)
    )
    outside = int((scores > high).sum())
    axes.set(title=counted(len(scored), "trial") + (f" ({outside} above the plot)" if outside else ""))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _parallel(search: Search, scored: list[Trial]) -> Figure:
    """Draw each trial as a line through its values; better trials are darker."""
    paths = list(search.space.nodes)
    figure = Figure(figsize=(3 + 2 * len(paths), 5), layout="constrained")
    axes = figure.subplots()
    scores = pd.Series([trial.score for trial in scored])
    quality = scores.rank(pct=True, ascending=search.direction == "max")
    for trial, good in sorted(zip(scored, quality, strict=True), key=lambda pair: pair[1]):
        heights = [_height(search.space.nodes[path], trial.values.get(path)) for path in paths]
        heights.append(float(quality[scored.index(trial)]))
        axes.plot(
            range(len(heights)), heights, color=_colour(good), alpha=0.25 + 0.75 * good, linewidth=0.8 + 1.6 * good
        )
    for place, path in enumerate(paths):
        for height, text in _ticks(search.space.nodes[path]):
            axes.text(place, height, f" {text}", fontsize=8, va="center")
        axes.axvline(place, color="grey", linewidth=0.8)
    axes.axvline(len(paths), color="black", linewidth=0.8)
    best, worst = (scores.min(), scores.max()) if search.direction == "min" else (scores.max(), scores.min())
    axes.text(len(paths), 1, f" best {best:,.4g}", fontsize=8)
    axes.text(len(paths), quality.min(), f" worst {worst:,.4g}", fontsize=8)
    axes.set(
        xticks=range(len(paths) + 1), xticklabels=[*(p.replace(".", ".\n") for p in paths), search.objective], yticks=[]
    )
    title = "Values of each trial and its rank by the objective"
    axes.set(title=title, xlim=(-0.1, len(paths) + 0.5), ylim=(-0.03, 1.05))
    axes.spines[:].set_visible(False)
    return figure


def _importance(search: Search, scored: list[Trial]) -> Figure:
    """Draw the permutation importance of each value for the objective (Breiman 2001).

    It is how much the R2 of a random forest, which predicts the rank of a trial, falls when the value is shuffled.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    paths = list(search.space.nodes)
    heights = [[_height(search.space.nodes[path], trial.values.get(path)) for path in paths] for trial in scored]
    table = np.nan_to_num(np.array(heights, float), nan=-1.0)
    ranks = pd.Series([trial.score for trial in scored]).rank().to_numpy()  # else one diverged trial would dominate
    forest = RandomForestRegressor(**FOREST).fit(table, ranks)
    importance = permutation_importance(forest, table, ranks, n_repeats=20, random_state=0)
    order = np.argsort(importance.importances_mean)
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(paths)), layout="constrained")
    axes = figure.subplots()
    bars = {"width": importance.importances_mean[order], "xerr": importance.importances_std[order]}
    axes.barh([paths[at] for at in order], **bars)
    axes.set(xlabel="decrease of R2 when the value is shuffled", title=f"Importance for the rank by {search.objective}")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _batch_size(search: Search, scored: list[Trial]) -> Figure:
    """Draw the validation loss of each batch size's best trial over epochs and over seconds."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    sizes = {str(trial.values["batches.size"]) for trial in scored if "batches.size" in trial.values}
    for size in sorted(sizes, key=lambda text: (not text.isdigit(), text.zfill(9))):
        same = [trial for trial in scored if str(trial.values.get("batches.size")) == size]
        best = min(same, key=search.rank)
        history = search.folder.trial(best.number if best.repeats is None else best.repeats).history()
        for axes, along in zip(panels, ("epoch", "seconds"), strict=True):
            axes.plot(history[along], history["validation.loss"], label=f"{size} (trial {best.number})")
    for axes, along in zip(panels, ("epoch", "training time (seconds)"), strict=True):
        axes.set(xlabel=along, ylabel="validation loss")
        axes.grid(alpha=0.3)
    panels[0].set_title("Best trial of each batch size")
    panels[1].legend(title="batch size", fontsize=8)
    return figure


def _height(node: TuneNode, value: Any) -> float:
    """Return the position of a value on its axis, between 0 and 1; NaN if the trial has no value."""
    if value is None:
        return float("nan")
    if not isinstance(node.tune, Range):
        return node.tune.index(value) / max(1, len(node.tune) - 1)
    scale = np.log if node.tune.sampling == "log" else float
    low, high = scale(node.tune.min), scale(node.tune.max)
    return float((scale(value) - low) / (high - low))


def _ticks(node: TuneNode) -> list[tuple[float, str]]:
    if not isinstance(node.tune, Range):
        return [(_height(node, value), str(value)) for value in node.tune]
    return [(0.0, f"{node.tune.min:g}"), (1.0, f"{node.tune.max:g}")]


def _colour(good: float) -> tuple[float, float, float]:
    return (0.85 - 0.75 * good, 0.85 - 0.55 * good, 0.88 - 0.25 * good)


def _write_hparams(search: Search) -> None:
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    for trial in search.trials:
        if trial.score is None or trial.repeats is not None:
            continue
        values: Mapping[str, Any] = {path: _plain(value) for path, value in trial.values.items()}
        with tf.summary.create_file_writer(str(search.folder.logs / f"{trial.number:04}")).as_default():
            api.hparams(values, trial_id=f"{trial.number:04}")
            tf.summary.scalar(search.objective, trial.score, step=trial.until_epoch or search.epochs)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
