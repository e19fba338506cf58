"""Draw a comparison: quality against seconds and parameters, and quality over time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogFormatter

from pipelines.comparison.ladder import Ladder
from pipelines.comparison.standings import Standing

COSTS = {"seconds": "training time (seconds)", "parameters": "parameters"}


def pictures(ladder: Ladder, standings: Sequence[Standing], baseline: float) -> dict[str, Figure]:
    """Draw the figures of a comparison, by file name."""
    against = {f"quality_against_{cost}": _against(ladder, standings, baseline, cost) for cost in COSTS}
    return {**against, "quality_over_time": _over_time(ladder, standings, baseline)}


def _against(ladder: Ladder, standings: Sequence[Standing], baseline: float, cost: str) -> Figure:
    """Draw the mean score of each model, with its interval, against the mean of a cost, with its range."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, standing in enumerate(standings):
        costs = np.array([(trial.figures or {})[cost] for trial in ladder.scored(standing.model)])
        mean = standing.mean
        across = np.array([[costs.mean() - costs.min()], [costs.max() - costs.mean()]])
        reach = [[mean.value - mean.low], [mean.high - mean.value]] if np.isfinite(mean.low) else None
        how: dict[str, Any] = {"fmt": "o", "capsize": 3, "color": f"C{number % 10}", "label": standing.model}
        axes.errorbar(costs.mean(), mean.value, yerr=reach, xerr=across, **how)
    _finish(axes, ladder, baseline)
    scores = [score for own in ladder.scores().values() for score in own.values()]
    scores += [baseline] if np.isfinite(baseline) else []
    spread = float(np.ptp(scores)) or abs(scores[0]) or 1.0
    # An interval from two seeds may reach far outside.
    ends = [bound for each in standings for bound in (each.mean.low, each.mean.high)]
    shown = [*scores, *np.clip(ends, min(scores) - spread, max(scores) + spread)]
    axes.set_ylim(min(shown) - 0.1 * spread, max(shown) + 0.1 * spread)
    if min((trial.figures or {})[cost] for trial in ladder.ranked) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 100k and 40, not powers of ten
        axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))
    axes.set(xlabel=COSTS[cost], title=f"Mean and interval over {ladder.plan.seeds} seeds")
    return figure


def _over_time(ladder: Ladder, standings: Sequence[Standing], baseline: float) -> Figure:
    """Draw the best score so far of each run over its training time."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    best_so_far = (np.minimum if ladder.direction == "min" else np.maximum).accumulate
    for number, standing in enumerate(standings):
        for trial in ladder.scored(standing.model):
            history = ladder.run_of(trial).history()
            curve = best_so_far(history[ladder.objective].to_numpy())
            label = standing.model if trial is ladder.scored(standing.model)[0] else None
            marker = "o" if len(curve) == 1 else None
            axes.plot(history["seconds"], curve, color=f"C{number % 10}", alpha=0.7, label=label, marker=marker, ms=4)
    _finish(axes, ladder, baseline)
    axes.set(xlabel=COSTS["seconds"], title="Best so far; one line per seed")
    return figure


def _finish(axes: Any, ladder: Ladder, baseline: float) -> None:
    if np.isfinite(baseline):
        axes.axhline(baseline, color="grey", linestyle=":", label="baseline that ignores the input")
    axes.set_ylabel(ladder.objective)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
