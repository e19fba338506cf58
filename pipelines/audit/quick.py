"""Find exact duplicates and what the checks of `data/checks.py` find, with the place of each."""

from collections.abc import Iterator, Mapping

import numpy as np

from pipelines.audit.findings import Finding
from pipelines.data import Dataset
from pipelines.data.checks import constant_columns, one_class, one_class_splits, outliers
from pipelines.data.fields import Fields
from pipelines.data.rows import Place, Rows
from pipelines.errors import counted

SPLITS = ("test", "validation", "train_dev", "train")  # of equal examples, the first in this order stays
FEW = 5  # training examples of a class; with fewer, a model learns next to nothing
Pairs = tuple[np.ndarray, np.ndarray]  # positions of the examples to leave out, and of those that stay


def quick_findings(data: Dataset, fields: Fields | None) -> Iterator[Finding]:
    """Find exact duplicates, conflicting labels, constant columns, faults of classes, and far targets."""
    joined = Joined(data.rows)
    yield from _duplicates(joined, fields)
    if fields is None:
        return
    for name in constant_columns(data.train, fields):
        yield Finding("constant_column", 1.0, f"'{name}' has the same value in every row of train", column=name)
    for split, name in one_class_splits(data.splits, fields).items():
        yield Finding("one_class_split", 1.0, one_class(split, name), column=split)
    if fields.has_classes:
        yield from _class_faults(data.summary.classes)
    for split in joined.splits:
        for row in outliers(data[split], fields):
            value = data[split][fields.target].iloc[row]
            place = data.rows[split].place(split, row)
            yield Finding("target_outlier", 1.0, f"target {value:,.6g} is far from all others", place)


class Joined:
    """The examples of all splits one after the other: first those that stay if there are several equal ones."""

    def __init__(self, rows: Mapping[str, Rows]):
        self.rows, self.splits = rows, [split for split in SPLITS if split in rows]
        self.sizes = [len(rows[split].hashes) for split in self.splits]
        self.ends = np.cumsum(self.sizes)
        self.split = np.repeat(np.arange(len(self.splits)), self.sizes)

    def hashes(self, of: str) -> np.ndarray:
        """Return the hashes of the whole examples, of their inputs, or of their targets (N,)."""
        return np.concatenate([getattr(self.rows[split], of) for split in self.splits])

    def place(self, at: int) -> Place:
        """Return the place of an example."""
        number = self.split[at]
        split = self.splits[number]
        return self.rows[split].place(split, at - (self.ends[number] - self.sizes[number]))

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
