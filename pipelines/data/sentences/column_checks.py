"""Check that the columns of tagged lines hold what they are read as, and suggest other columns."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from pipelines.data.sentences.headers import TAG_NAMES, ColumnRules, is_tag, plain_name
from pipelines.data.sentences.spelling import MOSTLY, SIGNS_FOR_O, SUFFIX, WORDS_FOR_O
from pipelines.errors import UserError

INDEX = re.compile(r"\d+([.-]\d+)?")  # CoNLL-U also writes 1-2 for a token of several words, and 1.1 for an empty node
TAG = re.compile(r"[BIESLUM][-_]\S+")
LEAST_O = 0.3  # least share of O in a tag column with unusual tags, if another column clearly holds tags
LEAST_COUNT = 2  # lines; one number alone is not a count
MANY = 10  # lines; if more have the same token, this is not a coincidence
SHOWN = 3  # cells of a column that a message shows


@dataclass(frozen=True)
class Table:
    """The columns of a file's lines, their names, and the place of the first line."""

    columns: list[tuple[str, ...]]
    header: list[str] | None
    where: str

    @cached_property
    def counts(self) -> list[Counter[str]]:
        """Return the number of occurrences of each cell, for each column."""
        return [Counter(cells) for cells in self.columns]

    def name(self, number: int) -> str:
        """Return the name of a column, or its number if the file has no header."""
        return self.header[number] if self.header else f"column {number}"

    def setting(self, number: int) -> str:
        """Return how the config has to name a column."""
        return self.header[number] if self.header else str(number)

    def shown(self, number: int) -> str:
        """Return the first different cells of a column, to be shown in a message."""
        cells = self.counts[number]
        return ", ".join(list(cells)[:SHOWN]) + ", ..." * (len(cells) > SHOWN)


def check_tags(table: Table, tag: int, plain: bool) -> None:
    """Refuse a tag column that holds KEY=VALUE pairs, or that holds no tags although another column clearly does.

    With `plain` any text may be a tag, so only the first check is made.

    Raises:
        UserError: If the column is refused. The message says what to do.
    """
    cells = table.counts[tag]
    problem = f"the tags are read from {table.name(tag)}, which contains"
    filled = [cell for cell in cells if cell not in SIGNS_FOR_O]
    pairs = [cell for cell in filled if "=" in cell]
    if pairs and len(pairs) >= MOSTLY * len(filled):  # as in the MISC column of CoNLL-U
        keys = sorted({pair.partition("=")[0] for cell in pairs for pair in cell.split("|")})[:8]
        mend = "set data.tag_column to the key or the column of the tags"
        raise UserError(table.where, f"{problem} KEY=VALUE pairs with the keys {', '.join(keys)}; {mend}")
    nothing = _share(cells, lambda cell: cell in SIGNS_FOR_O or cell.casefold() in WORDS_FOR_O)
    written = _share(cells, lambda cell: is_tag(cell) or bool(SUFFIX.fullmatch(cell)))
    others = [number for number in range(len(table.columns)) if number != tag and looks_like_tags(table, number)]
    if not others or plain or (nothing < 1 and (nothing >= LEAST_O or written >= MOSTLY)):
        return
    better = f"{table.name(others[-1])} ({table.shown(others[-1])}) looks like tags"
    mend = f"set data.tag_column to {table.setting(others[-1])}"
    raise UserError(table.where, f"{problem} {table.shown(tag)}, but {better}; {mend}")


