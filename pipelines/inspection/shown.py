"""Print a model's layers and an example on its way into it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from pipelines.commands.inspect import SHOWN, Given, Inspection
from pipelines.terminal import short_value, shortened, table, visible

CELL, EXAMPLE = 60, 400  # characters
ROWS = 40  # rows of a step


def print_inspection(found: Inspection) -> None:
    """Print the layers, the raw example, and what preprocessing makes of it."""
    console, costs = Console(), found.costs
    rows = [
        [each.name, " ".join(_shape(shape[1:]) for shape in each.shapes), *_counts(each.parameters, each.multiply_adds)]
        for each in costs.layers
    ]
    rows.append(["all", "", *_counts(costs.parameters, costs.multiply_adds)])
    console.print(table(["layer", "output", "parameters", "multiply-adds"], rows, f"{found.task}: {found.model}"))
    if costs.trainable < costs.parameters:
        console.print(f"{costs.trainable:,} of the parameters are trained")
    given = ", ".join(f"{name} {_cell(value)}" for name, value in found.example.items())
    console.print(visible(f"example: {shortened(given, EXAMPLE)}"), markup=False, highlight=False)
    for name, step in found.steps.items():
        shown = [[_cell(value) for value in row.values()] for row in step[:ROWS]]
        console.print(table(list(step[0]) if step else [], shown, name))
        if len(step) > ROWS:
            console.print(f"... and {len(step) - ROWS:,} more")
    console.print(table(["tensor", "shape", "type", "values"], list(_tensors(found.tensors)), "given to the model"))


def _counts(*counts: int) -> list[str]:
    return [f"{count:,}" if count else "" for count in counts]


def _tensors(tensors: Mapping[str, Given]) -> Iterator[list[str]]:
    for name, each in tensors.items():
        more = " ..." if math.prod(each.shape) > SHOWN else ""
        yield [name, _shape(each.shape), each.dtype, f"{', '.join(map(short_value, each.values))}{more}"]


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _cell(value: Any) -> str:
    return "missing" if value is None else shortened(repr(value) if _blank(value) else short_value(value), CELL)


def _blank(value: Any) -> bool:
    """Whether a text could not be seen, or not seen to its end."""
    return isinstance(value, str) and value != value.strip()
