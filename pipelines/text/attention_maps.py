"""Plots of attention weights, for any task with attention."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure

PANEL_INCHES = 3.4
LABELLED = 48  # maximum number of tokens per axis that get tick labels


def draw_attention(weights: Sequence[np.ndarray], queries: Sequence[str], keys: Sequence[str]) -> Figure:
    """Draw a grid of attention maps, one row per layer and one column per head.

    `weights` holds one array (H, T, S) per layer. `queries` and `keys` are the texts of the T and S tokens. In a map,
    each row is a query token; white is weight 0 and dark is weight 1.
    """
    heads = weights[0].shape[0]
    figure = Figure(figsize=(PANEL_INCHES * heads, PANEL_INCHES * len(weights)), layout="constrained")
    panels = figure.subplots(len(weights), heads, squeeze=False)
    for layer, (maps, row) in enumerate(zip(weights, panels, strict=True), 1):
        for head, (each, axes) in enumerate(zip(maps, row, strict=True), 1):
            axes.imshow(each, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_title(f"layer {layer}, head {head}", fontsize=9)
            name_ticks(axes.xaxis, keys if layer == len(weights) else ())
            name_ticks(axes.yaxis, queries if head == 1 else ())
    figure.suptitle("Attention: each row is a token, each column a token that it attends to")
    return figure


def name_ticks(axis: XAxis | YAxis, names: Sequence[str]) -> None:
    """Label an axis with tokens, if there is room for them."""
    shown = names if len(names) <= LABELLED else ()
    size = min(8, 200 / max(len(shown), 1))
    axis.set_ticks(range(len(shown)), [_visible(name).replace("$", r"\$") for name in shown], fontsize=size)
    axis.set_tick_params(
        length=0, labelrotation=90 if axis.axis_name == "x" and max(map(len, shown), default=0) > 1 else 0
    )


def _visible(name: str) -> str:
    """Replace spaces and line ends with visible symbols."""
    for blank in " \u00a0\u202f":  # the last two are no-break spaces, which are common in French numbers
        name = name.replace(blank, "\u2423")
    return name.replace("\n", "\u21b5")


def write_attention(weights: Iterable[Iterable[float]], queries: Sequence[str], keys: Sequence[str]) -> str:
    """Return an attention map (T, S) as text for a terminal; darker block characters mean more weight."""
    names, heads = [_visible(name) for name in queries], [_visible(name) for name in keys]
    wide = max(map(len, names), default=0)
    rows = [
        f"{name:>{wide}}  " + " ".join(_shade(share) * len(head) for share, head in zip(row, heads, strict=True))
        for name, row in zip(names, weights, strict=True)
    ]
    return "\n".join([" " * wide + "  " + " ".join(heads), *rows])


def _shade(share: float) -> str:
    return " \u2591\u2592\u2593\u2588"[int(np.digitize(share, [0.05, 0.2, 0.4, 0.7]))]
