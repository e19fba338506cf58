"""Tagged sentences as lines of cells: CoNLL in its forms, and CSV with a column of sentence numbers."""

import ast
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.tag_schemes import SIGNS_FOR_O
from pipelines.data.tagged_column_checks import Table
from pipelines.data.tagged_columns import FORM, Columns, choose_columns, value_of
from pipelines.data.tagged_headers import ColumnRules, is_header
from pipelines.data.tagged_sentences import Sentence, TaggedFile, drop_blank_tokens, length_notes
from pipelines.errors import UserError

DOCUMENT = "-DOCSTART-"
CONLL_U = "ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC".split()
COLUMNS_OF_PLUS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
METADATA = re.compile(r"#\s*[\w.:-]+\s*=.*")
WITHIN_INDEX = re.compile(r"\d+[.-]\d+")  # of CoNLL-U: 1-2 for the words of a token, 1.1 for what is left out
WHOLE = 0.5  # share of the lines that hold a whole sentence each, where all are to
ONE_PER_LINE = "put a blank line after each sentence"


@dataclass
class Row:
    """The cells of a line; none of a line that ends a sentence."""

    line: int
    cells: list[str]


def read_conll(path: Path, text: str, rules: ColumnRules, ending: str = "") -> TaggedFile:
    """Read sentences of lines; cells are divided by tabs or, without any in a line, by blanks, or as CSV.

    Raises:
        UserError: where the file holds no sentence, a line has another number of columns than most, or columns hold
            what tokens or tags cannot be.
    """
    delimiter = _delimiter(text, ending, rules)
    rows = list(_rows(path, text, delimiter))
    width = _trim(rows)
    header, notes = _take_comments(rows, width)
    named_by = "a comment"
    table = [row for row in rows if row.cells]
    if not table:
        raise UserError(str(path), "holds no sentence")
    if header is None and is_header(table[0].cells, [row.cells for row in table[1:]], rules):
        header, named_by = table[0].cells, f"line {table[0].line}"
        _drop_header(rows, table, header, notes)
    _check_widths(path, table, width, text)
    if header is None and _is_conll_u(table, ending):
        header, named_by = CONLL_U, "the form, CoNLL-U"
    if header is not None and len(header) != width:
        raise UserError(f"{path}:{table[0].line}", f"{width} columns, but the header names {len(header)}")
    if not table:
        raise UserError(str(path), "holds a header, but no sentence")
    cells = list(zip(*(row.cells for row in table), strict=True))
    columns, more = choose_columns(Table(cells, header, f"{path}:{table[0].line}"), rules)
    whole = _whole_sentences(path, table, columns)
    sentences, left_out = (whole, []) if whole else _sentences(path, rows, columns)
    if not sentences:
        raise UserError(str(path), "holds no sentence")
    if header is not None:
        notes.append(f"columns are named by {named_by}: {', '.join(header)}")
    notes += [*more, *left_out, *length_notes(sentences, ONE_PER_LINE)]
    return TaggedFile(sentences, columns.taken_for, notes)


def _delimiter(text: str, ending: str, rules: ColumnRules) -> str | None:
    """Tell what divides cells: a sign, as in CSV, or None for tabs and blanks."""
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
    return next(csv.reader([line], delimiter=sign))


def _rows(path: Path, text: str, delimiter: str | None) -> Iterator[Row]:
    """Give the cells of every line; none where all are blank, or of a line that begins a document."""
    for number, cells in _csv_rows(path, text, delimiter) if delimiter else _plain_rows(text):
        cells = [cell.strip() for cell in cells]
        yield Row(number, cells if any(cells) and DOCUMENT not in cells else [])


def _plain_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    tabbed = "\t" in text
    for number, line in enumerate(text.split("\n"), start=1):
        if "\t" in line or (tabbed and line.startswith("#")):
            yield number, line.split("\t")
        else:
            yield number, re.split(" +", line.strip(" "))


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    start = 1
    try:
        for cells in reader:
            if reader.line_num > start:
                raise UserError(f"{path}:{start}", "a quote is opened in this line and closed in another; double it")
            yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{start}", f"not CSV ({error})") from None


def _trim(rows: list[Row]) -> int:
    """Find how many cells most lines have, and take empty ones beyond off, as of a delimiter at the end."""
    widths = Counter(len(row.cells) for row in rows if row.cells and not row.cells[0].startswith("#"))
    width = max(widths, key=widths.__getitem__, default=0)
    full = [row for row in rows if len(row.cells) >= width > 0]
    while width > 2 and not any(row.cells[width - 1] for row in full):
        width -= 1
    for row in full:
        if not any(row.cells[width:]):
            row.cells = row.cells[:width]
    return width


