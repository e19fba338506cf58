"""The text of a file: its encoding, its line ends, and what is no text at all."""

import codecs
import re
from pathlib import Path

from pipelines.data.files import UNREADABLE, cause, open_bytes
from pipelines.errors import UserError

MARKS = {  # byte order mark -> encoding; UTF-32's begins as UTF-16's does
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UNPACK = "unpack it, or give it the ending that says so"
BINARY = {  # how a file begins -> what it is, and what would work
    b"PK\x03\x04": ("a zip archive, or an Excel or Word file", "unpack it, or save the sheet as CSV"),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", "save the sheet as CSV"),
    b"%PDF": ("a PDF", "extract its text"),
    b"{\\rtf": ("an RTF document", "save it as plain text"),
    b"PAR1\x15": ("a Parquet file", "write it as JSON lines: pandas.read_parquet(...).to_json(..., lines=True)"),
    b"ARROW1\0": ("an Arrow file", "write it as JSON lines, as Dataset.to_json of Hugging Face does"),
    b"\x1f\x8b": ("gzipped", UNPACK),
    b"BZh91AY": ("packed with bzip2", UNPACK),
    b"\xfd7zXZ": ("packed with xz", UNPACK),
    b"7z\xbc\xaf": ("a 7-Zip archive", "unpack it"),
    b"Rar!\x1a": ("a RAR archive", "unpack it"),
    b"\x80\x03": ("a pickle, which is never read since it can run code", "write it as text"),
    b"\x80\x04": ("a pickle, which is never read since it can run code", "write it as text"),
    b"\x80\x05": ("a pickle, which is never read since it can run code", "write it as text"),
    b"x\x9c": ("packed with zlib, as spaCy's .spacy files are", "write it as text: spacy.training.docs_to_json"),
    b"SQLite format 3": ("an SQLite database", "export the table as CSV"),
    b"\x89PNG": ("a PNG image", "name a file of text"),
    b"\xff\xd8\xff": ("a JPEG image", "name a file of text"),
    b"<?xml": ("XML", "convert it to CoNLL or JSON lines"),
    b"<!DOCTYPE": ("HTML or XML", "convert it to CoNLL or JSON lines"),
}


def read_text(path: Path, encoding: str) -> tuple[str, list[str]]:
    r"""Read a text file, unpacked where its ending says that it is packed; every line ends with `\n`.

    A byte order mark goes before `encoding`. Returns the text, and what is odd in how it is encoded.

    Raises:
        UserError: where the file cannot be read, is in another format or encoding, or holds NUL characters.
    """
    content = _read_bytes(path)
    named = next((codec for mark, codec in MARKS.items() if content.startswith(mark)), None)
    codec = named or encoding
    text = _decode(path, content, codec)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        mend = "if it is UTF-16 without a byte order mark, set data.encoding: utf-16-le or utf-16-be"
        raise UserError(f"{path}:{line}", f"holds a NUL character; {mend}")
    notes = []
    if named and named != "utf-8-sig":
        notes.append(f"read as {named.upper()}, as its byte order mark says")
    elif not named and not content.isascii() and not _is_utf8(encoding) and _fits_utf8(content):
        notes.append(f"read as {encoding}, as data.encoding says, though its bytes are valid UTF-8")
    lost = text.count("\ufffd")
    if lost:
        notes.append(f"holds {lost:,} characters that an earlier conversion lost (U+FFFD)")
    return re.sub(r"\r+\n|\r", "\n", text), notes


def _read_bytes(path: Path) -> bytes:
    try:
        with open_bytes(path) as file:
            content = file.read()
    except UNREADABLE as error:
        raise UserError(str(path), f"cannot read this file ({cause(error)})") from None
    for start, (kind, mend) in BINARY.items():
        if content.startswith(start):
            raise UserError(str(path), f"this is {kind}, not text; {mend}")
    return content


def _decode(path: Path, content: bytes, codec: str) -> str:
    try:
        return content.decode(codec)
    except UnicodeDecodeError as error:
        line = content[: error.start].decode(codec, "ignore").count("\n") + 1
        problem = f"byte 0x{content[error.start]:02x} is not {codec.removesuffix('-sig').upper()} text"
        mend = "name its encoding, such as data.encoding: cp1252, or convert it: iconv -f CP1252 -t UTF-8"
        raise UserError(f"{path}:{line}", f"{problem}; {mend}") from None
    except (LookupError, ValueError):
        raise UserError("data.encoding", f"no text encoding '{codec}'; try utf-8, cp1252 or utf-16") from None


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf-8")


def _fits_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
