"""Read tagged sentences from lines of cells: CoNLL formats, and CSV with a column of sentence numbers."""

import ast
import re
from contextlib import suppress
from pathlib import Path

from pipelines.data.sentences.column_checks import Table
from pipelines.data.sentences.columns import FORM, Columns, choose_columns, value_of
from pipelines.data.sentences.headers import ColumnRules, is_header
from pipelines.data.sentences.lines import Row, find_delimiter, read_rows, take_comments, trim
from pipelines.data.sentences.sentence import Sentence, TaggedFile, drop_blank_tokens, length_notes
from pipelines.data.sentences.spelling import SIGNS_FOR_O
from pipelines.errors import UserError, counted

CONLL_U = "ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC".split()
WITHIN_INDEX = re.compile(r"\d+[.-]\d+")  # CoNLL-U writes 1-2 for a token of several words, and 1.1 for an empty node
LOOKED_AT = 1000  # lines that are checked for whole sentences
WHOLE = 0.5  # if this share of the lines holds a whole sentence each, all lines are read so
ONE_PER_LINE = "put a blank line after each sentence"


def read_conll(path: Path, text: str, rules: ColumnRules, ending: str = "") -> TaggedFile:
    """Read sentences from lines.

    Cells are separated as in CSV, or else by tabs. A line without tabs is split at blanks.

    Raises:
        UserError: If the file holds no sentence, a line has another number of columns than most, or a column cannot
            hold tokens or tags.
    """
    delimiter, text = find_delimiter(text, ending, rules)
    rows = list(read_rows(path, text, delimiter))
    width = trim(rows)
    header, notes = take_comments(rows, width)
    named_by = "a comment"
    table = [row for row in rows if row.cells]
    if not table:
        raise UserError(str(path), "contains no sentences")
    if header is None and is_header(table[0].cells, [row.cells for row in table[1:]], rules):
        header, named_by = table[0].cells, f"line {table[0].line}"
        _drop_header(rows, table, header, notes)
    _check_widths(path, table, width, text)
    if header is None and _is_conll_u(table, ending):
        header, named_by = CONLL_U, "the CoNLL-U format"
    if header is not None and len(header) != width:
        raise UserError(f"{path}:{table[0].line}", f"has {counted(width, 'column')}, but the header has {len(header)}")
    if not table:
        raise UserError(str(path), "contains a header but no sentences")
    cells = list(zip(*(row.cells for row in table), strict=True))
    columns, more = choose_columns(Table(cells, header, f"{path}:{table[0].line}"), rules)
    whole = _whole_sentences(path, table, columns)
    sentences, left_out = (whole, []) if whole else _sentences(path, rows, columns)
    if not sentences:
        raise UserError(str(path), "contains no sentences")
    if header is not None:
        notes.append(f"column names are taken from {named_by}: {', '.join(header)}")
    notes += [*more, *left_out, *length_notes(sentences, ONE_PER_LINE)]
    return TaggedFile(sentences, columns.taken_for, notes)


def _drop_header(rows: list[Row], table: list[Row], header: list[str], notes: list[str]) -> None:
    """Remove the header, also where it is repeated because files were joined."""
    again = [row for row in table if row.cells == header]
    if len(again) > 1:
        notes.append(f"skipped the repeated header in line {again[1].line}")
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
        usual = f"but most lines have {width}" if width > 1 else "but no tag"
        problem = f"has {counted(count, 'column')}, {usual}"
        line = text.split("\n")[row.line - 1]
        hint = "; a non-breaking space is not a column separator" if "\u00a0" in line else ""
        raise UserError(f"{path}:{row.line}", f"{problem}{hint}; {FORM}")


def _whole_sentences(path: Path, table: list[Row], columns: Columns) -> list[Sentence]:
    """Read lines that hold a whole sentence each, or return an empty list if they do not.

    Tokens and tags are separated by blanks, or are written as lists.
    """
    first = [(_listed(row.cells[columns.token]), _listed(row.cells[columns.tag])) for row in table[:LOOKED_AT]]
    if sum(len(tokens) == len(tags) > 1 for tokens, tags in first) < WHOLE * len(first):
        return []
    sentences = []
    for row in table:
        tokens, tags = _listed(row.cells[columns.token]), _listed(row.cells[columns.tag])
        tokens, tags = drop_blank_tokens(tokens, tags, f"{path}:{row.line}")
        sentences.append(Sentence(tokens, tags, str(path), [row.line] * len(tokens)))
    return sentences


def _listed(cell: str) -> list[str]:
    """Split a cell at blanks, or parse it as the list of strings that pandas writes."""
    if cell.startswith("[") and cell.endswith("]"):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return [str(each) for each in ast.literal_eval(cell)]
    return cell.split()


def _sentences(path: Path, rows: list[Row], columns: Columns) -> tuple[list[Sentence], list[str]]:
    sentences: list[Sentence] = []
    current = Sentence([], [], str(path))
    number: tuple[str, ...] | None = None
    seen: set[tuple[str, ...] | None] = set()
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
            raise UserError(f"{path}:{row.line}", f"has the tag '{tag}', but no token")
        if not token:  # the token is only blanks, which occurs in tweets
            blanks += 1
            continue
        current.tokens.append(token)
        current.tags.append(tag)
        current.lines.append(row.line)
    sentences += [current] if current.tokens else []
    notes = [f"skipped {counted(blanks, 'line')} without a token"] if blanks else []
    if ranges:
        notes.append(f"skipped {counted(ranges, 'tag')} of ranges (1-2) and empty nodes (1.1): only words are read")
    if returned:
        notes.append(f"{counted(returned, 'sentence number')} repeated later in the file: read as separate sentences")
    return sentences, notes


def _number(row: Row, columns: Columns, before: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the sentence number of a line.

    If the cell is empty, the last number is returned: some files number only the first line of a sentence.
    """
    if not columns.sentence or not row.cells:
        return before
    last = before or ("",) * len(columns.sentence)
    return tuple(row.cells[column] or known for column, known in zip(columns.sentence, last, strict=True))
