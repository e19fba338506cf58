"""Read large text files some lines at a time, with the functions that read whole files."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.encodings import read_lines
from pipelines.errors import UserError

LINES = 20_000  # of a block, at least


@dataclass(frozen=True)
class Block:
    """Some lines of a file."""

    path: Path
    text: str
    before: int  # number of lines before it

    def shift(self, place: str) -> str:
        """Return a place such as `FILE:3`, counted from the start of the block, as counted from that of the file."""
        match = re.fullmatch(rf"({re.escape(str(self.path))}:)(\d+)(.*)", place, re.DOTALL)
        return f"{match[1]}{int(match[2]) + self.before}{match[3]}" if match else place

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let errors about a line of the block name the line of the file."""
        try:
            yield
        except UserError as error:
            raise UserError(self.shift(error.where), *error.problems) from None


def blocks(path: Path, encoding: str, ends: Callable[[str], bool] = lambda line: True) -> Iterator[Block]:
    """Yield the lines of a file in blocks, each of which stops after a line at which a block may end.

    Raises:
        UserError: As `read_lines` does.
    """
    lines: list[str] = []
    before = 0
    for line in read_lines(path, encoding):
        lines.append(line)
        if len(lines) >= LINES and ends(line):
            yield Block(path, "".join(lines), before)
            lines, before = [], before + len(lines)
    if lines:
        yield Block(path, "".join(lines), before)