def _take_comments(rows: list[Row], width: int) -> tuple[list[str] | None, list[str]]:
    """Empty the comment lines before sentences: find the header of CoNLL-U Plus, and say what was passed over."""
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
    notes = [f"{len(others):,} comment lines are passed over, the first '{others[0][:40]}'"] if others else []
    return header, notes


def _drop_header(rows: list[Row], table: list[Row], header: list[str], notes: list[str]) -> None:
    """Take the header out, also where it stands again, as where files were joined."""
    again = [row for row in table if row.cells == header]
    if len(again) > 1:
        notes.append(f"the header stands again in line {again[1].line}, and is left out there")
    for row in again:
        row.cells = []
    table[:] = [row for row in table if row.cells]


def _is_conll_u(table: list[Row], ending: str) -> bool:
    fits = all(len(row.cells) == len(CONLL_U) and re.match(r"\d", row.cells[0]) for row in table)
    return bool(table) and (ending == ".conllu" or fits)


def _check_widths(path: Path, table: list[Row], width: int, text: str) -> None:
    for row in table:
        count = len(row.cells)
        if count == width > 1:
            continue
        problem = (
            f"{count} column{'s' * (count != 1)}, but {'most lines have ' + str(width) if width > 1 else 'no tag'}"
        )
        line = text.split("\n")[row.line - 1]
        hint = "; the blank in it is a non-breaking one, which divides nothing" if "\u00a0" in line else ""
        raise UserError(f"{path}:{row.line}", f"{problem}{hint}; {FORM}")


def _whole_sentences(path: Path, table: list[Row], columns: Columns) -> list[Sentence]:
    """Read lines that hold a whole sentence each: tokens and tags between blanks, or as lists; none if they do not."""
    read = [(_listed(row.cells[columns.token]), _listed(row.cells[columns.tag])) for row in table]
    fitting = sum(len(tokens) == len(tags) > 1 for tokens, tags in read)
    if fitting < WHOLE * len(table):
        return []
    sentences = []
    for row, (tokens, tags) in zip(table, read, strict=True):
        tokens, tags = drop_blank_tokens(tokens, tags, f"{path}:{row.line}")
        sentences.append(Sentence(tokens, tags, str(path), [row.line] * len(tokens)))
    return sentences


def _listed(cell: str) -> list[str]:
    """Divide a cell by its blanks, or read it as the list that pandas writes of texts."""
    if cell.startswith("[") and cell.endswith("]"):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return [str(each) for each in ast.literal_eval(cell)]
    return cell.split()


def _sentences(path: Path, rows: list[Row], columns: Columns) -> tuple[list[Sentence], list[str]]:
    sentences: list[Sentence] = []
    current = Sentence([], [], str(path))
    number: tuple[str, ...] | None = None
    seen: set[tuple[str, ...]] = set()
    blanks, ranges, returned = 0, 0, 0
    for row in rows:
        new = _number(row, columns, number)
        if current.tokens and (not row.cells or new != number):
            sentences.append(current)
            current = Sentence([], [], str(path))
        if new != number:
            returned += new in seen
            seen.add(new)
            number = new
        if not row.cells:
            continue
        token, tag = row.cells[columns.token], row.cells[columns.tag]
        tag = value_of(tag, columns.tag_key) if columns.tag_key else tag
        if columns.index is not None and WITHIN_INDEX.fullmatch(row.cells[columns.index]):
            ranges += tag not in SIGNS_FOR_O
            continue
        if not token and tag not in SIGNS_FOR_O:
            raise UserError(f"{path}:{row.line}", f"a tag, '{tag}', but no token in its column")
        if not token:  # of nothing but blanks, as tweets have
            blanks += 1
            continue
        current.tokens.append(token)
        current.tags.append(tag)
        current.lines.append(row.line)
    sentences += [current] if current.tokens else []
    notes = [f"{blanks:,} lines without a token are left out"] if blanks else []
    if ranges:
        notes.append(f"{ranges:,} tags of ranges (1-2) and empty nodes (1.1) are left out: words alone count")
    if returned:
        notes.append(f"{returned:,} sentence numbers come again after others: their lines are sentences of their own")
    return sentences, notes


def _number(row: Row, columns: Columns, before: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Give a line's sentence number; where the cell is empty, as in all lines but a sentence's first, the last."""
    if not columns.sentence or not row.cells:
        return before
    last = before or ("",) * len(columns.sentence)
    return tuple(row.cells[column] or known for column, known in zip(columns.sentence, last, strict=True))
