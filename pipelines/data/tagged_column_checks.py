"""Whether columns of tagged lines can hold what they are taken for, and which others look right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.data.tag_spelling import MOSTLY, SIGNS_FOR_O, SUFFIX, WORDS_FOR_O
from pipelines.data.tagged_headers import TAG_NAMES, ColumnRules, is_tag, plain_name
from pipelines.errors import UserError

INDEX = re.compile(r"\d+([.-]\d+)?")  # CoNLL-U also counts 1-2 for the words of a token, and 1.1 for what is left out
TAG = re.compile(r"[BIESLUM][-_]\S+")
LEAST_O = 0.3  # share of O in a column of tags in another spelling, where another column plainly holds tags
SHOWN = 3  # cells of a column


@dataclass(frozen=True)
class Table:
    """The columns of a file's lines, their names, and the place of the first line."""

    columns: list[tuple[str, ...]]
    header: list[str] | None
    where: str

    def name(self, number: int) -> str:
        """Say what a column is called, by number without a header."""
        return self.header[number] if self.header else f"column {number}"

    def setting(self, number: int) -> str:
        """Write a column as the config has to name it."""
        return self.header[number] if self.header else str(number)

    def shown(self, number: int) -> str:
        """Show the first cells of a column."""
        cells = dict.fromkeys(self.columns[number])
        return ", ".join(list(cells)[:SHOWN]) + ", ..." * (len(cells) > SHOWN)


def check_tags(table: Table, tag: int, plain: bool) -> None:
    """Refuse KEY=VALUE pairs, and, unless any text may be a tag, what holds no tags where another column plainly does.

    Raises:
        UserError: saying what would work.
    """
    cells = table.columns[tag]
    said = f"{table.name(tag)}, which is to hold the tags, holds"
    filled = [cell for cell in cells if cell not in SIGNS_FOR_O]
    pairs = [cell for cell in filled if "=" in cell]
    if pairs and len(pairs) >= MOSTLY * len(filled):  # as in the MISC of CoNLL-U
        keys = sorted({pair.partition("=")[0] for cell in pairs for pair in cell.split("|")})[:8]
        mend = "set data.tag_column to the key, or the column, of the tags"
        raise UserError(table.where, f"{said} pairs with the keys {', '.join(keys)}; {mend}")
    nothing = sum(cell in SIGNS_FOR_O or cell.casefold() in WORDS_FOR_O for cell in cells) / len(cells)
    written = sum(is_tag(cell) or bool(SUFFIX.fullmatch(cell)) for cell in cells) / len(cells)
    others = [number for number in range(len(table.columns)) if number != tag and looks_like_tags(table, number)]
    if not others or plain or (nothing < 1 and (nothing >= LEAST_O or written >= MOSTLY)):
        return
    better = f"{table.name(others[-1])} ({table.shown(others[-1])}) looks like them"
    mend = f"set data.tag_column to {table.setting(others[-1])}"
    raise UserError(table.where, f"{said} {table.shown(tag)}; {better}: {mend}")


def check_tokens(table: Table, token: int, tag: int, sentence: tuple[int, ...]) -> None:
    """Refuse a column of tokens that also holds the tags, or holds tags, numbers alone, or one text in all lines.

    Raises:
        UserError: saying which column looks like the tokens.
    """
    cells, problem = table.columns[token], None
    if token == tag:
        problem = "the tags too"
    elif token in sentence:
        problem = "the sentence numbers too"
    elif looks_like_tags(table, token) or cells == table.columns[tag]:
        problem = f"tags ({table.shown(token)})"
    elif (len(cells) > 2 and _counts_up(cells)) or (numbers(cells) and _words(table, token, tag, sentence)):
        problem = f"numbers alone ({table.shown(token)})"
    elif len(cells) > 10 and len(set(cells)) == 1:
        problem = f"'{cells[0]}' in every line"
    if problem:
        better = "no other column looks like the tokens"
        if words := _words(table, token, tag, sentence):
            best = max(words, key=lambda number: len(set(table.columns[number])))
            better = f"{table.name(best)} ({table.shown(best)}) looks like the tokens"
            better = f"{better}: set data.token_column to {table.setting(best)}"
        raise UserError(table.where, f"{table.name(token)}, which is to hold the tokens, holds {problem}; {better}")


def column_notes(table: Table, token: int, tag: int, rules: ColumnRules) -> list[str]:
    """Say where columns are others than might be thought."""
    notes = []
    if rules.token is None and token > 0 and table.header is None:
        notes.append(f"tokens are read from column {token} ({table.shown(token)}), not from column 0")
    if numbers(table.columns[token]):
        notes.append(f"every token is a number ({table.shown(token)}); is data.token_column right?")
    types, count = _types(table.columns[tag])
    for number, cells in enumerate(table.columns):
        others, more = _types(cells) if number not in (token, tag) else (set(), 0)
        if others & types and more > count:
            notes.append(f"{table.name(number)} holds more tags ({more:,}) than {table.name(tag)} ({count:,})")
    called = [name for name in table.header or () if plain_name(name) in TAG_NAMES]
    if called and not isinstance(rules.tag, str) and table.name(tag) not in called:
        notes.append(f"tags are read from {table.name(tag)}, as data.tag_column says, not from {called[0]}")
    return notes


def numbers(cells: Sequence[str]) -> bool:
    """Say whether cells are numbers alone."""
    return all(INDEX.fullmatch(cell) for cell in cells)


def counts_words(cells: Sequence[str]) -> bool:
    """Say whether cells number words as CoNLL-U does, which also has ranges and empty nodes."""
    words = [cell for cell in cells if cell.isdecimal()]
    return numbers(cells) and 2 * len(words) > len(cells) and _counts_up(words)


def looks_like_tags(table: Table, number: int) -> bool:
    """Say whether a column plainly holds tags with a prefix."""
    cells = table.columns[number]
    written = sum(bool(TAG.fullmatch(cell)) for cell in cells)
    return written > 0 and written + sum(cell in SIGNS_FOR_O for cell in cells) >= MOSTLY * len(cells)


def _types(cells: Sequence[str]) -> tuple[set[str], int]:
    """Give the types of entities in a column of tags, and how many tokens have one."""
    tags = [cell for cell in cells if TAG.fullmatch(cell)]
    return {tag[2:] for tag in tags}, len(tags)


def _words(table: Table, token: int, tag: int, sentence: tuple[int, ...]) -> list[int]:
    """List the columns that could hold tokens."""
    free = [number for number in range(len(table.columns)) if number not in (token, tag, *sentence)]
    free = [number for number in free if len(set(table.columns[number])) > 1 and not numbers(table.columns[number])]
    return [number for number in free if not looks_like_tags(table, number)]


def _counts_up(cells: Sequence[str]) -> bool:
    """Say whether cells only count, from 0 or 1 in each sentence or through the file."""
    if not all(cell.isdecimal() for cell in cells):
        return False
    return all(int(after) == int(before) + 1 or int(after) <= 1 for before, after in pairwise(cells))
