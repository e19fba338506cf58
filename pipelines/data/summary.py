"""Summarize the data before training, and warn about problems in it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from pipelines.errors import counted

FEW = 5  # training examples of a class; with fewer, a model learns next to nothing
RARE = 1 / 20  # share of the most frequent class; a rarer class may never be predicted
NAMED = 12  # classes, or columns of a type, that are listed on the screen


@dataclass(frozen=True)
class Summary:
    """Rows of each split, what columns were read as, examples of each class, warnings and facts."""

    rows: dict[str, int]
    columns: dict[str, str]  # column -> what it was read as
    classes: dict[str, dict[str, int]]  # class -> split -> count
    warnings: list[str]
    facts: dict[str, str] = field(default_factory=dict)  # short name -> what the source says about its data

    def with_warnings(self, warnings: Sequence[str]) -> "Summary":
        """Return a copy with additional warnings."""
        return replace(self, warnings=[*self.warnings, *warnings])

    def with_fact(self, name: str, fact: str) -> "Summary":
        """Return a copy with an additional fact."""
        return replace(self, facts={**self.facts, name: fact})

    def record(self) -> dict[str, Any]:
        """Return the part that is stored in `data.json`."""
        return {name: values for name, values in asdict(self).items() if name != "rows"}

    def lines(self) -> list[str]:
        """Return the summary as lines of plain text; all but warnings are shorter than about 200 characters."""
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
    """Warn about classes that a split lacks, and about classes with few or relatively few training examples."""
    most = max((counts["train"] for counts in classes.values()), default=0)
    warnings = []
    for name, counts in classes.items():
        if counts["train"] == 0:
            elsewhere = ", ".join(split for split, count in counts.items() if count)
            warnings.append(f"class '{name}' has no examples in train, only in {elsewhere}: it will never be predicted")
        elif counts["train"] < FEW:
            few = counted(counts["train"], "example")
            warnings.append(f"class '{name}' has only {few} in train: too few to learn from")
        elif counts["train"] < RARE * most:
            warnings.append(
                f"class '{name}' is rare in train ({counts['train']:,} examples, but {most:,} of the most frequent"
                " class): it may never be predicted; see the metrics by class"
            )
        missing = [split for split in ("validation", "test") if counts["train"] and not counts[split]]
        if missing:
            warnings.append(f"class '{name}' has no examples in {' and '.join(missing)}: it is not evaluated there")
    return _few(warnings, "classes")


def duplicate_warnings(duplicates: Mapping[str, int], rows: Mapping[str, int]) -> list[str]:
    """Warn about examples that also occur in an earlier split, from the result of `duplicates_across`."""
    warnings = []
    for where, count in duplicates.items():
        later, _, earlier = where.partition(" in ")
        if count:
            warnings.append(
                f"{count:,} of {rows[later]:,} {later} examples {'are' if count > 1 else 'is'} also in {earlier}:"
                f" the {later} metrics are too optimistic"
            )
    return warnings


def contradiction_warnings(inputs: np.ndarray, whole: np.ndarray, label: str) -> list[str]:
    """Warn about inputs that have several labels.

    `inputs` holds the hash of each example's inputs, `whole` the hash of the whole example.
    """
    pairs = pd.DataFrame({"inputs": inputs, "whole": whole}).drop_duplicates()
    count = int((pairs.groupby("inputs").size() > 1).sum())
    if not count:
        return []
    several = f"{count:,} inputs occur" if count > 1 else "1 input occurs"
    return [f"{several} with more than one {label}: no model can predict all of them correctly"]


def skip_warnings(skipped: Sequence[Mapping[str, str]]) -> list[str]:
    """Warn about examples that were skipped, with the reason for the first."""
    if not skipped:
        return []
    first = skipped[0]
    rest = "; data.json lists more" if len(skipped) > 1 else ""
    return [f"{counted(len(skipped), 'example')} skipped: {first['place']}: {first['reason']}{rest}"]


def _few(warnings: list[str], what: str) -> list[str]:
    if len(warnings) <= NAMED:
        return warnings
    return [*warnings[:NAMED], f"{counted(len(warnings) - NAMED, 'more warning')} about {what}: see data.json"]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
