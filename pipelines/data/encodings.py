"""Detect the encoding of a file, decode its text, and refuse files that are not text."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from pipelines.data.files import UNREADABLE, cause, open_bytes
from pipelines.errors import UserError, counted

HEAD = 1 << 16  # bytes at the start of a file that are used to detect its format
MARKS = {  # byte order marks; UTF-32 comes first, because its mark starts like that of UTF-16
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
ZIPPED = (
    (
        b"[Content_Types].xml",
        "an Office file; save it as plain text or CSV, or rename it to end in .xlsx if it is an Excel file",
    ),
    (b"mimetypeapplication", "an OpenDocument or EPUB file; save it as plain text or CSV"),
)
SIGNATURES = (
    (b"%PDF", "a PDF file; extract its text first, for example with pdftotext"),
    (b"PK\x03\x04", "a ZIP archive; extract it first"),
    (b"\xd0\xcf\x11\xe0", "an old Office file; save it as plain text or CSV"),
    (b"{\\rtf", "an RTF file; save it as plain text"),
    (b"%!PS", "a PostScript file; extract its text first, for example with ps2ascii"),
    (
        b"PAR1",
        "a Parquet file; convert it, for example with pandas:"
        " read_parquet(...).to_json(..., orient='records', lines=True)",
    ),
    (b"ARROW1", "an Arrow file; convert it to JSON Lines first"),
    (b"\x1f\x8b", "compressed with gzip; rename it to end in .gz"),
    (b"BZh", "compressed with bzip2; rename it to end in .bz2"),
    (b"\xfd7zXZ", "compressed with xz; rename it to end in .xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; decompress it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive; extract it first"),
    (b"Rar!", "a RAR archive; extract it first"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"II*\x00", "an image"),
    (b"MM\x00*", "an image"),
    (b"RIFF", "an image, audio or video file"),
    (b"SQLite format 3", "an SQLite database; export its text first"),
    (b"\x89HDF", "an HDF5 file; export its text first"),
    (b"\x93NUMPY", "a NumPy array"),
)
CONTROLS = bytes({*range(9), 11, *range(14, 27), *range(28, 32), 127})  # control characters that do not occur in text
MOST_CONTROLS = 1 / 50  # share of a file's bytes; with more, the file is binary
NULS = 1 / 2  # share of every other byte; above it, a file without a byte order mark is UTF-16


def other_format(head: bytes, encoding: str = "utf-8") -> str | None:
    """Return what a file is and what to do with it, if its first bytes are not text in `encoding`, else None."""
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return next((known for part, known in ZIPPED if part in head[:200]), kind)
    found, _ = find_encoding(head, encoding)
    if " ".encode(found) == b" " and sum(map(head.count, (bytes([c]) for c in CONTROLS))) > MOST_CONTROLS * len(head):
        return "binary data, not text; if it is UTF-16 without a byte order mark, set data.encoding: utf-16-le"
    return None


def find_encoding(head: bytes, encoding: str) -> tuple[str, int]:
    """Return the encoding of a file and the length of its byte order mark.

    A byte order mark is used first, then the NUL bytes that are typical of UTF-16. Otherwise `encoding` is returned.
    """
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    pairs = len(head) // 2
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs and max(even, odd) > NULS * pairs and min(even, odd) < NULS * NULS * pairs:
        return ("utf-16-le" if odd > even else "utf-16-be"), 0
    return encoding, 0


def read_text(path: Path, encoding: str) -> tuple[str, list[str]]:
    r"""Read a whole text with `\n` as line ending, and return it with warnings about it.

    Raises:
        UserError: If the file cannot be read as text. The message names the file, and the line of an invalid byte.
    """
    try:
        with open_bytes(path) as file:
            content = file.read()
    except (ValueError, *UNREADABLE) as error:  # ValueError is raised for a path that no file can have
        raise UserError(str(path), f"cannot be read ({cause(error)})") from None
    return decode(content, path, encoding)


def read_lines(path: Path, encoding: str) -> Iterator[str]:
    r"""Yield the lines of a text, which end with `\n`, so that a file need not fit into memory.

    Raises:
        UserError: As `read_text` does, and if the encoding has other line ends than ASCII, as UTF-16 has.
    """
    try:
        with open_bytes(path) as file:
            head = file.read(HEAD)
        if kind := other_format(head, encoding):
            raise UserError(str(path), f"is {kind}")
        found, mark = find_encoding(head, encoding)
        if "\n".encode(found) not in (b"\n", codecs.BOM_UTF8 + b"\n"):
            mend = f"convert it: iconv -f {found.upper()} -t UTF-8"
            raise UserError(str(path), f"is {found.upper()} and too large to be read at once; {mend}")
        _said_of_utf8(head[: head.rfind(b"\n") + 1], path, found)
        with open_bytes(path) as file:
            position = len(file.read(mark))
            for number, line in enumerate(file, 1):
                try:
                    text = line.decode(found)
                except UnicodeDecodeError as error:
                    raise _wrong(path, number, position + error.start, line[error.start], found) from None
                position += len(line)
                yield plain(text)
    except (ValueError, *UNREADABLE) as error:  # ValueError is raised for a path that no file can have
        raise UserError(str(path), f"cannot be read ({cause(error)})") from None


def decode(content: bytes, path: Path, encoding: str) -> tuple[str, list[str]]:
    """Decode the content of a file as `read_text` does."""
    if kind := other_format(content[:HEAD], encoding):
        raise UserError(str(path), f"is {kind}")
    found, mark = find_encoding(content[:HEAD], encoding)
    try:
        text = content[mark:].decode(found)
    except UnicodeDecodeError as error:
        raise wrong_byte(path, content[: mark + error.start], content[mark + error.start], found) from None
    odd = [] if mark else _said_of_utf8(content, path, found)
    if found != encoding and not mark:
        odd.append(f"{path} has no byte order mark but looks like UTF-16, so it is read as {found}")
    if nuls := text.count("\0"):
        odd.append(f"{path} contains {counted(nuls, 'NUL character')}: removed")
    return plain(text), odd


def _said_of_utf8(content: bytes, path: Path, encoding: str) -> list[str]:
    """Return a warning if the content should be in another encoding but is valid UTF-8.

    Text in another encoding is almost never valid UTF-8 by chance.
    """
    if codecs.lookup(encoding).name == "utf-8" or not content:
        return []
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return []
    if " ".encode(encoding) != b" " and "\0" not in text:
        raise UserError(str(path), f"is UTF-8, not {encoding}; set data.encoding: utf-8")
    return [] if text.isascii() or "\0" in text else [f"{path} is also valid UTF-8; check data.encoding: {encoding}"]


def plain(text: str) -> str:
    r"""Remove NULs and byte order marks, and convert line endings to `\n`.

    A `\r` alone is a line ending only in a text without any `\n`.
    """
    text = text.replace("\0", "").replace("\ufeff", "").replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")


def wrong_byte(path: Path, before: bytes, byte: int, encoding: str) -> UserError:
    """Return an error that names the place of a byte that is not valid in the encoding, and how to fix the file."""
    return _wrong(path, before.count(b"\n") + 1, len(before), byte, encoding)


def _wrong(path: Path, line: int, position: int, byte: int, encoding: str) -> UserError:
    problem = f"byte 0x{byte:02x} at position {position:,} of the file is not valid {encoding.upper()}"
    mend = "set data.encoding to the file's encoding, such as cp1252, or convert the file: iconv -f CP1252 -t UTF-8"
    return UserError(f"{path}:{line}", f"{problem}; {mend}")
