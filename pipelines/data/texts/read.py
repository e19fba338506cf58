"""Read running text in stretches, on demand, because the text may be far larger than memory."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.data.encodings import HEAD, decode, find_encoding, plain, wrong_byte
from pipelines.data.files import PACKED, UNREADABLE, cause, open_bytes, unpacked_suffix
from pipelines.data.records import looks_like_json, read_delimited, read_json, text_of
from pipelines.data.texts.files import Found, Reading, listed
from pipelines.errors import UserError, counted

STRETCH = 4096  # bytes, about; long enough that the first token, which has no context, does not matter
LEAST_STRETCHES = 200  # least number of stretches of a short text, so that it can be split
CUT_WITHIN = 512  # number of bytes before the end of a stretch that are searched for a blank or a line break
BLOCK = 1 << 20  # bytes that are read at once
ROWS = {".csv", ".tsv", ".json", ".jsonl", ".ndjson"}  # suffixes of files in which each row or object may hold a text


@dataclass(frozen=True)
class Stretch:
    r"""A part of a UTF-8 file, from one byte offset to another.

    As a `str` it is the text, with `\n` as line ending.
    """

    path: Path
    start: int
    stop: int

    def __str__(self) -> str:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return plain(file.read(self.stop - self.start).decode())


@dataclass(frozen=True)
class Texts:
    """The stretches of each document, the number of characters in total, and warnings."""

    documents: Sequence[list[Stretch] | list[str]] = field(default_factory=list)
    characters: int = 0
    odd: list[str] = field(default_factory=list)


class NoTexts(UserError):
    """Raised if a file of rows has no texts under the expected name."""


def read_texts(found: Found, least: int, how: Reading) -> Texts:
    """Read the documents of files.

    A file without texts is skipped, and added to `found.passed_over`, unless the user named it directly. `least` is the
    least number of stretches of a short text.

    Raises:
        UserError: If a file cannot be read, or holds a byte that is not valid in the encoding. The message names the
            line of the byte.
    """
    read = []
    for file, named in found.files.items():
        try:
            read.append(read_file(file, least, how))
        except NoTexts as error:
            if named:
                raise
            found.passed_over.append({"place": error.where, "reason": error.problems[0]})
    documents = [stretches for each in read for stretches in each.documents]
    odd = [each for part in read for each in part.odd]
    if found.passed_over:
        odd.append(f"skipped {counted(len(found.passed_over), 'file')}: {listed(found)}")
    return Texts(documents, sum(each.characters for each in read), [*found.odd, *odd])


def read_file(path: Path, least: int, how: Reading) -> Texts:
    """Read the documents of a file: the whole file, or the texts under the expected name in CSV and JSON."""
    try:
        with open_bytes(path) as file:
            head = file.read(HEAD)
        found, mark = find_encoding(head, how.encoding)
        beginning = head[mark:].decode(found, "replace")
        rows = not how.as_written and (unpacked_suffix(path) in ROWS or looks_like_json(beginning))
        if codecs.lookup(found).name == "utf-8" and path.suffix.lower() not in PACKED and not rows:
            return read_stretches(path, least)
        with open_bytes(path) as file:
            text, odd = decode(file.read(), path, how.encoding)
    except UNREADABLE as error:
        raise UserError(str(path), f"cannot be read ({cause(error)})") from None
    texts = map(plain, _named_texts(text, path, how.text_key)) if rows else [text]
    texts = [each for each in texts if each.strip()]
    documents = [cut_text(each, least if len(texts) == 1 else 1) for each in texts]
    return Texts(documents, sum(map(len, texts)), odd)


def _named_texts(text: str, path: Path, text_key: str) -> list[str]:
    """Return the texts of the rows of a table, or of JSON objects."""
    json = unpacked_suffix(path) not in (".csv", ".tsv")
    try:
        table = read_json(text, path) if json else read_delimited(text, path)
    except UserError as error:
        raise NoTexts(error.where, *error.problems) from None
    names = table.names or ([cell.strip() for cell in table.rows[0][1]] if table.rows else [])
    if text_key not in names:
        there = f", only {', '.join(names)}" if names else ""
        mend = "set data.text_key to another name, or data.as_written: true to train on the file as it is"
        raise NoTexts(str(path), f"has no column or key '{text_key}'{there}; {mend}")
    return [text_of(cells[names.index(text_key)], place) for place, cells in table.rows[not json :]]


def read_stretches(path: Path, least: int = LEAST_STRETCHES) -> Texts:
    """Split a UTF-8 file into stretches, in order. Joined, they are the whole text, which is one document.

    `least` is the least number of stretches of a short text.

    Raises:
        UserError: If a byte is not valid UTF-8. The message names its line.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        _, mark = find_encoding(file.read(4), "utf-8")
        file.seek(mark)
        spans = list(_cuts(iter(lambda: file.read(BLOCK), b""), size - mark, least))
    stretches = [Stretch(path, mark + start, mark + stop) for start, stop in spans]
    characters, nuls, lost, blank = 0, 0, 0, True
    with path.open("rb") as file:
        file.seek(mark)
        for stretch in stretches:
            text = _decoded(path, file.read(stretch.stop - stretch.start), stretch.start)
            characters, nuls, blank = characters + len(text), nuls + text.count("\0"), blank and text.isspace()
            lost += text.count("\ufffd")
    odd = [f"{path} contains {counted(nuls, 'NUL character')}: removed"] if nuls else []
    odd += [f"{path} contains {counted(lost, 'replacement character')} (U+FFFD): text was lost earlier"] if lost else []
    return Texts([] if blank else [stretches], characters, odd)


def cut_text(text: str, least: int = LEAST_STRETCHES) -> list[str]:
    """Split a text in memory into stretches, in order. Joined, they are the text."""
    content = text.encode()
    return [content[start:stop].decode() for start, stop in _cuts(iter([content]), len(content), least)]


def _cuts(blocks: Iterator[bytes], size: int, least: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the stop of each stretch.

    A stretch stops before a blank or a line break if one is near, and never inside a character.
    """
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
            while rest[stop] & 0xC0 == 0x80 and stop < start + most + 4:  # inside a character
                stop += 1
            if rest[stop - 1 : stop + 1] == b"\r\n":
                stop -= 1
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
        with path.open("rb") as file:
            before = file.read(place)
        raise wrong_byte(path, before, part[error.start], "utf-8") from None
