"""Read rows of texts from files of other programs: CSV with any delimiter, tab-separated lines, JSON."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.data.files import unpacked_suffix
from pipelines.errors import UserError, counted

DELIMITERS = ",;\t|"
SNIFFED = 200  # rows that are used to detect the delimiter
LONGEST_CELL = 1 << 24  # characters; a cell may hold a whole article
SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can escape one half of a surrogate pair, which is not a character


class NoText(str):
    """Content of a cell that is a list in JSON."""


@dataclass(frozen=True)
class Table:
    """Rows with the place of each, and the names of the columns if the format itself has them."""

    rows: list[tuple[str, list[str]]]
    names: list[str] | None = None


def read_tab_separated(text: str, path: Path) -> Table:
    """Split lines at tabs.

    Quotes are special only if most of the cells that contain quotes are enclosed in them.
    """
    lines = [(f"{path}:{number}", line) for number, line in enumerate(text.rstrip("\n").split("\n"), 1)]
    rows = [(place, line.split("\t")) for place, line in lines]
    return read_delimited(text, path, "\t") if quotes_cells(cells for _, cells in rows) else Table(rows)


def quotes_cells(rows: Iterable[Sequence[str]]) -> bool:
    """Return whether most of the cells with quotes are enclosed in them, so that a cell may hold a line break."""
    cells = [cell.strip() for row in islice(rows, SNIFFED) for cell in row if '"' in cell]
    return sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells) > len(cells) / 2


def read_delimited(text: str, path: Path, delimiter: str | None = None) -> Table:
    """Read rows that have the same number of cells. The delimiter is detected if it is not given.

    Cells that contain the delimiter must be quoted.

    Raises:
        UserError: If a row has wrong quotes, or more or fewer cells than most. The message names the row.
    """
    first, _, rest = text.partition("\n")
    skipped = 0
    if named := re.fullmatch(r'"?sep=(.)"?', first.strip(), re.IGNORECASE):  # Excel's own way to name the delimiter
        delimiter, text, skipped = named[1], rest, 1
    delimiter = delimiter or max(DELIMITERS, key=lambda each: _fit(text, each))
    rows = list(_rows(text, path, delimiter, skipped))
    widths = Counter(len(cells) for _, cells in rows)
    most = max(widths, key=lambda width: (widths[width], width), default=0)
    for place, cells in rows:
        if len(cells) != most:
            problem = f"has {counted(len(cells), 'column')}, but most rows have {most} (delimiter {delimiter!r})"
            raise UserError(place, f"{problem}; quote cells that contain the delimiter")
    return Table(rows)


def read_json(text: str, path: Path) -> Table:
    """Read an object on each line, or one list of objects. Nested keys are joined as `outer.inner`.

    Raises:
        UserError: If a line is not JSON, or is not an object. The message names the line.
    """
    whole = text.lstrip().startswith("[") or unpacked_suffix(path) == ".json"
    records = list(_whole(text, path) if whole else _lines(text, path))
    flat = []
    for place, record in records:
        if not isinstance(record, dict):
            raise UserError(place, f"is not a JSON object with named texts, but of type {type(record).__name__}")
        flat.append((place, dict(_flat(record))))
    names = list(dict.fromkeys(name for _, record in flat for name in record))
    return Table([(place, [record.get(name, "") for name in names]) for place, record in flat], names)


def text_of(cell: str, place: str) -> str:
    """Return the text of a cell.

    Raises:
        UserError: If the cell holds a list instead of a text.
    """
    if isinstance(cell, NoText):
        raise UserError(place, f"contains a list instead of a text: {cell}")
    return cell


def looks_like_json(text: str) -> bool:
    """Return whether the first line of a text is a JSON object, as in JSON lines."""
    first = text.lstrip()[: 1 << 20].partition("\n")[0]
    try:
        return first.startswith("{") and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _fit(text: str, delimiter: str) -> tuple[float, float, int]:
    """Return how well a delimiter splits the first rows, as a tuple of which a greater one is better.

    The first item is the share of rows with the most common number of cells. The second is the negative share of cells
    that begin with a blank, as the text after a comma in a sentence does. The third is the number of cells.
    """
    rows, wrong = [], 0
    try:
        for cells in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), SNIFFED):
            rows += [cells] if cells else []
    except csv.Error:
        wrong = 1
    widths = Counter(len(cells) for cells in rows)
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    if width < 2:
        return 0.0, 0.0, 0
    later = [cell for cells in rows for cell in cells[1:]]
    return count / (len(rows) + wrong), -sum(cell.startswith(" ") for cell in later) / len(later), width


def _rows(text: str, path: Path, delimiter: str, skipped: int) -> Iterator[tuple[str, list[str]]]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = skipped + 1
    try:
        for cells in reader:
            if any(cells):
                yield f"{path}:{line}", cells
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{line}", f"has invalid CSV quotes ({error})") from None


def _whole(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if looks_like_json(text):  # JSON lines in a file that is named .json
            yield from _lines(text, path)
            return
        raise UserError(str(path), f"is not valid JSON ({_reason(error)})") from None
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        if len(lists) != 1:
            raise UserError(str(path), "is a single JSON object; write a list of objects, or one object per line")
        (found,) = lists
    if not isinstance(found, list):
        raise UserError(str(path), "does not contain a list of JSON objects")
    yield from ((f"{path}: entry {number}", record) for number, record in enumerate(found, 1))


def _lines(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}:{number}", f"is not valid JSON ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return getattr(error, "msg", None) or "nested too deeply"


def _flat(record: dict, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", NoText(json.dumps(value, ensure_ascii=False)[:50])
        elif value is None or isinstance(value, str | int | float):
            text = "" if value is None else str(value)
            yield f"{prefix}{name}", SURROGATES.sub("\ufffd", text).replace("\0", "")
