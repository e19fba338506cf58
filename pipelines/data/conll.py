"""Tagged sentences from CoNLL-style files: a token and its columns on each line, a blank line after each sentence."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.data.files import UNREADABLE, cause, open_bytes
from pipelines.errors import UserError

DOCUMENT = "-DOCSTART-"
Scheme = Literal["io", "iob1", "bio", "bioes"]


@dataclass(frozen=True)
class Sentence:
    """Tokens and their tags, and where they stand: `lines` of `file`, counted from 1."""

    tokens: list[str]
    tags: list[str]
    lines: list[int]


def read_conll(path: Path, tag_column: int) -> list[Sentence]:
    """Read a file's sentences, optionally gzipped; cells are divided by tabs or, without any in a line, by blanks.

    `tag_column` counts from 0, and from the last where it is negative.

    Raises:
        UserError: where the file cannot be read, is not UTF-8, holds no sentence, or a line lacks the column.
    """
    sentences: list[Sentence] = []
    current = Sentence([], [], [])
    for number, line in _lines(path):
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else re.split(" +", line.strip(" "))
        if not any(cells) or cells[0] == DOCUMENT:
            sentences += [current] if current.tokens else []
            current = Sentence([], [], [])
            continue
        if len(cells) < 2 or not -len(cells) <= tag_column < len(cells):
            problem = f"{len(cells)} column{'s' * (len(cells) != 1)}, so no tag in column {tag_column}"
            raise UserError(
                f"{path}:{number}", f"{problem}; a line is a token and its tag, a blank line ends a sentence"
            )
        tag = cells[tag_column]
        if not cells[0] and tag != "O":
            raise UserError(f"{path}:{number}", f"a tag, '{tag}', but no token in the first column")
        if not cells[0]:
            continue  # a token of nothing but blanks, as tweets have
        current.tokens.append(cells[0])
        current.tags.append(tag)
        current.lines.append(number)
    sentences += [current] if current.tokens else []
    if not sentences:
        raise UserError(str(path), "holds no sentence")
    return sentences


def detect_scheme(tags: Sequence[Sequence[str]]) -> Scheme:
    """Tell which way of tagging these sequences follow.

    With E- or S- it is BIOES, without any B- IO. Where every B- parts two entities of a type that would else be one, it
    is IOB1 (Ramshaw & Marcus 1995), otherwise BIO.
    """
    prefixes = {tag.partition("-")[0] for sentence in tags for tag in sentence}
    if prefixes & {"E", "S"}:
        return "bioes"
    if "B" not in prefixes:
        return "io"
    parting = all(
        before.partition("-")[2] == tag.partition("-")[2] != ""
        for sentence in tags
        for before, tag in zip(["O", *sentence], sentence, strict=False)
        if tag.startswith("B-")
    )
    return "iob1" if parting else "bio"


def to_bio(tags: Sequence[str], scheme: Scheme) -> tuple[list[str], dict[int, str]]:
    """Convert a sentence's tags to BIO, and say what is illegal at which token; there a new entity begins."""
    result: list[str] = []
    faults: dict[int, str] = {}
    before = "O"
    for place, tag in enumerate(tags):
        prefix, dash, kind = tag.partition("-")
        if not (tag == "O" or (prefix in _PREFIXES[scheme] and dash and kind)):
            faults[place] = f"'{tag}' is no {scheme.upper()} tag"
            prefix, kind = "O", ""
        elif prefix != "O" and (fault := _fault(before, prefix, kind, scheme)):
            faults[place] = f"'{tag}' after '{before}': {fault}"
        goes_on = _goes_on(before, prefix, kind)
        result.append("O" if prefix == "O" else f"{'I' if goes_on else 'B'}-{kind}")
        if scheme == "bioes" and before[0] in "BI" and prefix in ("O", "B", "S") and place not in faults:
            faults[place] = f"'{tag}' after '{before}': that entity has no E-"
        before = tag if prefix != "O" else "O"
    if scheme == "bioes" and before[0] in "BI":
        faults[len(tags) - 1] = f"'{before}' ends the sentence: that entity has no E-"
    return result, faults


_PREFIXES = {"io": {"I"}, "iob1": {"B", "I"}, "bio": {"B", "I"}, "bioes": {"B", "I", "E", "S"}}


def _goes_on(before: str, prefix: str, kind: str) -> bool:
    open_before = before != "O" and before.partition("-")[2] == kind and before[0] not in "ES"
    return prefix in ("I", "E") and open_before


def _fault(before: str, prefix: str, kind: str, scheme: Scheme) -> str | None:
    if scheme in ("bio", "bioes") and prefix in ("I", "E") and not _goes_on(before, prefix, kind):
        return f"no entity of type {kind} is open"
    if scheme == "iob1" and prefix == "B" and before.partition("-")[2] != kind:
        return "B- stands only between two entities of a type"
    return None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with open_bytes(path) as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    mend = "save the file as UTF-8"
                    raise UserError(f"{path}:{number}", f"not UTF-8 text (byte {error.start + 1}); {mend}") from None
    except UNREADABLE as error:
        raise UserError(str(path), f"cannot read this file ({cause(error)})") from None
