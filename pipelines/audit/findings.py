"""Define a finding, its kinds, and what to do about each kind."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from pipelines.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from pipelines.data.rows import Place

Family = Literal["duplicates", "labels", "columns", "leakage", "shift"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding: its family, what it means, and what to do about it."""

    family: Family
    means: str
    remedy: str
    fix: Literal["exclude", "ignore", "group", "time", ""] = ""  # what `--fix` does about it


KINDS = {
    "duplicate": Kind("duplicates", "the same example twice in a split", "leave one out", "exclude"),
    "duplicate_across_splits": Kind(
        "duplicates", "the same example in two splits", "leave it out of the earlier split", "exclude"
    ),
    "near_duplicate": Kind(
        "duplicates", "almost the same example twice in a split", "look at both; leave one out if they are the same"
    ),
    "near_duplicate_across_splits": Kind(
        "duplicates", "almost the same example in two splits", "leave it out of the earlier split", "exclude"
    ),
    "conflicting_labels": Kind(
        "labels", "the same input with different targets", "correct one of them, or leave it out", "exclude"
    ),
    "label_error": Kind("labels", "a label that disagrees with out-of-fold predictions", "check it", "exclude"),
    "target_outlier": Kind("labels", "a target far from all others", "check it"),
    "one_class_split": Kind("labels", "a split with a single class", "set split.stratify to the column of the classes"),
    "rare_class": Kind(
        "labels", "a class with few examples in the training split", "collect more, or merge it with another class"
    ),
    "class_not_in_train": Kind("labels", "a class that only other splits have", "set split.stratify, or collect more"),
    "constant_column": Kind("columns", "a column with a single value", "leave the column out", "ignore"),
    "id_column": Kind("columns", "a column with a unique value in every row", "leave the column out", "ignore"),
    "leaking_column": Kind(
        "leakage",
        "a column that alone predicts the target",
        "leave the column out, unless it is known when predictions are made",
        "ignore",
    ),
    "group_across_splits": Kind(
        "leakage", "rows of one group in several splits", "set split.group, if new data has other groups", "group"
    ),
    "time_order": Kind(
        "leakage",
        "the training split has later rows than the test split, and the target changes with time",
        "set split.time",
        "time",
    ),
    "shifted_column": Kind(
        "shift", "a column or word that differs from the training split", "collect training data like the other data"
    ),
    "shifted_split": Kind(
        "shift",
        "a split that a model can distinguish from the training split",
        "collect training data like the other data",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One fault of the data: its kind, how sure or strong it is, where it is, and the other place if there is one."""

    kind: str
    score: float
    about: str  # what is wrong, in words
    place: "Place | None" = None
    other: "Place | None" = None
    column: str = ""

    @property
    def summary(self) -> str:
        """Return the places and what is wrong, on one line."""
        places = " and ".join(str(place) for place in (self.place, self.other) if place is not None)
        return f"{places}: {self.about}" if places else self.about

    @property
    def remedy(self) -> str:
        """What to do about it; for a split, the setting to use."""
        kind = KINDS[self.kind]
        if kind.fix not in ("group", "time"):
            return kind.remedy
        return kind.remedy.replace(f"split.{kind.fix}", f"split.{kind.fix}: {self.column}")

    def record(self) -> dict[str, Any]:
        """Return a flat record, for CSV and JSON."""
        return {
            "kind": self.kind,
            "score": round(float(self.score), 4),
            **_flat("", self.place),
            "column": self.column,
            **_flat("other_", self.other),
            "about": self.about,
            "remedy": self.remedy,
        }


def kinds_named(names: Iterable[str]) -> set[str]:
    """Return the kinds that names stand for: kinds, families of kinds, or `all`; commas separate several.

    Raises:
        UserError: If there is no such kind.
    """
    families = {kind.family for kind in KINDS.values()}
    found: set[str] = set()
    for name in (part.strip() for each in names for part in each.split(",")):
        if name == "all":
            found |= set(KINDS)
        elif name in families:
            found |= {kind for kind, what in KINDS.items() if what.family == name}
        elif name in KINDS:
            found.add(name)
        else:
            raise UserError("--fail-on", f"no kind '{name}'{did_you_mean(name, ['all', *sorted(families), *KINDS])}")
    return found


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Count the findings of each kind, in the order of `KINDS`."""
    found = Counter(finding.kind for finding in findings)
    return {kind: found[kind] for kind in KINDS if kind in found}


def as_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return one row per finding."""
    return pd.DataFrame([each.record() for each in findings], columns=list(Finding("duplicate", 0, "").record()))


def _flat(prefix: str, place: "Place | None") -> dict[str, Any]:
    if place is None:
        return {f"{prefix}{name}": "" for name in ("split", "row", "id", "file")}
    return {
        f"{prefix}split": place.split,
        f"{prefix}row": place.row,
        f"{prefix}id": place.id,
        f"{prefix}file": place.file,
    }
