"""The pictures of a run: learning curves for every task, and what the task draws of its answers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipelines.run import Run

if TYPE_CHECKING:
    from pipelines.fit import Fitted

DOTS_PER_INCH = 110


def write_report(run: Run, fitted: "Fitted", examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> None:
    """Draw a run's learning curves and its task's pictures into `report/`."""
    pictures = {"learning_curves": learning_curves(run.history(), fitted.config.training["monitor"])}
    pictures |= fitted.task.pictures(fitted.model, fitted.preprocessor, examples, answers)
    run.report.mkdir(parents=True, exist_ok=True)
    for name, figure in pictures.items():
        if isinstance(figure, str):
            (run.report / f"{name}.html").write_text(figure, encoding="utf-8")
        else:
            figure.savefig(run.report / f"{name}.png", dpi=DOTS_PER_INCH, bbox_inches="tight")


def learning_curves(history: pd.DataFrame, monitor: str) -> Figure:
    """Draw the loss on train and validation, and the metric that the best epoch goes by, over epochs."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(history["epoch"], history["loss"], label="train")
    left.plot(history["epoch"], history["validation.loss"], label="validation")
    left.set(title="Loss", xlabel="epoch", ylabel="loss")
    if (history[["loss", "validation.loss"]] > 0).all(axis=None):
        left.set_yscale("log")
    right.plot(history["epoch"], history[monitor], color="tab:orange", label="validation")
    best = history.loc[history["epoch"] == history["best_epoch"].iloc[-1]]
    right.plot(best["epoch"], best[monitor], "o", color="black", label=f"best: {best[monitor].iloc[0]:,.4g}")
    right.set(title=monitor, xlabel="epoch", ylabel=monitor.removeprefix("validation."))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    return figure
