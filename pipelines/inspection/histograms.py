"""Draw what the layers of a model do on a few examples: histograms of their values and of their gradients."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.inspection.layers import SeenLayer, watch_layers
from pipelines.task import evenly_spaced
from pipelines.trained_model import TrainedModel

ROWS = 16  # layers drawn at most
BINS = 60
SEEN = 512  # training examples from which the mini-batch is taken
TINY = 1e-12  # gradients below are drawn as this
NOTHING = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Layers</title></head><body><p>There are no'
    " histograms of the layers: the model has no weights that are trained, so it has no gradients.</p></body></html>\n"
)


def layer_pictures(trained: TrainedModel, train: pd.DataFrame) -> dict[str, Figure | str]:
    """Return the histograms of a trained model's layers over one mini-batch of train, or a page that says why not."""
    drawn = layer_histograms(watch_layers(trained, evenly_spaced(train, SEEN), mini_batches=1).layers)
    return {"layers": NOTHING if drawn is None else drawn}


def layer_histograms(layers: Sequence[SeenLayer]) -> Figure | None:
    """Draw a row of histograms for each layer, from the first to the last; None if no layer has gradients.

    Of many layers, some are drawn, evenly spaced.
    """
    known = [layer for layer in layers if layer.gradients is not None or _bends(layer)]
    if not any(layer.gradients is not None for layer in known):
        return None
    places = np.linspace(0, len(known) - 1, min(ROWS, len(known))).round().astype(int)
    drawn = [known[at] for at in places]
    figure = Figure(figsize=(9, 1.2 + 0.5 * len(drawn)), layout="constrained")
    panels = figure.subplots(len(drawn), 2, squeeze=False, sharex="col")
    sizes = [np.abs(each.gradients) for each in drawn if each.gradients is not None]
    finite = np.concatenate([size[np.isfinite(size)] for size in sizes])
    largest = max(float(finite.max(initial=0.0)), 10 * TINY)
    span = (max(TINY, largest * 1e-8), largest)
    for (left, right), layer in zip(panels, drawn, strict=True):
        left.set_ylabel(layer.name, rotation=0, ha="right", va="center", fontsize=8)
        _draw_values(left, layer)
        _draw_gradients(right, layer, span)
    panels[0, 0].set_title("values after the activation", fontsize=10)
    panels[0, 1].set_title("size of the gradients of the weights", fontsize=10)
    panels[-1, 1].set_xscale("log")
    some = f"{len(drawn)} of {len(known)} layers" if len(drawn) < len(known) else "all layers"
    figure.suptitle(f"Layers while they see a mini-batch of train: {some}, the input first", fontsize=11)
    return figure


def _bends(layer: SeenLayer) -> bool:
    return layer.values is not None and layer.activation != "linear"


def _draw_values(axes: Axes, layer: SeenLayer) -> None:
    axes.set_yticks([])
    if layer.values is None or not _bends(layer):
        _note(axes, "no activation")
        return
    axes.hist(layer.values[np.isfinite(layer.values)].ravel(), BINS, histtype="stepfilled", color="tab:blue")
    told = {"dead": layer.dead, "saturated": layer.saturated}
    shares = [f"{share:.0%} {name}" for name, share in told.items() if share is not None]
    _note(axes, ", ".join([layer.activation, *shares]))


def _draw_gradients(axes: Axes, layer: SeenLayer, span: tuple[float, float]) -> None:
    axes.set_yticks([])
    if layer.gradients is None:
        _note(axes, "no weights")
        return
    sizes = np.abs(layer.gradients[np.isfinite(layer.gradients)])
    axes.hist(np.clip(sizes, *span), np.geomspace(*span, BINS).tolist(), histtype="stepfilled", color="tab:orange")
    zero = float(np.mean(layer.gradients == 0))
    _note(axes, f"rms {layer.gradient:.1e}" + (f", {zero:.0%} zero" if zero else ""), at=0.01)


def _note(axes: Axes, text: str, at: float = 0.99) -> None:
    side = "right" if at > 0.5 else "left"  # values pile up at 0, on the left, and gradients on the right
    axes.text(at, 0.9, text, transform=axes.transAxes, ha=side, va="top", fontsize=7, color="dimgrey")
