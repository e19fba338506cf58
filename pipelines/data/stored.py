"""Tables in files that are read row by row, for data larger than memory.

The folder of a table holds `records.npy`, an array of one record per row, which is mapped into memory: a row is read
with one access to the disk. A category is stored as its number in `text-N.npy`, the bytes of all different texts of a
column, which end at the positions in `ends-N.npy`. Sentences and lists of tokens are in ArrayRecord files. An image is
stored as its place in one of the files that `files.json` lists.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.data.examples import ExampleFiles
from pipelines.data.spans import SPAN, SpanFiles
from pipelines.storage import GrowingArray, write_json

KINDS: dict[str, Any] = {"number": "<f8", "date": "<M8[s]", "text": "<u4", "image": SPAN}
WRITTEN = ("sentence", "tokens")  # kinds of columns in ArrayRecord files: a text, or a list of texts
AT_ONCE = 10_000  # rows that `parts` reads at once
REMEMBERED = 1 << 20  # different texts of a column that are stored once; further ones are stored again if they recur
SMALL = 1 << 16  # different texts of a column up to which they are also kept as Python strings, which are found faster


class StoredTable:
    """Some rows and columns of a table in files.

    It has the methods of a `pandas.DataFrame` that training and evaluation need. A column is in memory only while it is
    used. `iloc` and `head` return a `DataFrame`: use them for a few rows. `take`, `drop`, `assign` and a list of names
    return another `StoredTable`.
    """

    def __init__(
        self,
        folder: Path,
        rows: np.ndarray | None = None,
        names: Sequence[str] | None = None,
        added: Mapping[str, np.ndarray] | None = None,
    ):
        self.folder, self._rows, self._added = folder, rows, dict(added or {})
        self._stored = {} if names == [] else _kinds(folder)
        self._names = list(self._stored) if names is None else list(names)

    @cached_property
    def _records(self) -> np.ndarray:
        return np.load(self.folder / "records.npy", mmap_mode="r")

    @cached_property
    def _examples(self) -> ExampleFiles:
        counts = json.loads((self.folder / "examples.json").read_text(encoding="utf-8"))
        return ExampleFiles([self.folder / name for name in counts], list(counts.values()))

    @cached_property
    def _span_files(self) -> SpanFiles:
        about = json.loads((self.folder / "files.json").read_text(encoding="utf-8"))
        return SpanFiles([Path(name) for name in about["files"]], about["feature"])

    @cached_property
    def _count(self) -> int:
        return int(self._examples.ends[-1]) if self._is_written else len(self._records)

    @property
    def _is_written(self) -> bool:
        return any(kind in WRITTEN for kind in self._stored.values())

    @cached_property
    def _texts(self) -> dict[str, Any]:
        """The different texts of each column, which `take` finds by number."""
        numbered = [name for name, kind in self._stored.items() if kind == "text"]
        return {name: _texts(self.folder, at) for at, name in enumerate(numbered) if name in self._names}

    def __len__(self) -> int:
        return self._count if self._rows is None else len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, key: str | list[str]) -> Any:
        """Return a column as a `pandas.Series`, or a table of several columns."""
        if isinstance(key, str):
            if key not in self._names:
                raise KeyError(key)
            return self._columns([key], slice(None))[key]
        return StoredTable(self.folder, self._rows, key, self._added)

    def __reduce__(self) -> tuple:
        """Send the name of the folder to other processes, not its content."""
        return StoredTable, (self.folder, self._rows, self._names, self._added)

    @property
    def columns(self) -> pd.Index:
        """The names of the columns."""
        return pd.Index(self._names)

    @property
    def index(self) -> pd.RangeIndex:
        """The numbers of the rows, from 0."""
        return pd.RangeIndex(len(self))

    @property
    def dtypes(self) -> pd.Series:
        """The type of each column."""
        return self.head(1).dtypes

    @property
    def empty(self) -> bool:
        """Whether there are no rows."""
        return len(self) == 0

    @property
    def iloc(self) -> "_Rows":
        """Return rows by position: `iloc[row]` a `Series`, and `iloc[rows]` a `DataFrame` in memory."""
        return _Rows(self)

    def items(self) -> Iterator[tuple[str, pd.Series]]:
        """Yield the name and the values of each column."""
        return ((name, self[name]) for name in self._names)

    def head(self, count: int = 5) -> pd.DataFrame:
        """Return the first rows in memory."""
        return self.frame(slice(count))

    def take(self, rows: np.ndarray) -> "StoredTable":
        """Return some of the rows, by position."""
        chosen = np.asarray(rows) if self._rows is None else self._rows[rows]
        added = {name: values[rows] for name, values in self._added.items()}
        return StoredTable(self.folder, chosen, self._names, added)

    def drop(self, *, columns: str | Sequence[str]) -> "StoredTable":
        """Return the table without some of its columns."""
        out = [columns] if isinstance(columns, str) else columns
        return self[[name for name in self._names if name not in out]]

    def assign(self, **columns: np.ndarray) -> "StoredTable":
        """Return the table with more columns, which stay in memory."""
        names = [*self._names, *(name for name in columns if name not in self._names)]
        added = {name: _array(values) for name, values in columns.items()}
        return StoredTable(self.folder, self._rows, names, {**self._added, **added})

    def reset_index(self, *, drop: bool) -> "StoredTable":
        """Return the table: its rows are always numbered from 0."""
        return self

    def frame(self, rows: Any = slice(None)) -> pd.DataFrame:
        """Return rows in memory."""
        return pd.DataFrame(self._columns(self._names, rows), columns=self._names)

    def kinds(self) -> dict[str, str]:
        """Return what each column holds: `number`, `date`, `text`, `sentence`, `tokens` or `image`."""
        return {name: self._stored[name] for name in self._names}

    def distinct(self, name: str) -> int | None:
        """Return how many different texts a column of the whole table has, or None if it does not hold texts."""
        return len(self._texts[name]) if name in self._texts else None

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the values of each column in some rows: float64 numbers, texts, and dates as YYYY-MM-DD or ''.

        A column of tokens gives two arrays: the tokens of all rows, and their number in each row.
        """
        rows = rows if self._rows is None else self._rows[rows]
        if self._is_written:
            examples = self._examples.read(rows)
            return [each for name in self._names for each in _flat(examples, name, self._stored[name])]
        records = self._records[rows]
        return [self._values(name, records[name]) for name in self._names]

    def _values(self, name: str, stored: np.ndarray) -> np.ndarray:
        if self._stored[name] == "text":
            texts = self._texts[name].take(stored)
            return texts if isinstance(texts, np.ndarray) else texts.to_numpy(object)
        if self._stored[name] == "date":
            return np.where(np.isnat(stored), "", np.datetime_as_string(stored, unit="D")).astype(object)
        if self._stored[name] == "image":
            return np.array(self._span_files.read(stored), object)
        return np.ascontiguousarray(stored)

    def _columns(self, names: Sequence[str], rows: Any) -> dict[str, pd.Series]:
        examples = None
        if self._is_written and any(name not in self._added for name in names):
            examples = self._examples.read(self._numbers(rows))
        return {name: self._column(name, rows, examples) for name in names}

    def _numbers(self, rows: Any) -> np.ndarray:
        if self._rows is not None:
            return self._rows[rows]
        return np.arange(*rows.indices(self._count)) if isinstance(rows, slice) else np.asarray(rows)

    def _column(self, name: str, rows: Any, examples: Sequence[Mapping[str, Sequence[bytes]]] | None) -> pd.Series:
        if name in self._added:
            return pd.Series(self._added[name][rows], name=name)
        if examples is not None:
            return _series(examples, name, self._stored[name])
        stored = self._records[name]
        stored = stored[rows] if self._rows is None else stored[self._rows[rows]]
        if self._stored[name] == "image":
            return pd.Series(self._span_files.read(stored), name=name, dtype=object)
        if self._stored[name] != "text":
            return pd.Series(np.array(stored), name=name)
        texts = pd.array(self._texts[name], dtype="str")
        return pd.Series(texts.take(stored), name=name)


