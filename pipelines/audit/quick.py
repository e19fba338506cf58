"""Checks that take well under a second: they run whenever data is loaded, and are the first part of an audit."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipelines.audit.fields import Fields
from pipelines.audit.findings import Finding
from pipelines.errors import counted

if TYPE_CHECKING:
    from pipelines.data import Dataset
    from pipelines.data.rows import Place, Rows

SPLITS = ("test", "validation", "train")  # of equal examples, the first in this order stays
LEAST = 10  # rows; with fewer, it means nothing that a column is constant
FAR = 4.0  # interquartile ranges beyond the quartiles: 6 standard deviations of a normal distribution
NAMED = 8  # columns that a warning names
FEW = 5  # training examples of a class; with fewer, a model learns next to nothing
Pairs = tuple[np.ndarray, np.ndarray]  # positions of the examples to leave out, and of those that stay


def quick_warnings(splits: Mapping[str, pd.DataFrame], rows: "Mapping[str, Rows]", fields: Fields | None) -> list[str]:
    """Return one line for each kind of fault that the summary of the data does not already count."""
    found = []
    for name, own in rows.items():
        count = len(own.hashes) - len(np.unique(own.hashes))
        if count:
            what = "are copies" if count > 1 else "is a copy"
            found.append(f"{count:,} of {len(own.hashes):,} {name} rows {what} of another {name} row")
    if fields is None:
        return found
    if names := constant_columns(splits["train"], fields):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        listed = ", ".join(names[:NAMED]) + more
        found.append(f"columns with the same value in every row, which carry no information: {listed}")
    found += [each.about for each in one_class_splits(splits, fields)]
    for name, table in splits.items():
        if len(far := outliers(table, fields)):
            assert fields.target is not None
            value, places = table[fields.target].iloc[far[0]], rows[name]
            first = f"{value:,.6g} in {places.place(name, far[0])}"
            found.append(f"{counted(len(far), f'{name} target')} far from all others (first: {first})")
    return found


def quick_findings(data: "Dataset", fields: Fields | None) -> Iterator[Finding]:
    """Find exact duplicates, conflicting labels, constant columns, faults of classes, and far targets."""
    joined = Joined(data.rows)
    yield from _duplicates(joined, fields)
    if fields is None:
        return
    for name in constant_columns(data.train, fields):
        yield Finding("constant_column", 1.0, f"'{name}' has the same value in every row of train", column=name)
    yield from one_class_splits({split: data[split] for split in SPLITS}, fields)
    if fields.has_classes:
        yield from _class_faults(data.summary.classes)
    for split in SPLITS:
        for row in outliers(data[split], fields):
            value = data[split][fields.target].iloc[row]
            place = data.rows[split].place(split, row)
            yield Finding("target_outlier", 1.0, f"target {value:,.6g} is far from all others", place)


class Joined:
    """The examples of all splits one after the other: first those that stay if there are several equal ones."""

    def __init__(self, rows: "Mapping[str, Rows]"):
        self.rows = rows
        self.sizes = [len(rows[split].hashes) for split in SPLITS]
        self.ends = np.cumsum(self.sizes)
        self.split = np.repeat(np.arange(len(SPLITS)), self.sizes)

    def hashes(self, of: str) -> np.ndarray:
        """Return the hashes of the whole examples, of their inputs, or of their targets (N,)."""
        return np.concatenate([getattr(self.rows[split], of) for split in SPLITS])

    def place(self, at: int) -> "Place":
        """Return the place of an example."""
        split = self.split[at]
        return self.rows[SPLITS[split]].place(SPLITS[split], at - (self.ends[split] - self.sizes[split]))

    def pair(self, kind: str, score: float, about: str, at: int, other: int) -> Finding:
        """Return a finding of two examples; its kind says whether they are in different splits."""
        across = self.split[at] != self.split[other]
        return Finding(f"{kind}_across_splits" if across else kind, score, about, self.place(at), self.place(other))


def repeated(hashes: np.ndarray) -> Pairs:
    """Return the positions of the values that occurred before, and the position where each occurred first."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    stays = first[inverse]
    later = np.flatnonzero(stays != np.arange(len(hashes)))
    return later, stays[later]


def constant_columns(train: pd.DataFrame, fields: Fields) -> list[str]:
    """Return the columns of a table of cells that have one value in every row, which is not a missing one."""
    if fields.content != "cells" or len(train) < LEAST:
        return []
    first = train.iloc[0]
    return [
        name
        for name in fields.input_columns(list(train))
        if str(first[name]) not in ("", "nan", "NaT") and (train[name] == first[name]).all()
    ]


def one_class_splits(splits: Mapping[str, pd.DataFrame], fields: Fields) -> list[Finding]:
    """Find splits whose examples are all of one class, although there are several."""
    if fields.target_is != "class":
        return []
    classes = {split: table[fields.target].unique() for split, table in splits.items()}
    if len(set().union(*classes.values())) < 2:
        return []
    return [
        Finding("one_class_split", 1.0, f"every {split} example is of the class '{found[0]}'", column=split)
        for split, found in classes.items()
        if len(found) == 1
    ]


def outliers(table: pd.DataFrame, fields: Fields) -> np.ndarray:
    """Return the rows whose number is far from all others of the split; positive numbers also in their logarithm."""
    if fields.target_is != "number" or len(table) < LEAST:
        return np.array([], int)
    values = table[fields.target].to_numpy("float64")
    far = _far(values)
    return np.flatnonzero(far & _far(np.log(values)) if (values > 0).all() else far)


def _far(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.25, 0.75])
    width = FAR * (high - low)
    return (values < low - width) | (values > high + width) if width else np.zeros(len(values), bool)


def _duplicates(joined: Joined, fields: Fields | None) -> Iterator[Finding]:
    later, first = repeated(joined.hashes("hashes"))
    same = set(later)
    for at, other in zip(later, first, strict=True):
        yield joined.pair("duplicate", 1.0, "the same example", at, other)
    if fields is None or fields.target_is == "number":  # equal inputs with different numbers are usual
        return
    later, first = repeated(joined.hashes("inputs"))
    for at, other in zip(later, first, strict=True):
        if at in same:
            continue
        if fields.has_classes:
            about = "the same input, but another target"
            yield Finding("conflicting_labels", 1.0, about, joined.place(at), joined.place(other))
        elif joined.split[at] != joined.split[other]:
            yield joined.pair("duplicate", 1.0, "the same input", at, other)


def _class_faults(classes: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    for name, count in classes.items():
        if not count["train"]:
            elsewhere = ", ".join(split for split, number in count.items() if number)
            yield Finding("class_not_in_train", 1.0, f"class '{name}' is only in {elsewhere}", column=name)
        elif count["train"] < FEW:
            yield Finding(
                "rare_class", 1.0, f"class '{name}' has {counted(count['train'], 'example')} in train", column=name
            )
