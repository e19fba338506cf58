"""Pairs of texts that say the same in two languages: line-aligned files, TSV and TMX, and what is no good pair.

TensorFlow Datasets' `TranslateFolder` is not used: it wants files named `en.train.txt`, uncompressed, and where they
do not correspond it names no line.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple
from xml.etree import ElementTree

from pydantic import Field
from typing_extensions import TypedDict

from pipelines.data.files import UNREADABLE, cause, open_bytes
from pipelines.errors import UserError

LANGUAGE = "{language}"  # what stands in a path for the name of either language
CODES = {"bpt", "ept", "it", "ph", "ut"}  # TMX 1.4b, section 3.2: what they hold is mark-up of another format
XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


class Pair(NamedTuple):
    """A text and its translation."""

    source: str
    target: str
    place: str  # file and line, or number


class Filters(TypedDict):
    """Which pairs train, or a file of all, goes without, besides those of which a side is empty."""

    most_characters: Annotated[int, Field(ge=1, description="pairs with a longer side are left out of train")]
    most_ratio: Annotated[
        float,
        Field(
            ge=1,
            description="so are pairs of which one side is this many times as long as the other, a dozen characters"
            " aside: they are badly aligned",
        ),
    ]


SHORT = 12  # characters that are added to both sides before they are compared: "no" may well be a whole sentence


def filter_pairs(
    pairs: Iterable[Pair], *, most_characters: int, most_ratio: float
) -> tuple[list[Pair], list[dict[str, str]], dict[str, int]]:
    """Part good pairs from others: the former, the place of each of the latter with the reason, and counts of these."""
    kept, skipped, counts = [], [], Counter()
    for pair in pairs:
        reason = _fault(pair, most_characters, most_ratio)
        if reason is None:
            kept.append(pair)
        else:
            skipped.append({"place": pair.place, "reason": reason})
            counts[reason] += 1
    return kept, skipped, dict(counts)


def _fault(pair: Pair, most_characters: int, most_ratio: float) -> str | None:
    lengths = sorted((len(pair.source), len(pair.target)))
    if lengths[0] == 0:
        return "a side is empty"
    if lengths[1] > most_characters:
        return f"a side is longer than {most_characters} characters"
    if lengths[1] + SHORT > most_ratio * (lengths[0] + SHORT):
        return f"one side is over {most_ratio:g} times as long as the other"
    return None


def read_pairs(path: Path, source: str, target: str) -> list[Pair]:
    """Read two line-aligned files (`{language}` in the path), a TSV file or a TMX file.

    Raises:
        UserError: naming a file that cannot be read, or is not what its name says.
    """
    if LANGUAGE in str(path):
        return _read_lines(*(Path(str(path).replace(LANGUAGE, name)) for name in (source, target)))
    kind = (path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix).lower()
    if kind == ".tsv":
        return list(_read_tsv(path))
    if kind == ".tmx":
        return list(_read_tmx(path, source, target))
    raise UserError(str(path), f"not a .tsv or .tmx file, nor has its name {LANGUAGE} in it, for two files of lines")


def _read_lines(source: Path, target: Path) -> list[Pair]:
    sides = [[line.strip() for line in _lines(path)] for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        problem = f"holds {len(sides[1])} lines, but {source.name} {len(sides[0])}; line by line they should correspond"
        raise UserError(str(target), problem)
    return [Pair(*texts, f"{source}:{number}") for number, texts in enumerate(zip(*sides, strict=True), 1)]


def _read_tsv(path: Path) -> Iterator[Pair]:
    for number, line in enumerate(_lines(path), 1):
        cells = [cell.strip() for cell in line.split("\t")] if line.strip() else ["", ""]
        if len(cells) < 2:
            raise UserError(f"{path}:{number}", "has no tab between two columns, source and target")
        yield Pair(cells[0], cells[1], f"{path}:{number}")


def _read_tmx(path: Path, source: str, target: str) -> Iterator[Pair]:
    """Read translation units; one that lacks a language has that side empty."""
    number, known = 0, set()
    try:
        with open_bytes(path) as file:
            for _, unit in ElementTree.iterparse(file):
                if _kind(unit) != "tu":
                    continue
                number += 1
                texts = {}
                for variant in (part for part in unit if _kind(part) == "tuv"):
                    language = variant.get(XML_LANGUAGE) or variant.get("lang") or ""
                    segments = (_said(part) for part in variant if _kind(part) == "seg")
                    texts.setdefault(_plain(language), " ".join(next(segments, "").split()))
                unit.clear()
                known |= set(texts)
                sides = [_of_language(texts, name) for name in (source, target)]
                yield Pair(*sides, f"{path}: unit {number}")
    except (ElementTree.ParseError, LookupError, UnicodeError, *UNREADABLE) as error:
        raise UserError(str(path), f"cannot be read as TMX ({cause(error)})") from None
    for name in (source, target):
        if not _of_language(dict.fromkeys(known, "x"), name):
            raise UserError(str(path), f"holds nothing in '{name}'; it has {', '.join(sorted(known)) or 'no units'}")


def _kind(element: ElementTree.Element) -> str:
    """Give an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _said(element: ElementTree.Element) -> str:
    """Join the text of a segment, codes left out."""
    within = [(part, "" if _kind(part) in CODES else _said(part)) for part in element]
    return (element.text or "") + "".join(text + (part.tail or "") for part, text in within)


def _plain(language: str) -> str:
    return language.lower().replace("_", "-")


def _of_language(texts: dict[str, str], name: str) -> str:
    """Find the text in a language, or in a kind of it: en-GB is en."""
    name = _plain(name)
    return texts.get(name) or next((text for own, text in texts.items() if own.split("-")[0] == name), "")


def _lines(path: Path) -> list[str]:
    try:
        with open_bytes(path) as file:
            return [line.rstrip("\r\n") for line in io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")]
    except (UnicodeError, *UNREADABLE) as error:
        raise UserError(str(path), f"cannot be read as UTF-8 text ({cause(error)})") from None
