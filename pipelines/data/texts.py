"""Running text in stretches that are read when they are asked for: text may be far larger than memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.files import UNREADABLE, cause, open_bytes
from pipelines.errors import UserError

STRETCH = 4096  # bytes, about: long enough that its first token, which has no context, does not matter
LEAST_STRETCHES = 200  # of a short text, so that it can be split
CUT_WITHIN = 512  # bytes before a stretch's end in which a blank or a new line is looked for


@dataclass(frozen=True)
class Stretch:
    """A part of a file, from one byte to another; as a `str` it is the text."""

    path: Path
    start: int
    stop: int

    def __str__(self) -> str:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.stop - self.start).decode()


def text_files(path: Path) -> list[Path]:
    """List the text files that a path stands for: itself, or all files below a folder, by name.

    Raises:
        UserError: where there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(str(path), "no such file or folder")
    found = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if not found:
        raise UserError(str(path), "holds no file")
    return found


def read_stretches(path: Path, least: int = LEAST_STRETCHES) -> list[Stretch | str]:
    """Cut a UTF-8 file into stretches, in order, which join to the whole text. Of a `.gz` file they are in memory.

    `least` is how many there are of a short text.

    Raises:
        UserError: naming the line of a byte that is no UTF-8, or where the file cannot be read.
    """
    size = path.stat().st_size
    try:
        if path.suffix == ".gz":
            with open_bytes(path) as file:
                content = file.read()
            spans = _cuts(iter([content]), len(content), least)
            return [_decoded(path, content[start:stop], start) for start, stop in spans]
        with path.open("rb") as file:
            spans = list(_cuts(iter(lambda: file.read(1 << 20), b""), size, least))
        stretches = [Stretch(path, start, stop) for start, stop in spans]
        with path.open("rb") as file:
            for stretch in stretches:
                _decoded(path, file.read(stretch.stop - stretch.start), stretch.start)
    except UNREADABLE as error:
        raise UserError(str(path), f"cannot be read ({cause(error)})") from None
    return stretches


def cut_text(text: str) -> list[str]:
    """Cut a text in memory into stretches, in order, which join to it."""
    content = text.encode()
    return [content[start:stop].decode() for start, stop in _cuts(iter([content]), len(content), LEAST_STRETCHES)]


def _cuts(blocks: Iterator[bytes], size: int, least: int) -> Iterator[tuple[int, int]]:
    """Give where stretches start and stop, before a blank or a line where one is near, never within a character."""
    most = max(64, min(STRETCH, size // least))
    rest, at = b"", 0
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > most + 4:
            near = max(
                rest.rfind(sign, start + most - min(CUT_WITHIN, most // 2), start + most) for sign in (b" ", b"\n")
            )
            stop = near if near > start else start + most
            while rest[stop] & 0xC0 == 0x80 and stop < start + most + 4:  # the middle of a character
                stop += 1
            yield at + start, at + stop
            start = stop
        rest, at = rest[start:], at + start
    if rest:
        yield at, at + len(rest)


def _decoded(path: Path, part: bytes, offset: int) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError as error:
        place = offset + error.start
        with open_bytes(path) as file:
            line = file.read(place).count(b"\n") + 1
        problem = f"byte 0x{part[error.start]:02x} (the file's byte {place:,}) is no UTF-8"
        raise UserError(f"{path}:{line}", f"{problem}; convert the file, as by iconv -t UTF-8") from None
