"""Read CSV, Excel, Parquet and JSON tables as text cells, with the place of each row."""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from pipelines.data.encodings import read_lines, read_text
from pipelines.data.files import UNREADABLE, cause, unpacked_suffix
from pipelines.data.tables.parquet import open_parquet
from pipelines.errors import UserError, counted

DELIMITERS = {",": "','", ";": "';'", "\t": "'\\t'", "|": "'|'"}  # what `auto` tries, and how messages write it
PREAMBLE = 20  # number of first rows that are searched for a header
AGREEING = 0.8  # share of the first rows that a delimiter must split into as many cells as the first
LOOKED_AT = 100  # number of first rows that are used to detect the delimiter
AT_ONCE = 50_000  # rows parsed before they are packed: Python strings take ten times the space
HEAD_LINES = 1000  # first lines of a file that is read in parts, which decide on its delimiter
ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".jsonl", ".ndjson", ".json")
TABLES = "'.[tables]' in the clone"
Rows = Iterator[tuple[int, list[str]]]  # each row with the line on which it starts
csv.field_size_limit(1 << 24)  # characters per cell: far more than any text that belongs in a table


@dataclass(frozen=True)
class CellTable:
    """Cells as text, with the column names of the header, and the place of each row."""

    cells: pd.DataFrame
    files: list[str]
    file: np.ndarray  # (n,): index in `files`
    line: np.ndarray  # (n,): line on which the row starts; number of the row, from 1, if the file has no lines
    faults: dict[int, str] = field(default_factory=dict)  # row -> why it cannot be used
    warnings: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(
        default_factory=dict
    )  # column -> what its file states it holds: number, date, category

    def place(self, row: int) -> str:
        """Return the place of a row, such as 'houses.csv:12'."""
        return f"{self.files[self.file[row]]}:{self.line[row]}"

    @property
    def name(self) -> str:
        """Return a short name for the files."""
        return self.files[0] if len(self.files) == 1 else f"{self.files[0]} and {len(self.files) - 1} more"


