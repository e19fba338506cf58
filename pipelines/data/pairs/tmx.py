"""Read translation memories (TMX 1.4b)."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from pipelines.data.files import UNREADABLE, cause, open_bytes
from pipelines.data.pairs.languages import same_language
from pipelines.errors import UserError

CODES = {"bpt", "ept", "it", "ph", "ut"}  # section 3.2: these elements hold mark-up of another format
XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def read_tmx(path: Path, source: str, target: str) -> Iterator[tuple[str, str, str]]:
    """Yield the source, the target and the place of each translation unit.

    If a unit lacks a language, that side is empty.

    Raises:
        UserError: If the file cannot be read as TMX, or holds nothing in one of the languages.
    """
    number = 0
    known: dict[str, str] = {}
    try:
        with open_bytes(path) as file:
            for _, unit in ElementTree.iterparse(file):
                if _kind(unit) != "tu":
                    continue
                number += 1
                texts: dict[str, str] = {}
                for variant in (part for part in unit if _kind(part) == "tuv"):
                    language = variant.get(XML_LANGUAGE) or variant.get("lang") or ""
                    segments = (_said(part) for part in variant if _kind(part) == "seg")
                    texts.setdefault(language.lower().replace("_", "-"), " ".join(next(segments, "").split()))
                unit.clear()
                known |= texts
                yield _of_language(texts, source), _of_language(texts, target), f"{path}: unit {number}"
    except (ElementTree.ParseError, LookupError, UnicodeError, *UNREADABLE) as error:
        raise UserError(str(path), f"cannot be read as TMX ({cause(error)})") from None
    for name in (source, target):
        if not _of_language(dict.fromkeys(known, "x"), name):
            raise UserError(
                str(path), f"contains no text in '{name}', only in {', '.join(sorted(known)) or 'no language'}"
            )


def _kind(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _said(element: ElementTree.Element) -> str:
    """Return the text of a segment without inline codes."""
    within = [(part, "" if _kind(part) in CODES else _said(part)) for part in element]
    return (element.text or "") + "".join(text + (part.tail or "") for part, text in within)


def _of_language(texts: dict[str, str], name: str) -> str:
    """Return the text in a language or in a variant of it: en-GB and eng match en."""
    name = name.lower().replace("_", "-")
    return texts.get(name) or next((text for own, text in texts.items() if own and same_language(own, name)), "")
