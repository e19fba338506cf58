"""Split the lines of a file into rows of cells: find the delimiter, the comments and the number of columns."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.sentences.headers import ColumnRules, is_header
from pipelines.errors import UserError, counted

DOCUMENT = "-DOCSTART-"
COLUMNS_OF_PLUS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
EXCEL = re.compile(r'"?sep=(.)"?(?=\n)', re.IGNORECASE)
METADATA = re.compile(r"#\s*[\w.:-]+\s*=.*")


@dataclass
class Row:
    """The cells of a line; a line that ends a sentence has none."""

    line: int
    cells: list[str]


def find_delimiter(text: str, ending: str, rules: ColumnRules) -> tuple[str | None, str]:
    """Return what separates cells, and the text without Excel's `sep=` line.

    The delimiter is a character, as in CSV, or None for tabs and blanks.
    """
    if named := EXCEL.match(text):
        return named[1], text[named.end() :]  # keep the line break, so that line numbers stay the same
    return _delimiter(text, ending, rules), text


def _delimiter(text: str, ending: str, rules: ColumnRules) -> str | None:
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    if not lines:
        return None
    most = max(",;\t", key=lines[0].count)
    if ending == ".csv" and most in lines[0]:
        return most
    if any("\t" in line for line in lines):
        return None
    for sign in ",;":
        if sign in lines[0] and is_header([cell.strip() for cell in _cells(lines[0], sign)], [], rules):
            return sign
    if all(" " in line.strip(" ") for line in lines):
        return None
    for sign in ",;|":
        widths = {len(_cells(line, sign)) for line in lines[:1000]}
        if len(widths) == 1 and widths != {1}:
            return sign
    return None


def _cells(line: str, sign: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=sign))
    except csv.Error:  # the line is longer than a cell may be
        return [line]


def read_rows(path: Path, text: str, delimiter: str | None) -> Iterator[Row]:
    """Yield the cells of every line.

    A line has none if all its cells are blank, or if it begins a document.
    """
    for number, cells in _csv_rows(path, text, delimiter) if delimiter else _plain_rows(text):
        cells = [cell.strip() for cell in cells]
        yield Row(number, cells if any(cells) and DOCUMENT not in cells else [])


def _plain_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    tabbed = "\t" in text
    for number, line in enumerate(text.split("\n"), start=1):
        if "\t" in line or (tabbed and line.startswith("#")):
            yield number, line.split("\t")
        else:
            yield number, [cell for cell in line.split(" ") if cell]


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    start = 1
    try:
        for cells in reader:
            if reader.line_num > start:
                problem = "the quotation mark opened on this line is not closed on it"
                raise UserError(f"{path}:{start}", f'{problem}; write "" for a literal quotation mark')
            yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{start}", f"is not valid CSV ({error})") from None


def trim(rows: list[Row]) -> int:
    """Return the usual number of cells in a line, and remove empty cells beyond it from the rows.

    A delimiter at the end of a line adds such a cell.
    """
    widths = Counter(len(row.cells) for row in rows if row.cells and not row.cells[0].startswith("#"))
    width = max(widths, key=widths.__getitem__, default=0)
    full = [row for row in rows if len(row.cells) >= width > 0]
    while width > 2 and not any(row.cells[width - 1] for row in full):
        width -= 1
    for row in full:
        if not any(row.cells[width:]):
            row.cells = row.cells[:width]
    return width


def take_comments(rows: list[Row], width: int) -> tuple[list[str] | None, list[str]]:
    """Remove the cells of comment lines before sentences.

    Returns the header of CoNLL-U Plus if there is one, and notes on skipped comments.
    """
    header, others = None, []
    between = True
    for row in rows:
        line = " ".join(row.cells)
        if between and line.startswith("#") and (len(row.cells) != width or METADATA.fullmatch(line)):
            if names := COLUMNS_OF_PLUS.fullmatch(line):
                header = names[1].split()
            elif not METADATA.fullmatch(line):
                others.append(line)
            row.cells = []
        between = not row.cells
    notes = [f"skipped {counted(len(others), 'comment line')} (first: '{others[0][:40]}')"] if others else []
    return header, notes
