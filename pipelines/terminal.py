"""Data on the terminal as it is: Rich would read `[red]` and `:smile:` in it as markup, a terminal its escapes."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

_SIGNS = (*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x2029, *range(0xD800, 0xE000))
CONTROLS = {sign: repr(chr(sign))[1:-1] for sign in _SIGNS}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """Make a table of texts."""
    made = Table(title=None if title is None else Text(visible(title)))
    for head in heads:
        made.add_column(Text(visible(head)))
    for row in rows:
        made.add_row(*(Text(visible(cell)) for cell in row))
    return made


def visible(text: str) -> str:
    """Write control characters as escapes, but for tabs and the ends of lines."""
    return text.translate(CONTROLS)


def shortened(text: str, most: int) -> str:
    """Cut a text to a number of characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 4].rstrip()} ..."
