"""A page: sections of text, tables, pictures and code, rendered to one HTML file without any external reference."""

import base64
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.storage import write_text
from pipelines.terminal import visible

NUMBER = re.compile(r"[-+±]?[\d.,]+(e[-+]?\d+)?( ± \S+)?( \[.*\])?( \*)?|nan|inf|")
NO_CHARACTERS = (*range(0xFDD0, 0xFDF0), *(plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF)))
REPLACED = dict.fromkeys(NO_CHARACTERS, "\ufffd")  # code points that HTML does not allow


@dataclass(frozen=True)
class Text:
    """A paragraph; one that is `strong` states the main result."""

    text: str
    strong: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Lines:
    """A list of sentences."""

    lines: Sequence[str]
    kind: str = "lines"


@dataclass(frozen=True)
class Step:
    """Something to do: its name, the reason, and the settings or commands to type."""

    name: str
    reason: str
    code: Sequence[str] = ()

    @property
    def typed(self) -> str:
        """The settings and commands, one a line."""
        return "\n".join(self.code)


@dataclass(frozen=True)
class Steps:
    """Numbered steps, the most promising first."""

    steps: Sequence[Step]
    kind: str = "steps"


@dataclass(frozen=True)
class Table:
    """A table of short texts; columns of numbers are aligned to the right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "table"

    @property
    def numeric(self) -> list[bool]:
        """Whether each column has numbers only."""
        columns = list(zip(*self.rows, strict=True)) or [("-",)] * len(self.heads)
        return [all(NUMBER.fullmatch(cell) for cell in column) for column in columns]


@dataclass(frozen=True)
class Picture:
    """A picture in the page itself."""

    name: str
    data: bytes
    kind: str = "picture"

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width font; with a `title` it is folded."""

    text: str
    title: str | None = None
    kind: str = "code"


@dataclass(frozen=True)
class Inner:
    """Another HTML page, folded, in a frame that runs no scripts and loads nothing."""

    title: str
    html: str
    kind: str = "inner"


Part = Text | Lines | Steps | Table | Picture | Code | Inner


@dataclass(frozen=True)
class Section:
    """A titled part of a page. Empty ones are left out."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """A page: its title, a line of facts about it, and its sections in order."""

    title: str
    facts: Sequence[str]
    sections: Sequence[Section]

    @property
    def about(self) -> str:
        """The facts on one line."""
        return " · ".join(self.facts)

    def write(self, path: Path) -> None:
        """Write the page.

        Raises:
            UserError: If the file cannot be written.
        """
        write_text(path, render(self))


def render(page: Page) -> str:
    """Return a page as HTML. All texts are escaped; control characters are made visible."""
    sections = [section for section in page.sections if section.parts]
    return _environment().get_template("page.html").render(page=page, sections=sections)


def pictures(folder: Path) -> list[Part]:
    """Return the pictures and pages of a report's folder, the learning curves first."""
    drawn = sorted(folder.glob("*.png"), key=lambda path: (path.stem != "learning_curves", path.stem))
    pages = [path for path in sorted(folder.glob("*.html")) if path.stem != "index"]
    inner = [Inner(in_words(path.stem), path.read_text(encoding="utf-8")) for path in pages]
    return [*(Picture(in_words(path.stem), path.read_bytes()) for path in drawn), *inner]


def in_words(name: str) -> str:
    """Return a file name or a key as words."""
    words = name.replace("_", " ").replace("-", " ")
    return words[:1].upper() + words[1:]


def command(*arguments: Any) -> str:
    """Return a command of this program, for a shell."""
    return shlex.join(["pipelines", *map(str, arguments)])


def _environment() -> Environment:
    loader = PackageLoader("pipelines.pages")
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else visible(str(value)).translate(REPLACED),
    )
