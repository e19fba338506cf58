"""Choose the two columns of a table that hold a pair of texts, and detect whether its first row is a header."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipelines.data.pairs.languages import names
from pipelines.data.records import Table
from pipelines.errors import UserError, did_you_mean

TEXTS, IDS = "texts", "numbers or ids"
ID, ADDRESS = re.compile(r"(?=.*\d)[!-~]{1,64}"), re.compile(r"https?://\S+")
LOOKED_AT = 1000  # rows that are used to detect what a column holds
SOURCES = (
    "source",
    "src",
    "original",
    "input",
    "from",
)  # usual names of the source column, whatever its language
TARGETS = ("target", "tgt", "trg", "translation", "output", "to", "reference", "ref")
OF_NO_TEXT = {
    "id",
    "ids",
    "lang",
    "language",
    "code",
    "score",
    "url",
    "index",
    "number",
    "tokens",
    "length",
    "license",
    "unnamed",
}
WITH_TEXT = {
    "text",
    "texts",
    "sentence",
    "sentences",
    "segment",
    "phrase",
    "string",
    "line",
    "raw",
    "col",
    "column",
    "word",
    "words",
}


@dataclass(frozen=True)
class Columns:
    """The columns of source and target, counted from 0, and warnings about this choice."""

    source: int
    target: int
    header: bool  # the first row is a header, not a pair
    odd: list[str]


def choose_columns(
    table: Table, path: Path, languages: tuple[str, str], wanted: tuple[int | str | None, int | str | None]
) -> Columns:
    """Return the columns that the config names, else those named after the languages, else the first two with texts.

    Raises:
        UserError: If a column that the config names does not exist, or the columns of the pair cannot be found.
    """
    rows = [cells for _, cells in islice(table.rows, LOOKED_AT) if any(cells)]
    width = _usual_width(rows)
    known = table.names or [cell.strip() for cell in (rows[0] if rows else [])]
    header = not table.names and (_is_header(known, languages, rows[1:]) or any(name in known for name in wanted))
    odd = [f"{path}: the first line is read as a header ({', '.join(known)})"] if header else []
    kinds = [_kind([row[at].strip() for row in rows[header:] if at < len(row)]) for at in range(width)]
    named = _by_name(known, languages) if header or table.names else None
    if wanted != (None, None):
        keys = ("source_column", "target_column")
        found = [_asked(column, known, width, path, key) for key, column in zip(keys, wanted, strict=True)]
        if found[0] == found[1]:
            raise UserError("data.target_column", f"is the same as data.source_column: column {found[0]} of {path}")
    elif named:
        found = list(named)
        if found[0] > found[1]:
            odd.append(f"{path}: by its name, column {found[0]} (from 0) is the source, and {found[1]} the target")
    else:
        found = _first_texts(table, path, kinds)
        odd += _said_of_choice(found, kinds, path, known if header or table.names else [])
    odd += [] if header or table.names else _said_of_likely_header(rows, path)
    odd += [
        f"{path}: column {at} (from 0) is read as text, although it contains {kinds[at]}"
        for at in found
        if kinds[at] != TEXTS
    ]
    return Columns(found[0], found[1], header, odd)


def _first_texts(table: Table, path: Path, kinds: Sequence[str]) -> list[int]:
    """Return the only two columns, or the first two that hold texts."""
    if table.names is not None and len(kinds) < 2:
        raise UserError(str(path), f"has fewer than two text columns: {', '.join(table.names) or 'none'}")
    if len(kinds) < 2:
        problem = "has no tab between source and target; for two files of lines, set data.path: [a.en, a.fr]"
        raise UserError(str(path), problem)
    texts = [at for at, kind in enumerate(kinds) if kind == TEXTS]
    if len(kinds) > 2 and (table.names or len(texts) < 2):
        columns = ", ".join(table.names or (f"{at}: {kind}" for at, kind in enumerate(kinds)))
        problem = f"has more than two columns; set data.source_column and data.target_column to two of {columns}"
        raise UserError(str(path), problem)
    return texts[:2] if len(kinds) > 2 else [0, 1]


def _said_of_choice(found: Sequence[int], kinds: Sequence[str], path: Path, known: Sequence[str]) -> list[str]:
    if len(kinds) > 2:
        rest = ", ".join(f"{at} ({kind})" for at, kind in enumerate(kinds) if at not in found)
        return [
            f"{path}: columns {found[0]} and {found[1]} (from 0) are read as the pair, not {rest}; to change this, set"
            " data.source_column and data.target_column"
        ]
    return [f"{path}: '{known[0]}' is read as the source and '{known[1]}' as the target"] if known else []


def _said_of_likely_header(rows: Sequence[Sequence[str]], path: Path) -> list[str]:
    """Return a warning if the first row holds single words and the other rows hold sentences."""
    first, *later = rows
    sentences = sum(all(" " in cell.strip() for cell in row) for row in later)
    if (
        not all(re.fullmatch(r"[^\W\d]\w*", cell.strip()) for cell in first)
        or sentences < 0.95 * len(later)
        or not later
    ):
        return []
    names = ", ".join(cell.strip() for cell in first)
    return [
        f"{path}: the first line ({names}) is read as a pair; if it is a header, set data.source_column to a name in it"
    ]


def _usual_width(rows: Sequence[Sequence[str]]) -> int:
    widths = [len(row) for row in rows]
    return max(set(widths), key=lambda width: (widths.count(width), width), default=0)


def _asked(column: int | str | None, known: Sequence[str], width: int, path: Path, key: str) -> int:
    if column is None:
        raise UserError(f"data.{key}", "is missing; set both data.source_column and data.target_column")
    if isinstance(column, str):
        if column not in known:
            raise UserError(f"data.{key}", f"{path} has no column '{column}'{did_you_mean(column, list(known))}")
        return known.index(column)
    if not -width <= column < width:
        raise UserError(f"data.{key}", f"{path} has no column {column}; choose one from 0 to {width - 1}")
    return column % width


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", name.lower())


def _by_name(known: Sequence[str], languages: tuple[str, str]) -> tuple[int, int] | None:
    """Return the columns that are named after their languages, or else after source and target."""
    sides: list[int | None] = []
    for language, usual in zip(languages, (SOURCES, TARGETS), strict=True):
        own = [at for at, name in enumerate(known) if _means(name, names(language))]
        generic = [at for at, name in enumerate(known) if _means(name, usual)]
        fewest = sorted(own or generic, key=lambda at: len(_words(known[at])))
        sides.append(fewest[0] if fewest else None)
    if sides[0] == sides[1]:
        return None
    more = [at for at, name in enumerate(known) if at not in sides and set(_words(name)) & WITH_TEXT]
    if None in sides and len(more) != 1:  # only one side is named, and the other is not clear
        return None
    source, target = (more[0] if side is None else side for side in sides)
    return source, target


def _means(name: str, wanted: Sequence[str] | frozenset[str]) -> bool:
    words = _words(name)
    return not set(words) & OF_NO_TEXT and (name.strip().lower() in wanted or bool(set(words) & set(wanted)))


def _is_header(cells: Sequence[str], languages: tuple[str, str], later: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row names the columns.

    It does if all its words are known names, or if it has a text above a column of numbers or ids.
    """
    filled = [(at, cell) for at, cell in enumerate(cells) if cell]
    if len({cell for _, cell in filled}) < max(2, len(filled)):
        return False
    if len(later) > 2 and any(
        _kind([row[at].strip() for row in later if at < len(row)]) == IDS and not ID.fullmatch(c) for at, c in filled
    ):
        return True
    if [cell for _, cell in filled] == [str(at) for at in range(len(filled))]:  # as pandas names unnamed columns
        return True
    known = {*SOURCES, *TARGETS, *OF_NO_TEXT, *WITH_TEXT}
    known |= {word for language in languages for name in names(language) for word in [name, *_words(name)]}
    return all(cell.lower() in known or (_words(cell) and set(_words(cell)) <= known) for _, cell in filled)


def _kind(cells: Sequence[str]) -> str:
    filled = [cell for cell in cells if cell]
    if not filled:
        return "no text"
    if all(ADDRESS.fullmatch(cell) for cell in filled):
        return "web addresses"
    if all(ID.fullmatch(cell) for cell in filled):
        return IDS
    if len(filled) > 2 and len(set(filled)) == 1:
        return f"only '{filled[0][:20]}'"
    return TEXTS
