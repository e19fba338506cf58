"""What a person should know of the data before a model is trained on it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

FEW = 5  # training examples of a class: fewer teach next to nothing
RARE = 1 / 20  # of the most frequent class: one that is rarer may never be answered
NAMED = 12  # classes, or columns of a kind, that are named on the screen


@dataclass(frozen=True)
class Summary:
    """Rows of each split, what columns were taken for, examples of each class, and warnings."""

    rows: dict[str, int]
    columns: dict[str, str]  # column -> what it was taken for
    classes: dict[str, dict[str, int]]  # class -> split -> count
    warnings: list[str]
    facts: dict[str, str] = field(default_factory=dict)  # short name -> what the source says of its data

    def with_warnings(self, warnings: Sequence[str]) -> "Summary":
        """Add warnings."""
        return replace(self, warnings=[*self.warnings, *warnings])

    def record(self) -> dict[str, Any]:
        """Give what `data.json` keeps."""
        return {name: values for name, values in asdict(self).items() if name != "rows"}

    def lines(self) -> list[str]:
        """Give the summary as lines of plain text, each below 200 characters or so but for warnings."""
        lines = [f"examples  {_listed(self.rows)}"]
        kinds: dict[str, list[str]] = {}
        for name, kind in self.columns.items():
            kinds.setdefault(kind, []).append(name)
        lines += [f"columns   {kind} ({len(names)}): {_some(names)}" for kind, names in kinds.items()]
        rows = [f"{name}: {_listed(counts)}" for name, counts in self.classes.items()]
        lines += [f"class     {row}" for row in rows[:NAMED]]
        if len(rows) > NAMED:
            lines.append(f"class     and {len(rows) - NAMED} more: see data.json")
        lines += [f"{name:<9} {fact}" for name, fact in self.facts.items()]
        return lines + [f"warning: {warning}" for warning in self.warnings]


def class_warnings(classes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Name classes that training cannot or can hardly teach: absent, few, or rare beside the most frequent."""
    most = max((counts["train"] for counts in classes.values()), default=0)
    warnings = []
    for name, counts in classes.items():
        if counts["train"] == 0:
            elsewhere = ", ".join(split for split, count in counts.items() if count)
            warnings.append(f"class '{name}' has no example in train, only in {elsewhere}: it will never be answered")
        elif counts["train"] < FEW:
            warnings.append(f"class '{name}' has only {counts['train']} examples in train: too few to learn from")
        elif counts["train"] < RARE * most:
            warnings.append(
                f"class '{name}' is rare in train ({counts['train']:,} beside {most:,} of the most frequent class):"
                " it may never be answered; see the metrics by class"
            )
        missing = [split for split in ("validation", "test") if counts["train"] and not counts[split]]
        if missing:
            warnings.append(f"class '{name}' has no example in {' and '.join(missing)}: it is not measured there")
    return _few(warnings, "classes")


def duplicate_warnings(duplicates: Mapping[str, int], rows: Mapping[str, int]) -> list[str]:
    """Say how many examples of a split also stand in an earlier one, from `duplicates_across`."""
    warnings = []
    for where, count in duplicates.items():
        later, _, earlier = where.partition(" in ")
        if count:
            warnings.append(
                f"{count:,} of {rows[later]:,} examples of {later} also stand in {earlier}: its metrics flatter"
            )
    return warnings


def contradiction_warnings(inputs: np.ndarray, whole: np.ndarray, label: str) -> list[str]:
    """Count inputs that have several labels, from hashes of each example's inputs and of the whole example."""
    pairs = pd.DataFrame({"inputs": inputs, "whole": whole}).drop_duplicates()
    count = int((pairs.groupby("inputs").size() > 1).sum())
    if not count:
        return []
    several = f"{count:,} inputs occur" if count > 1 else "one input occurs"
    return [f"{several} with more than one {label}: nothing can answer both rightly"]


def skip_warnings(skipped: Sequence[Mapping[str, str]]) -> list[str]:
    """Say how many examples were left out, and why the first was."""
    if not skipped:
        return []
    first = skipped[0]
    rest = "; data.json lists more" if len(skipped) > 1 else ""
    return [f"{len(skipped):,} left out: {first['place']}: {first['reason']}{rest}"]


def _few(warnings: list[str], what: str) -> list[str]:
    if len(warnings) <= NAMED:
        return warnings
    return [*warnings[:NAMED], f"and so of {len(warnings) - NAMED} more {what}: data.json counts them"]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