def check_tokens(table: Table, token: int, tag: int, sentence: tuple[int, ...]) -> None:
    """Refuse a column that cannot hold the tokens.

    This is a column that is also read for the tags or sentence numbers. It is also one that holds tags, numbers alone,
    or the same text in every line.

    Raises:
        UserError: If the column is refused. The message names a column that looks like the tokens.
    """
    cells, problem = table.counts[token], None
    read = f"the tokens are read from {table.name(token)}, which"
    if token == tag:
        problem = f"data.token_column and data.tag_column are the same column ({table.name(token)})"
    elif token in sentence:
        problem = f"{read} is also read as the sentence numbers"
    elif looks_like_tags(table, token) or table.columns[token] == table.columns[tag]:
        problem = f"{read} contains tags ({table.shown(token)})"
    elif numbers(cells) and (_words(table, token, tag, sentence) or _counts_up(table.columns[token])):
        problem = f"{read} contains only numbers ({table.shown(token)})"
    elif len(cells) == 1 and cells.total() > MANY:
        problem = f"{read} contains '{next(iter(cells))}' in every line"
    if problem:
        better = "and no other column looks like tokens"
        if words := _words(table, token, tag, sentence):
            best = max(words, key=lambda number: len(table.counts[number]))
            better = f"but {table.name(best)} ({table.shown(best)}) looks like tokens"
            better = f"{better}; set data.token_column to {table.setting(best)}"
        raise UserError(table.where, f"{problem}, {better}")


def column_notes(table: Table, token: int, tag: int, rules: ColumnRules) -> list[str]:
    """Return notes on columns that may not be the ones that the user expects."""
    notes = []
    if rules.token is None and token > 0 and table.header is None:
        notes.append(f"tokens are read from column {token} ({table.shown(token)}), not from column 0")
    if numbers(table.counts[token]):
        notes.append(f"every token is a number ({table.shown(token)}): check data.token_column")
    types, count = _types(table.counts[tag])
    for number, cells in enumerate(table.counts):
        others, more = _types(cells) if number not in (token, tag) else (set(), 0)
        if others & types and more > count:
            notes.append(f"{table.name(number)} contains more tags ({more:,}) than {table.name(tag)} ({count:,})")
    called = [name for name in table.header or () if plain_name(name) in TAG_NAMES]
    if called and not isinstance(rules.tag, str) and table.name(tag) not in called:
        notes.append(f"tags are read from {table.name(tag)}, as set in data.tag_column, not from {called[0]}")
    return notes


def numbers(cells: Iterable[str]) -> bool:
    """Return whether all cells are numbers."""
    return all(INDEX.fullmatch(cell) for cell in cells)


def counts_words(table: Table, number: int) -> bool:
    """Return whether a column numbers words as CoNLL-U does, which also has ranges and empty nodes."""
    if not numbers(table.counts[number]):
        return False
    words = [cell for cell in table.columns[number] if cell.isdecimal()]
    return 2 * len(words) > len(table.columns[number]) and _counts_up(words)


def looks_like_tags(table: Table, number: int) -> bool:
    """Return whether a column clearly holds tags with a prefix."""
    cells = table.counts[number]
    written = _share(cells, lambda cell: bool(TAG.fullmatch(cell)))
    return written > 0 and written + _share(cells, SIGNS_FOR_O.__contains__) >= MOSTLY


def _share(cells: Counter[str], fits: Callable[[str], bool]) -> float:
    return sum(count for cell, count in cells.items() if fits(cell)) / cells.total()


def _types(cells: Counter[str]) -> tuple[set[str], int]:
    """Return the types of entities in a tag column, and the number of tokens that have one."""
    tags = [cell for cell in cells if TAG.fullmatch(cell)]
    return {tag[2:] for tag in tags}, sum(cells[tag] for tag in tags)


def _words(table: Table, token: int, tag: int, sentence: tuple[int, ...]) -> list[int]:
    """Return the columns that could hold tokens."""
    free = [number for number in range(len(table.columns)) if number not in (token, tag, *sentence)]
    free = [number for number in free if len(table.counts[number]) > 1 and not numbers(table.counts[number])]
    return [number for number in free if not looks_like_tags(table, number)]


def _counts_up(cells: Sequence[str]) -> bool:
    """Return whether cells only count up, from 0 or 1 in each sentence or through the whole file."""
    if len(cells) < LEAST_COUNT or not all(cell.isdecimal() for cell in cells):
        return False
    return all(int(after) == int(before) + 1 or int(after) <= 1 for before, after in pairwise(cells))
