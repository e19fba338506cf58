"""Identify the rows of the data by their content, and leave out those that the config excludes."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, overload

import numpy as np
import pandas as pd
from pydantic import Field

from pipelines.data.fields import Fields
from pipelines.data.files import holds_files

ID = r"r[0-9a-f]{16}(-[0-9]+)?"
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
class Places(Sequence[str]):
    """The file and line of each row, which are put together where they are read."""

    names: Sequence[str]
    file: np.ndarray  # (n,): index in `names`
    line: np.ndarray  # (n,): line on which the row starts, or its number

    def __len__(self) -> int:
        return len(self.line)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[str]: ...
    def __getitem__(self, row: int | slice) -> str | Sequence[str]:
        if isinstance(row, slice):
            return Places(self.names, self.file[row], self.line[row])
        return f"{self.names[self.file[row]]}:{self.line[row]}"

    def find(self, places: Collection[str]) -> np.ndarray:
        """Return which rows are at one of these places (n,)."""
        wanted = [(file, line) for file, _, line in (place.rpartition(":") for place in places) if line.isdecimal()]
        found = np.zeros(len(self), bool)
        for number, name in enumerate(self.names):
            if lines := [int(line) for file, line in wanted if file == name]:
                found |= (self.file == number) & np.isin(self.line, lines)
        return found


@dataclass(frozen=True)
class Rows:
    """What identifies some rows of a table, in order."""

    # Of all rows of the table, (m,) uint64 each, on the disk if the table is:
    # `written`: hash of the row as its file has it, whatever the config leaves out or converts
    # `hashes`, `inputs`, `targets`: hashes of the content, of the inputs only, and of the target only (0 without one)
    # `copies`: from 1, which of the rows that are written alike this is, in the order of the source
    table: Mapping[str, np.ndarray]
    numbers: np.ndarray  # (n,) position in the table
    places: Sequence[str] | None = None  # file and line of all rows of the table

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def hashes(self) -> np.ndarray:
        """Hashes of the content (n,)."""
        return self.table["hashes"][self.numbers]

    @property
    def inputs(self) -> np.ndarray:
        """Hashes of the content of the inputs (n,)."""
        return self.table["inputs"][self.numbers]

    @property
    def targets(self) -> np.ndarray:
        """Hashes of the target (n,)."""
        return self.table["targets"][self.numbers]

    def id(self, row: int) -> str:
        """Return the id of a row: the hash of what is written, and the number of the copy if it is not the first.

        It begins with a letter, because YAML would read some hashes as numbers.
        """
        number = self.numbers[row]
        copy = self.table["copies"][number]
        return f"r{self.table['written'][number]:016x}" + (f"-{copy}" if copy > 1 else "")

    def place(self, split: str, row: int) -> Place:
        """Return the place of a row of a split."""
        return Place(split, int(row), self.id(row), "" if self.places is None else self.places[self.numbers[row]])

    def take(self, rows: np.ndarray) -> "Rows":
        """Return some of the rows."""
        return replace(self, numbers=self.numbers[rows])


def identify(
    tables: Mapping[str, pd.DataFrame],
    fields: Fields | None,
    places: Mapping[str, Sequence[str]],
    known: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, Rows]:
    """Return what identifies the rows of each table of a source; copies are numbered over all tables, in order.

    `known` are hashes of a table that the source has computed. The content stands for what is written where they lack
    `written`.
    """
    found = {}
    for name, table in tables.items():
        hashes = dict(known.get(name, {}))
        if "hashes" not in hashes:
            hashes = {**content_hashes(contents_of(table), fields), **hashes}
        found[name] = Rows(
            {"written": hashes["hashes"], **hashes}, row_numbers(len(table)), places.get(name, _files(table))
        )
    copies = _copies([rows.table["written"] for rows in found.values()])
    parts = np.split(copies, np.cumsum([len(rows) for rows in found.values()])[:-1])
    return {
        name: replace(rows, table={**rows.table, "copies": part})
        for (name, rows), part in zip(found.items(), parts, strict=True)
    }


def content_hashes(contents: pd.DataFrame, fields: Fields | None) -> dict[str, np.ndarray]:
    """Return the hashes of rows, of their inputs and of their target, (n,) uint64 each."""
    hashes = inputs = hash_rows(contents)
    targets = np.zeros(len(contents), np.uint64)
    if fields is not None:
        inputs = hash_rows(contents[fields.input_columns(list(contents))])
        targets = hash_rows(contents[[fields.target]]) if fields.target is not None else targets
    return {"hashes": hashes, "inputs": inputs, "targets": targets}


def kept_rows(rows: Mapping[str, Rows], exclude: Collection[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the numbers of the rows of each table that are not excluded, and the entries that match no row."""
    wanted, found, kept = set(exclude), set[str](), {}
    hashes = np.array([int(each[1:17], 16) for each in wanted if re.fullmatch(ID, each)], np.uint64)
    for name, own in rows.items():
        out = np.zeros(len(own), bool)
        for row in np.flatnonzero(np.isin(own.table["written"][own.numbers], hashes)).tolist():
            out[row] = own.id(row) in wanted  # not only alike, but also the same copy
            found.add(own.id(row))
        if own.places is not None:
            there = _at(own.places, wanted)[own.numbers]
            found.update(own.places[own.numbers[row]] for row in np.flatnonzero(there))
            out |= there
        kept[name] = np.flatnonzero(~out)
    return kept, [each for each in exclude if each not in found]


def _at(places: Sequence[str], wanted: Collection[str]) -> np.ndarray:
    if isinstance(places, Places):
        return places.find(wanted)
    return pd.Series(places, dtype=str).isin(list(wanted)).to_numpy()


def row_numbers(count: int) -> np.ndarray:
    """Return the numbers from 0 below `count`, of 4 bytes each if they fit."""
    return np.arange(count, dtype=np.int32 if count <= 1 << 31 else np.int64)


def _copies(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Return which of the rows that are alike each row is, from 1, over all tables in order."""
    ordered = np.concatenate(tables)
    ordered.sort()
    if (ordered[1:] != ordered[:-1]).all():
        return np.broadcast_to(np.uint32(1), len(ordered))  # takes no memory, as most large tables have no copies
    del ordered
    written = np.concatenate(tables)
    order = np.argsort(written, kind="stable")
    ordered = written[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    at = np.arange(len(order))
    copies = np.empty(len(order), np.uint32)
    copies[order] = at - np.maximum.accumulate(np.where(first, at, 0)) + 1
    return copies


def row_hashes(examples: pd.DataFrame) -> np.ndarray:
    """Return a 64-bit hash of each row's content, shape (n,), uint64.

    Equal rows have equal hashes on every machine. A path is hashed by the content of its file.
    """
    return hash_rows(contents_of(examples))


def hash_rows(contents: pd.DataFrame) -> np.ndarray:
    """Return a 64-bit hash of each row of plain values, shape (n,), uint64."""
    return pd.util.hash_pandas_object(contents, index=False).to_numpy()


def _files(table: pd.DataFrame) -> Sequence[str] | None:
    """Return the paths of the first column that holds files, if there is one."""
    names = [name for name, values in table.head(1).items() if holds_files(values)]
    return table[names[0]].map(str) if names else None


def contents_of(examples: pd.DataFrame) -> pd.DataFrame:
    """Return a table of plain values: replace files and bytes by their digests, and all other values by their text."""
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
