"""Identify the rows of the data by their content, and leave out those that the config excludes."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pipelines.data.fields import Fields
from pipelines.data.files import holds_files

Exclude = Annotated[
    list[str],
    Field(
        description="examples to leave out: the `id` of a finding of `audit`, which is a hash of the content, or a"
        " place such as houses.csv:12 or photos/cat/7.jpg"
    ),
]


@dataclass(frozen=True)
class Place:
    """Where an example is: its split and its row there, from 0, its id, and its file and line if they are known."""

    split: str
    row: int
    id: str
    file: str = ""

    def __str__(self) -> str:
        return self.file or f"{self.split}, row {self.row}"


@dataclass(frozen=True)
class Rows:
    """What identifies the rows of a table, in order."""

    written: np.ndarray  # (n,) uint64, of the row as its file has it, whatever the config leaves out or converts
    copies: np.ndarray  # (n,) from 1: which of the rows that are written alike this is, in the order of the source
    hashes: np.ndarray  # (n,) uint64, of the content
    numbers: np.ndarray  # (n,) position in the source
    inputs: np.ndarray  # (n,) uint64, of the content of the inputs only
    targets: np.ndarray  # (n,) uint64, of the target only; zeros if there is none
    files: Sequence[str] | None = None  # file and line of each row

    def id(self, row: int) -> str:
        """Return the id of a row: the hash of what is written, and the number of the copy if it is not the first.

        It begins with a letter, because YAML would read some hashes as numbers.
        """
        copy = self.copies[row]
        return f"r{self.written[row]:016x}" + (f"-{copy}" if copy > 1 else "")

    def place(self, split: str, row: int) -> Place:
        """Return the place of a row of a split."""
        return Place(split, int(row), self.id(row), "" if self.files is None else str(self.files[row]))

    def take(self, rows: np.ndarray) -> "Rows":
        """Return some of the rows."""
        files = None if self.files is None else pd.Series(self.files).iloc[rows].reset_index(drop=True)
        arrays = {name: values[rows] for name, values in vars(self).items() if isinstance(values, np.ndarray)}
        return replace(self, **arrays, files=files)


def identify(
    tables: Mapping[str, pd.DataFrame],
    fields: Fields | None,
    places: Mapping[str, Sequence[str]],
    written: Mapping[str, np.ndarray],
) -> dict[str, Rows]:
    """Return what identifies the rows of each table of a source; copies are numbered over all tables, in order.

    The content stands for what is written where `written` has no table.
    """
    found = {}
    for name, table in tables.items():
        contents = _contents(table)
        hashes = inputs = _hashes(contents)
        targets = np.zeros(len(table), np.uint64)
        if fields is not None:
            inputs = _hashes(contents[fields.input_columns(list(table))])
            targets = _hashes(contents[[fields.target]]) if fields.target is not None else targets
        files = places.get(name, _files(table))
        numbers = np.arange(len(table))
        found[name] = Rows(written.get(name, hashes), numbers, hashes, numbers, inputs, targets, files)
    every = pd.Series(np.concatenate([rows.written for rows in found.values()]))
    copies = every.groupby(every).cumcount().to_numpy() + 1
    ends = np.cumsum([len(rows.hashes) for rows in found.values()])
    parts = np.split(copies, ends[:-1])
    return {name: replace(rows, copies=part) for (name, rows), part in zip(found.items(), parts, strict=True)}


def kept_rows(rows: Mapping[str, Rows], exclude: Collection[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the numbers of the rows of each table that are not excluded, and the entries that match no row."""
    unknown, kept = set(exclude), {}
    for name, own in rows.items():
        ids = pd.Series([own.id(row) for row in range(len(own.hashes))], dtype=str)
        names = ids if own.files is None else pd.concat([ids, pd.Series(own.files, dtype=str)], axis=1)
        out = names.isin(exclude)
        unknown -= set(names.to_numpy()[out.to_numpy()])
        kept[name] = np.flatnonzero(~out.to_numpy().reshape(len(ids), -1).any(axis=1))
    return kept, [each for each in exclude if each in unknown]


def row_hashes(examples: pd.DataFrame) -> np.ndarray:
    """Return a 64-bit hash of each row's content, shape (n,), uint64.

    Equal rows have equal hashes on every machine. A path is hashed by the content of its file.
    """
    return _hashes(_contents(examples))


def _files(table: pd.DataFrame) -> Sequence[str] | None:
    """Return the paths of the first column that holds files, if there is one."""
    return next((values.map(str) for _, values in table.items() if holds_files(values)), None)


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
