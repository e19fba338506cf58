"""Load raw examples from any source, split them and summarize them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.build import build
from pipelines.data.checks import check_quickly
from pipelines.data.fields import Fields
from pipelines.data.files import holds_files
from pipelines.data.groups import group_columns
from pipelines.data.rows import Rows, identify, kept_rows
from pipelines.data.splits import duplicates_across, split, take
from pipelines.data.stored import StoredTable
from pipelines.data.summary import (
    Summary,
    class_warnings,
    contradiction_warnings,
    duplicate_warnings,
    skip_warnings,
)
from pipelines.errors import counted

if TYPE_CHECKING:
    from pipelines.task import Task

LISTED_SKIPS = 100  # data.json lists this many skipped rows and counts the rest


@dataclass(frozen=True)
class Source:
    """What a source returns: raw examples and where they come from.

    `examples` maps each split to its table: a `DataFrame`, or a `StoredTable` if it is too large for memory. A source
    without splits uses the single key `all`.
    """

    examples: dict[str, pd.DataFrame]
    origin: dict[str, Any]
    skipped: list[dict[str, str]] = field(default_factory=list)  # each is {"place": ..., "reason": ...}
    columns: dict[str, str] = field(default_factory=dict)  # column of a table -> what it was read as
    warnings: list[str] = field(default_factory=list)  # problems that did not stop the source from reading
    reading: dict[str, Any] = field(default_factory=dict)  # how files were read; `predict` reads its files the same way
    facts: dict[str, str] = field(default_factory=dict)  # short name -> another fact about the data
    places: dict[str, Sequence[str]] = field(default_factory=dict)  # split -> file and line of each example
    hashes: dict[str, Mapping[str, np.ndarray]] = field(
        default_factory=dict
    )  # split -> hashes that identify the examples, as far as the source knows them; see `Rows`
    groups: dict[str, dict[str, Sequence[str]]] = field(
        default_factory=dict
    )  # split -> name such as `file` -> the group of each example (categorical if there are many), to split by

    def absolute(self) -> "Source":
        """Make file paths absolute, so that processes with another working directory find the files."""

        def of_table(table: pd.DataFrame) -> pd.DataFrame:
            files = [name for name, values in table.head(1).items() if holds_files(values)]
            return table.assign(**{name: table[name].map(Path.resolve) for name in files})

        return replace(self, examples={name: of_table(table) for name, table in self.examples.items()})


@dataclass(frozen=True)
class Dataset:
    """Raw examples by split, and the record of their origin that is stored in `data.json`.

    A split is a `DataFrame`, or a `StoredTable` if its source is too large for memory.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    record: dict[str, Any]
    summary: Summary
    rows: dict[str, Rows]  # what identifies the examples of each split
    train_dev: pd.DataFrame | None = None  # only with `split.train_dev`
    groups: dict[str, pd.DataFrame] = field(default_factory=dict)  # split -> what examples belong together by

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Return the split of that name."""
        return self.splits[name]

    def in_memory(self) -> "Dataset":
        """Return the same examples, all of them in memory."""
        tables = {name: table.frame() for name, table in self.splits.items() if isinstance(table, StoredTable)}
        return replace(self, **tables)

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
    source = source or read_source(data, task)
    source, every = _without(source, data.get("exclude", ()), task.fields)
    groups = {name: group_columns(table, source.groups.get(name)) for name, table in source.examples.items()}
    parts = split({name: _with(table, groups[name]) for name, table in source.examples.items()}, **split_rule)
    splits = take(source.examples, parts)
    rows = {name: every[part.of].take(part.rows) for name, part in parts.items()}
    hashes = {name: each.hashes for name, each in rows.items()}
    duplicates = duplicates_across(hashes)
    summary = _summarize(source, splits, rows, duplicates, task)
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
    return Dataset(**splits, record=record, summary=summary, rows=rows, groups=take(groups, parts))


def read_source(data: Mapping[str, Any], task: "Task") -> Source:
    """Read the source that the `data` section of a config names, with the examples that it excludes."""
    return build({name: value for name, value in data.items() if name != "exclude"}, task.sources, "source")


def _rows(values: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    return values[rows] if isinstance(values, pd.Categorical) else [values[row] for row in rows]


def _with(table: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    if isinstance(table, StoredTable):
        return table.assign(**{str(name): values.array for name, values in groups.items()})
    return pd.concat([table, groups], axis=1) if len(groups.columns) else table


def _without(source: Source, exclude: Sequence[str], fields: Fields | None) -> tuple[Source, dict[str, Rows]]:
    """Return a source without the excluded examples, and what identifies the others."""
    rows = identify(source.examples, fields, source.places, source.hashes)
    if not exclude:
        return source, rows
    kept, unknown = kept_rows(rows, exclude)
    count = sum(len(rows[name]) - len(kept[name]) for name in rows)
    warnings = list(source.warnings)
    if unknown:
        problem = f"{len(unknown):,} of {len(exclude):,} entries match no example (first: {unknown[0]})"
        warnings.append(f"data.exclude: {problem}: the data has changed, or is read in another way")
    source = replace(
        source,
        examples={name: table.take(kept[name]).reset_index(drop=True) for name, table in source.examples.items()},
        groups={
            name: {of: _rows(values, kept[name]) for of, values in each.items()} for name, each in source.groups.items()
        },
        warnings=warnings,
        facts={**source.facts, "excluded": f"{counted(count, 'example')} by data.exclude"},
    )
    return source, {name: each.take(kept[name]) for name, each in rows.items()}


def _summarize(
    source: Source,
    splits: Mapping[str, pd.DataFrame],
    identity: Mapping[str, Rows],
    duplicates: Mapping[str, int],
    task: "Task",
) -> Summary:
    rows = {name: len(examples) for name, examples in splits.items()}
    counts = {name: task.classes(examples) for name, examples in splits.items()}
    names = sorted({name for each in counts.values() for name in each})
    classes = {name: {split: int(counts[split][name]) for split in splits} for name in names}
    warnings = [*source.warnings, *skip_warnings(source.skipped), *class_warnings(classes)]
    warnings += duplicate_warnings(duplicates, rows)
    if task.fields is not None and task.fields.target is not None and task.fields.has_classes:
        inputs = np.concatenate([each.inputs for each in identity.values()])
        targets = np.concatenate([each.targets for each in identity.values()])
        warnings += contradiction_warnings(inputs, targets, task.fields.target)
    warnings += check_quickly(splits, identity, task.fields)
    return Summary(rows, source.columns, classes, warnings, source.facts)


def fingerprint(columns: Iterable[str], hashes: np.ndarray) -> str:
    """Return a digest of the column names and of the content of every row, in order."""
    digest = hashlib.sha256(repr(list(columns)).encode())
    digest.update(hashes.tobytes())
    return digest.hexdigest()
