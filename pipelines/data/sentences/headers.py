"""Detect headers of tagged lines, and list the usual names of their columns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.data.sentences.spelling import PREFIX, SIGNS_FOR_O, WORDS_FOR_O

Column = int | str  # index from 0, negative from the last column, or name in the header

TOKEN_NAMES = {"token", "tokens", "word", "words", "form", "text", "wordform"}
TAG_NAMES = set(
    "tag tags ner nertag label labels entity entities ent iob iob2 bio bioes ne nes class annotation target".split()
) | {"ner tag", "ner tags", "bio tag", "iob tag", "entity type", "named entity", "ne tag"}
SENTENCE_NAMES = {"sentence", "sent", "sentid", "sentenceid"} | {
    f"{what} {number}" for what in ("sentence", "sent") for number in "id idx index number no nr num".split()
}
DOCUMENT_NAMES = {"doc", "document", "doc id", "document id", "file", "filename", "article", "article id"}


@dataclass(frozen=True)
class ColumnRules:
    """The columns that the config names; None means that the header or the content decides."""

    token: Column | None
    tag: Column
    sentence: Column | None
    plain: bool  # whether any text may be a tag


def plain_name(name: str) -> str:
    """Return a column name in lower case, with blanks instead of punctuation."""
    return re.sub(r"[\s_#:.-]+", " ", name).strip().casefold()


def is_tag(cell: str) -> bool:
    """Return whether a cell is O, or a prefix letter and a type."""
    return cell == "O" or bool(PREFIX.fullmatch(cell))


def is_header(cells: Sequence[str], following: Sequence[Sequence[str]], rules: ColumnRules) -> bool:
    """Return whether a line names the columns of the lines that follow.

    It does if it holds a name from the config or several usual names, or if its tag cell is unlike the tags below.
    """
    if any(isinstance(name, str) and name in cells for name in (rules.token, rules.tag, rules.sentence)):
        return True
    if any(is_tag(cell) for cell in cells):
        return False
    names = [plain_name(cell) for cell in cells]
    if sum(name in TOKEN_NAMES | TAG_NAMES | SENTENCE_NAMES for name in names) > 1:
        return True
    if not isinstance(rules.tag, int) or not -len(cells) <= rules.tag < len(cells):
        return False
    tag = cells[rules.tag]
    below = {row[rules.tag] for row in following if len(row) == len(cells)}
    if TOKEN_NAMES & set(names):
        return tag not in below
    types = {cell[2:].casefold() for cell in below if is_tag(cell)} - {""}
    unlike = tag.casefold() not in types | SIGNS_FOR_O | WORDS_FOR_O
    return bool(types) and unlike and all(is_tag(cell) or cell in SIGNS_FOR_O for cell in below)