def parts(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield a table in memory whole, and one in files some rows at a time, in order."""
    if not isinstance(table, StoredTable):
        yield table
        return
    for start in range(0, len(table), AT_ONCE):
        yield table.frame(slice(start, start + AT_ONCE))


class _Rows:
    def __init__(self, table: StoredTable):
        self._table = table

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, int | np.integer):
            return self._table.frame(np.array([rows])).iloc[0]
        return self._table.frame(np.asarray(rows) if isinstance(rows, list) else rows)


class TableWriter:
    """Write a table into a folder, part by part."""

    def __init__(self, folder: Path, kinds: Mapping[str, str]):
        folder.mkdir(parents=True)
        self._folder, self._kinds = folder, dict(kinds)
        self._records = GrowingArray(folder / "records.npy", np.dtype([(n, KINDS[kind]) for n, kind in kinds.items()]))
        texts = [name for name, kind in kinds.items() if kind == "text"]
        self._texts = {name: _TextWriter(folder, at) for at, name in enumerate(texts)}

    def add(self, frame: pd.DataFrame) -> None:
        """Write rows with the columns of the table."""
        records = np.empty(len(frame), self._records.kind)
        for name, kind in self._kinds.items():
            values = frame[name]
            if kind == "text":
                records[name] = self._texts[name].codes(values)
            else:
                records[name] = np.array(values.tolist(), SPAN) if kind == "image" else values.to_numpy()
        self._records.append(records)

    def close(self) -> None:
        """Finish the files."""
        self._records.close()
        for texts in self._texts.values():
            texts.close()
        write_json(self._folder / "columns.json", self._kinds)


class _TextWriter:
    def __init__(self, folder: Path, at: int):
        self._known: dict[str, int] = {}
        self._bytes = GrowingArray(folder / f"text-{at}.npy", np.dtype("u1"))
        self._ends = GrowingArray(folder / f"ends-{at}.npy", np.dtype("<i8"))
        self._ends.append(np.zeros(1, int))

    def codes(self, values: pd.Series) -> np.ndarray:
        """Return the number of each text, and write those that are new."""
        codes, found = pd.factorize(values)
        numbers: list[int] = []
        new: list[bytes] = []
        for text in found:
            number = self._known.get(text)
            if number is None:
                number = self._ends.count - 1 + len(new)
                new.append(text.encode(errors="replace"))
                if len(self._known) < REMEMBERED:
                    self._known[text] = number
            numbers.append(number)
        if new:
            start = self._bytes.count
            self._bytes.append(np.frombuffer(b"".join(new), np.uint8))
            self._ends.append(start + np.cumsum([len(text) for text in new]))
        return np.array(numbers, np.uint32)[codes]

    def close(self) -> None:
        self._bytes.close()
        self._ends.close()


def _flat(examples: Sequence[Mapping[str, Sequence[bytes]]], name: str, kind: str) -> list[np.ndarray]:
    if kind == "sentence":
        return [np.array([example[name][0] for example in examples], object)]
    texts = [text for example in examples for text in example[name]]
    return [np.array(texts, object), np.array([len(example[name]) for example in examples], np.int64)]


def _series(examples: Sequence[Mapping[str, Sequence[bytes]]], name: str, kind: str) -> pd.Series:
    if kind == "sentence":
        return pd.Series([example[name][0].decode() for example in examples], name=name, dtype="str")
    return pd.Series([[text.decode() for text in example[name]] for example in examples], name=name, dtype=object)


def _array(values: Any) -> Any:
    return values if isinstance(values, pd.Categorical) else np.asarray(values)


def _kinds(folder: Path) -> dict[str, str]:
    return json.loads((folder / "columns.json").read_text(encoding="utf-8"))


def _texts(folder: Path, at: int) -> Any:
    """Return the different texts of a column: an array of Python strings, or, of many texts, an array on the disk."""
    import pyarrow as pa

    ends, content = (np.load(folder / f"{kind}-{at}.npy", mmap_mode="r") for kind in ("ends", "text"))
    mapped = pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(content))
    if len(mapped) <= SMALL:
        return np.array(mapped.to_pylist(), object)
    return pd.arrays.ArrowStringArray(pa.chunked_array([mapped]), dtype=pd.StringDtype(na_value=np.nan))
