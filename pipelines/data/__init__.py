"""The one door through which raw examples come in, whatever their source."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.build import build
from pipelines.data.batches import holds_files
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

LISTED_SKIPS = 100  # data.json names this many skipped rows and counts the rest


@dataclass(frozen=True)
class Source:
    """What a source gives: raw examples by split, or under `all` where it has no splits, and where they are from."""

    examples: dict[str, pd.DataFrame]
    origin: dict[str, Any]
    skipped: list[dict[str, str]] = field(default_factory=list)  # {"place": ..., "reason": ...} each
    columns: dict[str, str] = field(default_factory=dict)  # what each column of a table was taken for
    warnings: list[str] = field(default_factory=list)  # what the source found odd, but could read
    reading: dict[str, Any] = field(default_factory=dict)  # how it read its files: those given to `predict` are read so
    facts: dict[str, str] = field(default_factory=dict)  # what else a person should know of the data, by a short name


@dataclass(frozen=True)
class Dataset:
    """Raw examples by split, and the record of where they come from that `data.json` keeps."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    record: dict[str, Any]
    summary: Summary

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Give the split of that name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def load_dataset(data: Mapping[str, Any], split_rule: Mapping[str, Any], task: "Task") -> Dataset:
    """Load raw examples from the task's source that the config names, divide them, and look at what they are.

    Raises:
        UserError: where a source cannot be read or a split would be empty.
    """
    source: Source = build(data, task.sources, "source")
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
    """Digest the names of the columns and the content of every row, in order."""
    digest = hashlib.sha256(repr(list(columns)).encode())
    digest.update(hashes.tobytes())
    return digest.hexdigest()


def row_hashes(examples: pd.DataFrame) -> np.ndarray:
    """Hash each row's content to 64 bits; equal rows hash equal on every machine. Shape (n,), uint64.

    A path counts as what its file holds.
    """
    return _hashes(_contents(examples))


def _hashes(contents: pd.DataFrame) -> np.ndarray:
    return pd.util.hash_pandas_object(contents, index=False).to_numpy()


def _contents(examples: pd.DataFrame) -> pd.DataFrame:
    """Put digests in place of files and bytes, and texts in place of all else."""
    return examples.apply(_content).astype(str)


def _content(values: pd.Series) -> pd.Series:
    if holds_files(values):
        with ThreadPoolExecutor() as pool:  # reading and hashing both let other threads run
            return pd.Series(list(pool.map(lambda path: _digest(path.read_bytes()), values)), index=values.index)
    if len(values) and isinstance(values.iloc[0], bytes):
        return values.map(_digest)
    return values


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
