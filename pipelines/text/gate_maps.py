"""Plots of the gates of recurrent layers while they read a text, for any task with recurrent models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pipelines.text.attention_maps import name_ticks

PANEL_INCHES = (4.6, 1.9)
LAYERS = 4  # drawn at most, evenly spaced
UNITS = 32  # drawn of each layer at most, evenly spaced in their order


def draw_gates(layers: Mapping[str, Mapping[str, Any]], tokens: Sequence[str]) -> Figure:
    """Draw a grid of heat maps, one column per layer and one row per gate.

    `layers` holds the gates of each layer by name, and its output, `state`; each (1, T, units). `tokens` are the texts
    of the T tokens. In a map, each row is a unit: those that keep their state longest are at the top.
    """
    layers = {name: {gate: np.asarray(each)[0] for gate, each in own.items()} for name, own in layers.items()}
    names = [list(layers)[at] for at in np.linspace(0, len(layers) - 1, min(LAYERS, len(layers))).round().astype(int)]
    rows = list(layers[names[0]])
    units = layers[names[0]][rows[0]].shape[1]
    wide, high = PANEL_INCHES
    figure = Figure(figsize=(wide * len(names) + 1, high * len(rows) + 1), layout="constrained")
    panels = figure.subplots(len(rows), len(names), squeeze=False, sharex=True)
    for column, name in enumerate(names):
        order = _slowest_first(layers[name])
        for row, gate in enumerate(rows):
            axes, signed = panels[row, column], gate == "state"
            colours = {"cmap": "PuOr", "vmin": -1} if signed else {"cmap": "viridis", "vmin": 0}
            shown = axes.imshow(layers[name][gate][:, order].T, aspect="auto", vmax=1, **colours)
            axes.set_yticks([])
            axes.tick_params(length=0)
            axes.set_title(name if row == 0 else "", fontsize=10)
            axes.set_ylabel(_title(gate) if column == 0 else "", fontsize=9)
            if column == len(names) - 1:
                figure.colorbar(shown, ax=axes, ticks=[-1, 0, 1] if signed else [0, 1], fraction=0.03)
        name_ticks(panels[-1, column].xaxis, tokens)
    some = f" ({len(order)} of {units})" if len(order) < units else ""
    figure.suptitle(
        f"Gates while a text is read: a row is a unit{some}, those at the top keep their state longest", fontsize=11
    )
    return figure


def _title(gate: str) -> str:
    return "state" if gate == "state" else f"{gate} gate"


def _slowest_first(gates: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the units to draw, ordered by the share of the state that they keep."""
    kept = gates["forget"] if "forget" in gates else 1 - gates["update"]
    order = np.argsort(-kept.mean(axis=0), kind="stable")
    return order[np.linspace(0, len(order) - 1, min(UNITS, len(order))).round().astype(int)]
