"""Load raw examples from any source, split them and summarize them."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.build import build
from pipelines.data.files import holds_files
from pipelines.data.splits import duplicates_across, split
from pipelines.data.summary import (
    Summary,
    class_warnings,
    contradiction_warnings,
    duplicate_warnings,
    skip_warnings,
)

if TYPE_CHECKING:
    from pipelines.task import Task

LISTED_SKIPS = 100  # data.json lists this many skipped rows and counts the rest


@dataclass(frozen=True)
class Source:
    """What a source returns: raw examples and where they come from.

    `examples` maps each split to its table. A source without splits uses the single key `all`.
    """

    examples: dict[str, pd.DataFrame]
    origin: dict[str, Any]
    skipped: list[dict[str, str]] = field(default_factory=list)  # each is {"place": ..., "reason": ...}
    columns: dict[str, str] = field(default_factory=dict)  # column of a table -> what it was read as
    warnings: list[str] = field(default_factory=list)  # problems that did not stop the source from reading
    reading: dict[str, Any] = field(default_factory=dict)  # how files were read; `predict` reads its files the same way
    facts: dict[str, str] = field(default_factory=dict)  # short name -> another fact about the data

    def absolute(self) -> "Source":
        """Make file paths absolute, so that processes with another working directory find the files."""

        def of_table(table: pd.DataFrame) -> pd.DataFrame:
            files = {name: table[name].map(Path.resolve) for name in table if holds_files(table[name])}
            return table.assign(**files)

        return replace(self, examples={name: of_table(table) for name, table in self.examples.items()})


@dataclass(frozen=True)
class Dataset:
    """Raw examples by split, and the record of their origin that is stored in `data.json`."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    record: dict[str, Any]
    summary: Summary
    train_dev: pd.DataFrame | None = None  # only with `split.train_dev`

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Return the split of that name."""
        return self.splits[name]

    @property
    def splits(self) -> dict[str, pd.DataFrame]:
        """All splits by name."""
        further = {} if self.train_dev is None else {"train_dev": self.train_dev}
        return {"train": self.train, "validation": self.validation, "test": self.test, **further}


def load_dataset(
    data: Mapping[str, Any], split_rule: Mapping[str, Any], task: "Task", source: Source | None = None
) -> Dataset:
    """Load raw examples from the source that the config names, split them and summarize them.

    `source` holds the examples if they were already read.

    Raises:
        UserError: If the source cannot be read, or a split would be empty.
    """
    source = source or build(data, task.sources, "source")
    splits = split(source.examples, **split_rule)
    contents = {name: _contents(examples) for name, examples in splits.items()}
    hashes = {name: _hashes(each) for name, each in contents.items()}
    duplicates = duplicates_across(hashes)
    summary = _summarize(source, splits, contents, duplicates, task)
    record = {
        "source": dict(data),
        "origin": source.origin,
        "examples": {name: len(examples) for name, examples in splits.items()},
        "columns": {name: str(kind) for name, kind in splits["train"].dtypes.items()},
        "split": dict(split_rule),
        "skipped": {"count": len(source.skipped), "rows": source.skipped[:LISTED_SKIPS]},
        "duplicates_across_splits": duplicates,
        "summary": summary.record(),
        "reading": source.reading,
        "fingerprint": {name: fingerprint(splits[name].columns, hashes[name]) for name in splits},
    }
    return Dataset(**splits, record=record, summary=summary)


def _summarize(
    source: Source,
    splits: Mapping[str, pd.DataFrame],
    contents: Mapping[str, pd.DataFrame],
    duplicates: Mapping[str, int],
    task: "Task",
) -> Summary:
    rows = {name: len(examples) for name, examples in splits.items()}
    counts = {name: task.classes(examples) for name, examples in splits.items()}
    names = sorted({name for each in counts.values() for name in each})
    classes = {name: {split: int(counts[split][name]) for split in splits} for name in names}
    warnings = [*source.warnings, *skip_warnings(source.skipped), *class_warnings(classes)]
    warnings += duplicate_warnings(duplicates, rows)
    if task.label is not None:
        known = pd.concat(contents.values()).drop(columns=list(task.remarks), errors="ignore")
        warnings += contradiction_warnings(_hashes(known.drop(columns=task.label)), _hashes(known), task.label)
    return Summary(rows, source.columns, classes, warnings, source.facts)


def fingerprint(columns: Iterable[str], hashes: np.ndarray) -> str:
    """Return a digest of the column names and of the content of every row, in order."""
    digest = hashlib.sha256(repr(list(columns)).encode())
    digest.update(hashes.tobytes())
    return digest.hexdigest()


def row_hashes(examples: pd.DataFrame) -> np.ndarray:
    """Return a 64-bit hash of each row's content, shape (n,), uint64.

    Equal rows have equal hashes on every machine. A path is hashed by the content of its file.
    """
    return _hashes(_contents(examples))


def _hashes(contents: pd.DataFrame) -> np.ndarray:
    return pd.util.hash_pandas_object(contents, index=False).to_numpy()


def _contents(examples: pd.DataFrame) -> pd.DataFrame:
    """Replace files and bytes by their digests, and all other values by their text."""
    return examples.apply(_content).astype(str)


def _content(values: pd.Series) -> pd.Series:
    if holds_files(values):
        with ThreadPoolExecutor() as pool:  # reading and hashing both release the GIL
            return pd.Series(list(pool.map(lambda path: _digest(path.read_bytes()), values)), index=values.index)
    if len(values) and isinstance(values.iloc[0], bytes):
        return values.map(_digest)
    return values


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
