"""Convert tables that are larger than memory to tables in files, in one pass, once for each content."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipelines.data import conversion
from pipelines.data.conversion import bytes_of, converted
from pipelines.data.fields import Fields
from pipelines.data.files import unpacked_suffix
from pipelines.data.rows import Places, content_hashes
from pipelines.data.stored import StoredTable, TableWriter
from pipelines.data.tables.cells import CellTable, read_cells, read_parts, written
from pipelines.data.tables.columns import (
    MANY,
    Column,
    ColumnFormat,
    TableRules,
    TypedTable,
    check_usable,
    input_name,
    keeps_kind,
    odd_columns,
    rules_of,
    type_part,
)
from pipelines.data.tables.dates import EARLIEST, ISO, LATEST
from pipelines.data.tables.numbers import LARGEST, NumberFormat
from pipelines.data.tables.parquet import Parquet, open_parquet
from pipelines.errors import UserError
from pipelines.storage import GrowingArray, write_json

if TYPE_CHECKING:
    import pyarrow as pa

CELL = 8  # bytes
HASHES = ("written", "hashes", "inputs", "targets")


@dataclass(frozen=True)
class Reading:
    """How to read the files of tables."""

    delimiter: str
    encoding: str
    is_header: Callable[[Sequence[str]], bool]
    rules: TableRules
    as_examples: Callable[[pd.DataFrame], pd.DataFrame]  # gives the target the name that it has among raw examples


@dataclass
class Large:
    """Tables in files by split, and what was found about them."""

    tables: dict[str, StoredTable] = field(default_factory=dict)
    formats: dict[str, ColumnFormat] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)  # columns with missing values in the first table
    places: dict[str, Places] = field(default_factory=dict)
    hashes: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def is_large(files: Iterable[Path]) -> bool:
    """Return whether tables are converted to files that are read row by row, instead of held in memory."""
    return conversion.is_large(files, _size)


def large_tables(found: Mapping[str, Sequence[Path]], how: Reading, fields: Fields) -> Large:
    """Return tables in files in the user's cache folder, converted once for each content of the given files.

    Columns have the types that are detected in the first part of the first file.

    Raises:
        UserError: If a file cannot be read, or a row cannot be used.
    """
    settings = [how.delimiter, how.encoding, asdict(how.rules)]
    folder = converted("tables", found, settings, lambda whole: _convert(whole, found, how, fields))
    return _open(folder, found)


def _size(path: Path) -> int:
    """Return the bytes of a table, or 0 if there is no such file, which its reader then says."""
    if path.suffix.lower() == ".parquet" and path.is_file():
        parquet = open_parquet(path)
        return parquet.count * len(parquet.names) * CELL
    return bytes_of(path)


def _open(folder: Path, found: Mapping[str, Sequence[Path]]) -> Large:
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    read = Large(**about)
    for split, files in found.items():
        arrays = {name: np.load(folder / split / f"{name}.npy", mmap_mode="r") for name in (*HASHES, "file", "line")}
        read.places[split] = Places([str(path) for path in files], arrays.pop("file"), arrays.pop("line"))
        read.tables[split], read.hashes[split] = StoredTable(folder / split), arrays
    return read


def _convert(folder: Path, found: Mapping[str, Sequence[Path]], how: Reading, fields: Fields) -> None:
    read = Large()
    for split, files in found.items():
        first = not read.formats
        stored = _Stored(folder / split)
        skipped: list[dict[str, str]] = []
        for number, part in _typed_parts(files, how, read):
            skipped += part.skipped
            stored.add(part, number, how.as_examples(part.frame), fields)
        check_usable(stored.rows, skipped, how.rules)
        stored.close()
        read.skipped += skipped
        if first:
            read.gaps = [name for name, count in stored.missing.items() if count]
            read.warnings += stored.warnings(StoredTable(folder / split), fields.target)
    write_json(
        folder / "about.json", {name: getattr(read, name) for name in ("formats", "skipped", "warnings", "gaps")}
    )


def _typed_parts(files: Sequence[Path], how: Reading, read: Large) -> Iterator[tuple[int, TypedTable]]:
    """Yield the parts of the files of a split, each with the number of its file; the first one decides on the types."""
    rules, names = how.rules, None
    for number, path in enumerate(files):
        for part in _parts(path, how):
            if names is None:
                names = part.order
                if read.formats:  # those of another split
                    rules, warnings = rules_of(read.formats, rules, names, str(path))
                    read.warnings += warnings
            elif differing := set(part.order).symmetric_difference(names):
                problem = f"its columns differ from those of {files[0]}: {', '.join(sorted(differing))}"
                raise UserError(str(path), problem)
            plain = part.plain(rules)
            typed = type_part(part.cells(plain), rules, plain, names)
            read.warnings += part.warnings
            if not read.formats:
                read.formats = typed.formats
                read.warnings += typed.warnings
                rules = replace(rules, numeric=(), categorical=(), dates={}, formats=typed.formats)
            yield number, typed


def _parts(path: Path, how: Reading) -> Iterator["_Part | _ParquetPart"]:
    if path.suffix.lower() == ".parquet":
        parquet, start = open_parquet(path), 1
        for arrays in parquet.parts():
            part = _ParquetPart(parquet, start, arrays)
            start += part.count
            yield part
    elif unpacked_suffix(path) in (".xlsx", ".json"):
        yield _Part(read_cells(path, how.delimiter, how.encoding, how.is_header))
    else:
        yield from map(_Part, read_parts(path, how.delimiter, how.encoding, how.is_header))


@dataclass(frozen=True)
class _Part:
    """Rows whose cells are text."""

    table: CellTable

    @property
    def order(self) -> list[str]:
        return list(self.table.cells)

    @property
    def warnings(self) -> list[str]:
        return self.table.warnings

    def plain(self, rules: TableRules) -> dict[str, Column]:
        return {}

    def cells(self, plain: Mapping[str, Column]) -> CellTable:
        return self.table


@dataclass(frozen=True)
class _ParquetPart:
    """Rows of a Parquet file. Its values are taken as they are, unless the rules want them to be read otherwise."""

    parquet: Parquet
    start: int  # number of the first row, from 1
    arrays: Mapping[str, "pa.Array"]
    warnings: Sequence[str] = ()

    @property
    def order(self) -> list[str]:
        return self.parquet.names

    @property
    def count(self) -> int:
        return len(next(iter(self.arrays.values())))

    def plain(self, rules: TableRules) -> dict[str, Column]:
        names = [name for name, kind in self.parquet.kinds.items() if _as_it_is(input_name(name), kind, rules)]
        return {name: _column(name, self.parquet.kinds[name], self.arrays[name], rules) for name in names}

    def cells(self, plain: Mapping[str, Column]) -> CellTable:
        texts = {name: list(map(written, self.arrays[name].to_pylist())) for name in self.order if name not in plain}
        lines = np.arange(self.start, self.start + self.count)
        cells = pd.DataFrame(texts, index=range(self.count), dtype=str)
        kinds = {name: self.parquet.kinds[name] for name in texts}
        return CellTable(cells, [str(self.parquet.path)], np.zeros(self.count, int), lines, kinds=kinds)


PLAIN: dict[str, ColumnFormat] = {
    "number": {"kind": "number", "decimal": NumberFormat().decimal, "prefix": "", "suffix": ""},
    "date": {"kind": "date", "format": ISO},
    "category": {"kind": "category"},
}


def _as_it_is(name: str, kind: str, rules: TableRules) -> bool:
    if name in rules.formats:
        return rules.formats[name] == PLAIN[kind]
    return name in rules.ignore or keeps_kind(name, kind, rules)


def _column(name: str, kind: str, array: "pa.Array", rules: TableRules) -> Column:
    """Return the values of a column of a Parquet file, and what is wrong with them, as if they were read from text."""
    if kind == "category":
        return Column(_text(array, rules.missing), PLAIN[kind])
    stored = array.to_numpy(zero_copy_only=False)
    if kind == "date":
        days = pd.Series(stored.astype("M8[D]").astype("M8[s]"))
        values = days.where((days >= EARLIEST) & (days < LATEST))
        what, known = f"not a date ({ISO})", days.notna().to_numpy()
    else:
        numbers = np.asarray(stored, "float64")
        numbers = np.where(np.isin(numbers, _numbers(rules.missing)), np.nan, numbers)
        values = pd.Series(numbers).where(np.abs(numbers) <= LARGEST)
        what, known = "not a number", ~np.isnan(numbers)
    faults = {
        int(row): f"column '{input_name(name)}' contains {written(array[int(row)].as_py())!r}, {what}"
        for row in np.flatnonzero(known & values.isna().to_numpy())
    }
    if input_name(name) == rules.target:
        absent = np.flatnonzero(~known)
        faults |= {int(row): f"no target in column '{input_name(name)}'" for row in absent}
    return Column(values, PLAIN[kind], faults)


def _text(array: "pa.Array", missing: Sequence[str]) -> pd.Series:
    """Return texts without blanks around them, '' if missing; only different ones are looked at."""
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    texts = pd.Series([written(value) for value in array.dictionary.to_pylist()], dtype=str).str.strip()
    texts = pd.concat([texts.mask(texts.isin(list(missing)), ""), pd.Series([""], dtype=str)], ignore_index=True)
    codes = array.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
    return pd.Series(texts.array.take(codes))


def _numbers(missing: Sequence[str]) -> list[float]:
    """Return the numbers among the texts that mean a missing value, as a CSV file would hold them."""
    found = []
    for text in missing:
        try:
            number = float(text)
        except ValueError:
            continue
        if written(number) == text:
            found.append(number)
    return found


class _Stored:
    """The table of a split that is being written, with the hashes and the places of its rows."""

    def __init__(self, folder: Path):
        self.rows = 0
        self.missing: dict[str, int] = {}
        self._folder = folder
        self._whole: dict[str, bool] = {}
        self._range: dict[str, tuple[float, float]] = {}

    def add(self, part: TypedTable, file: int, frame: pd.DataFrame, fields: Fields) -> None:
        """Write rows of a file, by its number; `frame` has those of the part under the names of examples."""
        if not self.rows and not self.missing:
            self._begin(frame)
        assert isinstance(part.places, Places)
        hashes = {"written": part.written, **content_hashes(frame, fields)}
        hashes |= {"file": np.full(len(frame), file), "line": part.places.line}
        for name, values in hashes.items():
            self._arrays[name].append(values)
        self._table.add(frame)
        self.rows += len(frame)
        for name, values in frame.items():
            self._count(name, values)

    def close(self) -> None:
        """Finish the files."""
        self._table.close()
        for array in self._arrays.values():
            array.close()

    def warnings(self, table: StoredTable, target: str | None) -> list[str]:
        """Warn about columns that are empty, or that only name or number the rows."""
        if self.rows < MANY:
            return []
        features = [name for name in table if name != target]
        empty = [name for name in features if self.missing[name] == self.rows]
        unique = [name for name in features if table.distinct(name) == self.rows]
        counting = [name for name in features if self._counts(name, table)]
        return odd_columns(empty, unique, counting)

    def _begin(self, frame: pd.DataFrame) -> None:
        kinds = {name: {"f": "number", "M": "date"}.get(kind.kind, "text") for name, kind in frame.dtypes.items()}
        self._table = TableWriter(self._folder, kinds)
        types = {**dict.fromkeys(HASHES, "<u8"), "file": "<u4", "line": "<u8"}
        self._arrays = {
            name: GrowingArray(self._folder / f"{name}.npy", np.dtype(kind)) for name, kind in types.items()
        }

    def _count(self, name: str, values: pd.Series) -> None:
        kind = values.dtype.kind
        absent = values.isna() if kind in "fM" else values == ""
        self.missing[name] = self.missing.get(name, 0) + int(absent.sum())
        if kind == "f" and self._whole.get(name, True) and len(values):
            self._whole[name] = bool((values % 1 == 0).all())
            low, high = self._range.get(name, (np.inf, -np.inf))
            self._range[name] = min(low, values.min()), max(high, values.max())

    def _counts(self, name: str, table: StoredTable) -> bool:
        """Return whether a column of numbers holds consecutive whole numbers, each once."""
        if not self._whole.get(name) or self._range[name][1] - self._range[name][0] != self.rows - 1:
            return False
        return bool((np.diff(np.sort(table[name])) == 1).all())