def read_cells(
    path: str | Path, delimiter: str, encoding: str, is_header: Callable[[Sequence[str]], bool]
) -> CellTable:
    """Read a table whose first row names the columns.

    `delimiter` may be `auto`. A byte order mark overrides `encoding`. `is_header` returns whether a row holds names of
    expected columns.

    Raises:
        UserError: If the table cannot be read. The message names the file, and the line if there is one.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".xlsx":
            rows, warnings = _excel(path)
            return _below_header(path, ",", rows, is_header, warnings)
        if path.suffix.lower() == ".parquet":
            parquet = open_parquet(path)
            columns = {name: column.to_pylist() for name, column in parquet.whole().items()}
            frame = pd.DataFrame(columns, index=range(1, 1 + parquet.count), dtype=object)
            return replace(_of_records(path, frame), kinds=parquet.kinds)
        if unpacked_suffix(path) in (".jsonl", ".ndjson", ".json"):
            return _of_records(path, _json(path, encoding))
        return _read_csv(path, delimiter, encoding, is_header)
    except UNREADABLE as error:
        raise UserError(str(path), f"cannot read this table ({cause(error)})") from None


def join_cells(tables: Sequence[CellTable]) -> CellTable:
    """Concatenate the rows of tables.

    Raises:
        UserError: If a table has other columns than the first.
    """
    first = tables[0]
    for table in tables[1:]:
        differing = set(table.cells).symmetric_difference(first.cells)
        if differing:
            raise UserError(
                table.name, f"its columns differ from those of {first.name}: {', '.join(sorted(differing))}"
            )
    starts = [int(start) for start in np.cumsum([0, *(len(table.cells) for table in tables)])]
    return CellTable(
        cells=pd.concat([table.cells for table in tables], ignore_index=True)[list(first.cells)],
        files=[table.name for table in tables],
        kinds={
            name: kind for name, kind in first.kinds.items() if all(kind == each.kinds.get(name) for each in tables)
        },
        file=np.repeat(np.arange(len(tables)), np.diff(starts)),
        line=np.concatenate([table.line for table in tables]),
        faults={
            row + int(s): why for table, s in zip(tables, starts, strict=False) for row, why in table.faults.items()
        },
        warnings=[warning for table in tables for warning in table.warnings],
    )


def _of_records(path: Path, frame: pd.DataFrame) -> CellTable:
    """Convert typed cells to the text that a CSV file would hold. The index of the frame numbers the rows."""
    for name in frame:
        nested = frame[name].map(lambda value: isinstance(value, list | dict))
        if nested.any():
            row = frame.index[np.flatnonzero(nested)[0]]
            raise UserError(f"{path}:{row}", f"column '{name}' contains a list or an object; write a single value")
    cells = pd.DataFrame({str(name): frame[name].map(written) for name in frame}, dtype=str).reset_index(drop=True)
    if cells.empty:
        raise UserError(str(path), "this table has no rows")
    return CellTable(cells, [str(path)], np.zeros(len(cells), int), frame.index.to_numpy(int))


def written(value: Any) -> str:
    """Return a value as a CSV file would hold it."""
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)) or value is pd.NA:
        return ""
    if isinstance(value, float | np.floating):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _excel(path: Path) -> tuple[Rows, list[str]]:
    """Return the rows of the first sheet with their row numbers, and warnings."""
    try:
        book = pd.ExcelFile(path, engine="openpyxl")
        sheet = pd.read_excel(book, header=None, dtype=object, keep_default_na=False)  # reads the first sheet only
    except ImportError:
        mend = f"run: pip install {TABLES}, or save the sheet as CSV"
        raise UserError(str(path), f"reading an Excel file needs the package openpyxl; {mend}") from None
    except (ValueError, KeyError, BadZipFile) as error:
        raise UserError(str(path), f"cannot be read as an Excel file ({error}); save the sheet as CSV") from None
    warnings = []
    if len(book.sheet_names) > 1:
        warnings.append(f"{path}: only the first of {len(book.sheet_names)} sheets is read, '{book.sheet_names[0]}'")
    texts = ([written(value) for value in row] for row in sheet.itertuples(index=False))
    return ((number, cells) for number, cells in enumerate(texts, 1) if any(cells)), warnings


def _json(path: Path, encoding: str) -> pd.DataFrame:
    """Read a list of objects, or an object on each line."""
    text, _ = read_text(path, encoding)
    if text.lstrip().startswith("["):
        try:
            rows = list(enumerate(json.loads(text), 1))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{error.lineno}", f"is not valid JSON: {error.msg}") from None
    else:
        rows = list(_objects(path, text.split("\n")))  # `splitlines` would also split at signs within a string
    return _frame(path, rows)


def _objects(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Read the value on each line that is not blank, with its number."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                problem = f"is not valid JSON: {error.msg}; write one object per line, or one list of objects"
                raise UserError(f"{path}:{number}", problem) from None


def _frame(path: Path, rows: Sequence[tuple[int, Any]]) -> pd.DataFrame:
    for number, row in rows:
        if not isinstance(row, dict):
            raise UserError(
                f"{path}:{number}", "is not a JSON object; write each row as an object with a key per column"
            )
    return pd.DataFrame([row for _, row in rows], index=[number for number, _ in rows], dtype=object)


def _read_csv(path: Path, delimiter: str, encoding: str, is_header: Callable[[Sequence[str]], bool]) -> CellTable:
    text, warnings = read_text(path, encoding)
    start = _start(path, text, delimiter, is_header)
    lines = io.StringIO(start.text, newline="")
    return _below_header(path, start.delimiter, _rows(path, lines, start), is_header, [*warnings, *start.warnings])


def read_parts(
    path: Path, delimiter: str, encoding: str, is_header: Callable[[Sequence[str]], bool]
) -> Iterator[CellTable]:
    """Read a CSV or JSON Lines file as `read_cells` does, but some rows at a time.

    The delimiter is detected from the first rows, and columns without a name are dropped if they are empty there.
    """
    try:
        lines = read_lines(path, encoding)
        if unpacked_suffix(path) in (".jsonl", ".ndjson"):
            objects = _objects(path, lines)
            while rows := list(itertools.islice(objects, AT_ONCE)):
                yield _of_records(path, _frame(path, rows))
            return
        head = list(itertools.islice(lines, HEAD_LINES))
        start = _start(path, "".join(head), delimiter, is_header)
        text = itertools.chain(io.StringIO(start.text, newline=""), lines)
        header = _read_header(path, start.delimiter, _rows(path, text, start), is_header)
        first = _table(path, header.names, itertools.islice(header.rows, AT_ONCE), start.warnings)
        yield first
        while rows := list(itertools.islice(header.rows, AT_ONCE)):
            part = _table(path, header.names, iter(rows), ())
            yield replace(part, cells=part.cells.reindex(columns=list(first.cells)))
    except UNREADABLE as error:
        raise UserError(str(path), f"cannot read this table ({cause(error)})") from None


@dataclass(frozen=True)
class _Start:
    """The text of a CSV file from its header on, and what was found about it."""

    text: str
    delimiter: str
    skipped: int  # lines before the header
    warnings: list[str]


def _start(path: Path, text: str, delimiter: str, is_header: Callable[[Sequence[str]], bool]) -> _Start:
    skipped, warnings = 0, []
    if text[:4].lower() == "sep=" and text[5:6] == "\n":  # Excel's own way to name the delimiter
        delimiter, skipped, text = text[4], 1, text[6:]
    text, comments = _without_comments(text, is_header)
    if comments:
        warnings.append(f"{path}: skipped {counted(comments, 'comment line')} before the header")
    if not text.strip():
        raise UserError(str(path), "this table is empty; write the column names in the first line")
    if delimiter == "auto":
        delimiter = _delimiter(path, text, is_header)
    return _Start(text, delimiter, skipped + comments, warnings)


def _below_header(
    path: Path, delimiter: str, rows: Rows, is_header: Callable[[Sequence[str]], bool], warnings: Sequence[str]
) -> CellTable:
    header = _read_header(path, delimiter, rows, is_header)
    return _table(path, header.names, header.rows, warnings)


def _table(path: Path, header: Sequence[str], rows: Rows, warnings: Sequence[str]) -> CellTable:
    cells, lines, faults, trailing = _parse(path, len(header), rows)
    cells, unnamed = _drop_unnamed(path, header, cells)
    return CellTable(cells, [str(path)], np.zeros(len(lines), int), lines, faults, [*warnings, *trailing, *unnamed])


def _without_comments(text: str, is_header: Callable[[Sequence[str]], bool]) -> tuple[str, int]:
    """Remove the lines before the header that start with '#', unless the last of them is the header.

    Returns the text and the number of lines removed.
    """
    lines: list[str] = []
    at = 0
    while text[at : at + 1] == "#":
        stop = text.find("\n", at) + 1 or len(text)
        lines.append(text[at:stop])
        at = stop
    if lines and is_header(re.split(r"[,;\t|]", lines[-1].strip("# \r\n"))):
        at -= len(lines.pop())
        return text[at:].removeprefix("#").removeprefix(" "), len(lines)
    return text[at:], len(lines)


def _delimiter(path: Path, text: str, is_header: Callable[[Sequence[str]], bool]) -> str:
    """Return the delimiter that makes the first row a header, or that splits the first rows into equally many cells."""
    best, most = None, 1
    for sign in DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, skipinitialspace=True)
        rows = [row for row in itertools.islice(reader, LOOKED_AT) if any(row)]
        if len(rows[0]) > 1 and is_header([name.strip() for name in rows[0]]):
            return sign
        agreeing = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        if len(rows[0]) > most and agreeing > AGREEING:
            best, most = sign, len(rows[0])
    if best is None and any(sign in text[: text.find("\n")] for sign in DELIMITERS):
        raise UserError(str(path), "the delimiter cannot be detected; set data.delimiter")
    return best or ","  # the table has a single column


def _parse(path: Path, width: int, rows: Rows) -> tuple[pd.DataFrame, np.ndarray, dict[int, str], list[str]]:
    """Return the cells of rows, the lines on which they start, the rows with a wrong width, and warnings."""
    parts: list[pd.DataFrame] = []
    lines: list[int] = []
    faults: dict[int, str] = {}
    trailing = 0
    while batch := list(itertools.islice(rows, AT_ONCE)):
        kept = []
        for line, cells in batch:
            if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
                trailing += 1
            elif len(cells) != width:
                faults[len(lines)] = f"has {counted(len(cells), 'cell')}, but the header has {width}"
            lines.append(line)
            kept.append([*cells[:width], *[""] * (width - len(cells))])
        parts.append(pd.DataFrame(kept, dtype=str))
    if not parts:
        raise UserError(str(path), "this table has a header but no rows")
    warning = f"{path}: ignored empty cells beyond the last column of the header in {counted(trailing, 'row')}"
    return pd.concat(parts, ignore_index=True), np.array(lines), faults, [warning] if trailing else []


def _rows(path: Path, lines: Iterable[str], begin: _Start) -> Rows:
    """Yield each row that is not blank, with the line on which it starts. Quoted cells may hold line breaks."""
    reader = csv.reader(lines, delimiter=begin.delimiter, skipinitialspace=True, strict=True)
    start, skipped = 1, begin.skipped
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"is not valid CSV: {error}; quote cells that contain quotes, and double these quotes"
            raise UserError(f"{path}:{start + skipped}", problem) from None
        if len(cells) > 1 or any(cell.strip() for cell in cells):
            yield start + skipped, cells
        start = reader.line_num + 1


@dataclass(frozen=True)
class _Header:
    names: list[str]
    rows: Rows  # below it


def _read_header(path: Path, delimiter: str, rows: Rows, is_header: Callable[[Sequence[str]], bool]) -> _Header:
    """Check that the first row is a header."""
    header = [name.strip() for name in next(rows, (0, [""]))[1]]
    if is_header(header):
        twice = next((name for at, name in enumerate(header) if name and name in header[:at]), None)
        if twice is not None:
            raise UserError(str(path), f"two columns are named '{twice}'; rename one")
        return _Header(header, rows)
    other = next((sign for sign in DELIMITERS if sign != delimiter and sign in header[0]), None)
    if len(header) == 1 and other is not None:
        problem = f"the header has only one column, {header[0][:60]!r}; set data.delimiter: {DELIMITERS[other]} or auto"
        raise UserError(str(path), problem)
    looked_at = list(itertools.islice(rows, PREAMBLE))
    for line, cells in looked_at:
        if is_header([cell.strip() for cell in cells]):
            raise UserError(f"{path}:{line}", "this looks like the header; remove the lines before it")
    return _Header(header, itertools.chain(looked_at, rows))


def _drop_unnamed(path: Path, header: Sequence[str], cells: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Name the columns without a name, such as that of row numbers, and drop those that are also empty."""
    names = [name or f"column_{number}" for number, name in enumerate(header, 1)]
    cells = cells.set_axis(names, axis=1)
    unnamed = [name for name, given in zip(names, header, strict=True) if not given]
    empty = [name for name in unnamed if (cells[name] == "").all()]
    called = [name for name in unnamed if name not in empty]
    given = f"{counted(len(called), 'column')} without a name in the header"
    return cells.drop(columns=empty), [f"{path}: {given}: named {', '.join(called)}"] if called else []
