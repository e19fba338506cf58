"""Choose the columns of tagged lines that hold the tokens, the tags and the sentence numbers."""

from collections import Counter
from dataclasses import dataclass

from pipelines.data.sentences.column_checks import Table, check_tags, check_tokens, column_notes, counts_words, numbers
from pipelines.data.sentences.headers import (
    DOCUMENT_NAMES,
    SENTENCE_NAMES,
    TOKEN_NAMES,
    Column,
    ColumnRules,
    plain_name,
)
from pipelines.errors import UserError, counted, did_you_mean

TAG_KEYS = {"ner", "ne", "name", "nertag", "ner_tag", "iob", "bio"}  # keys in the MISC column of CoNLL-U
FORM = "write a token and its tag on each line, and a blank line after each sentence"


@dataclass(frozen=True)
class Columns:
    """The index of each column that is read, and what `data.json` says about all columns."""

    token: int
    tag: int
    sentence: tuple[int, ...]
    index: int | None  # column with the number of the token in its sentence
    tag_key: str | None  # key of the tag, if the cells of the tag column hold KEY=VALUE pairs
    taken_for: dict[str, str]


def choose_columns(table: Table, rules: ColumnRules) -> tuple[Columns, list[str]]:
    """Return the columns to read, and notes on columns that the user may not expect.

    Raises:
        UserError: If a column does not exist, or cannot hold tokens or tags.
    """
    tag, key = _tag_column(table, rules)
    sentence = _sentence_columns(table, rules)
    free = [number for number in range(len(table.columns)) if number not in (tag, *sentence)]
    token = _token_column(table, rules, free)
    if key is None:
        check_tags(table, tag, rules.plain)
    check_tokens(table, token, tag, sentence)
    index = next((number for number in free if number < token and counts_words(table, number)), None)
    kinds = dict.fromkeys(range(len(table.columns)), "not used") | dict.fromkeys(sentence, "sentence numbers")
    kinds |= {token: "tokens", tag: "tags" if key is None else f"tags, after {key}="}
    taken_for = {table.name(number): kind for number, kind in kinds.items()}
    return Columns(token, tag, sentence, index, key, taken_for), column_notes(table, token, tag, rules)


def value_of(cell: str, key: str) -> str:
    """Return the value of a key in a cell of KEY=VALUE pairs, or `O` if the key is missing."""
    return next((pair.partition("=")[2] for pair in cell.split("|") if pair.partition("=")[0] == key), "O")


def _place(table: Table, column: Column, key: str) -> int:
    header, width = table.header, len(table.columns)
    if isinstance(column, int):
        if -width <= column < width:
            return column % width
        problem = f"has {counted(width, 'column')}, but data.{key} is {column}"
        raise UserError(table.where, f"{problem}; {FORM}")
    if header is None:
        problem = f"there is no header with the column '{column}' of data.{key}"
        raise UserError(table.where, f"{problem}; set it to a number, counted from 0")
    if column not in header:
        problem = f"the header has no column '{column}', as set in data.{key}"
        raise UserError(table.where, f"{problem}{did_you_mean(column, header)}")
    return header.index(column)


def _tag_column(table: Table, rules: ColumnRules) -> tuple[int, str | None]:
    """Return the column of the tags, and their key if it is the last column and holds KEY=VALUE pairs.

    The MISC column of CoNLL-U does.
    """
    last = len(table.columns) - 1
    pairs = [pair for cell in table.columns[last] if "=" in cell for pair in cell.split("|")] if last > 1 else []
    keys = Counter(pair.partition("=")[0] for pair in pairs)
    if isinstance(rules.tag, str) and rules.tag in keys and rules.tag not in (table.header or ()):
        return last, rules.tag
    place = _place(table, rules.tag, "tag_column")
    known = [key for key in keys if key.casefold() in TAG_KEYS]
    return place, known[0] if known and place == last else None


def _sentence_columns(table: Table, rules: ColumnRules) -> tuple[int, ...]:
    """Return the column of sentence numbers, after the columns of documents that the header names."""
    if rules.sentence is not None:
        return (_place(table, rules.sentence, "sentence_column"),)
    names = [plain_name(name) for name in table.header or ()]
    found = [number for number, name in enumerate(names) if name in SENTENCE_NAMES][:1]
    documents = [number for number, name in enumerate(names) if name in DOCUMENT_NAMES]
    return (*documents, *found) if found else ()


def _token_column(table: Table, rules: ColumnRules, free: list[int]) -> int:
    if rules.token is not None:
        return _place(table, rules.token, "token_column")
    named = [number for number in free if table.header and plain_name(table.header[number]) in TOKEN_NAMES]
    worded = [number for number in free if not numbers(table.counts[number])]
    return next(iter([*named, *worded, *free, 0]))
