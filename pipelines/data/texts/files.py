"""Find the text files below a folder, and say what the other files are."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.data.encodings import HEAD, other_format
from pipelines.data.files import UNREADABLE, open_bytes, unpacked_suffix
from pipelines.errors import UserError, counted

JUNK = {"thumbs.db", "desktop.ini", "__macosx"}  # files and folders that Windows and macOS create, in lower case
MARKUP = ("<!doctype", "<html", "<?xml", "<mediawiki", "<tmx")


@dataclass(frozen=True)
class Reading:
    """How to read files of text."""

    encoding: str = "utf-8"
    text_key: str = "text"
    as_written: bool = False


@dataclass
class Found:
    """The files that names stand for, and the files that were skipped, with the reason."""

    files: dict[Path, bool]  # file -> whether the user named it directly
    passed_over: list[dict[str, str]] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


def find_texts(root: Path, names: Sequence[str], how: Reading) -> Found:
    """List the text files that names below a folder stand for: files, folders at any depth, and patterns.

    In a folder, files that are not text are skipped with a reason. Empty, hidden and junk files are skipped without
    one.

    Raises:
        UserError: If nothing is found, or a file that is named directly is not text.
    """
    found = Found({})
    for name in names:
        path = root / name
        # A name may be absolute, which `Path.glob` does not accept.
        matches = sorted(Path(each) for each in glob.glob(str(path), recursive=True)) if glob.has_magic(name) else []  # noqa: PTH207
        if path.is_file():
            if problem := _no_text(path, how):
                raise UserError(str(path), f"is {problem}")
            found.files[path] = True
        elif path.is_dir() or matches:
            among = [path] if path.is_dir() else matches
            below = [file for each in among for file in ([each] if each.is_file() else each.rglob("*"))]
            _look_into(found, path, below, how)
        else:
            raise UserError(str(path), "no such file or folder")
    return found


def _look_into(found: Found, path: Path, among: Sequence[Path], how: Reading) -> None:
    """Add the text files in `among`, which are below `path` or match it."""
    files = []
    for file in sorted(among):
        parts = file.relative_to(path).parts if file.is_relative_to(path) else (file.name,)
        if any(part.startswith((".", "~$")) or part.lower() in JUNK for part in parts):
            continue
        if file.is_symlink() and file.is_dir():
            found.odd.append(f"{file} is a link to a folder, which is not followed")
        elif file.is_file() and (problem := _no_text(file, how)):
            found.passed_over.append({"place": str(file), "reason": f"is {problem}"})
        elif file.is_file() and file.stat().st_size:
            files.append(file)
    if not files:
        others = f", only {counted(len(found.passed_over), 'other file')}: {listed(found)}" if found.passed_over else ""
        raise UserError(str(path), f"contains no text files{others}")
    found.files |= {file: found.files.get(file, False) for file in files}


def listed(found: Found) -> str:
    """Return the names of the first skipped files, with the reasons."""
    return ", ".join(f"{Path(each['place']).name} ({each['reason']})" for each in found.passed_over[:3])


def _no_text(path: Path, how: Reading) -> str | None:
    """Return what a file is if it is not text to train on, else None."""
    try:
        with open_bytes(path) as file:
            head = file.read(HEAD)
    except UNREADABLE:
        return None  # reading the file will report the reason
    if kind := other_format(head, how.encoding):
        return kind
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t")[:20].decode("latin-1").lower()
    if not how.as_written and (start.startswith(MARKUP) or unpacked_suffix(path) in (".html", ".htm", ".xml")):
        return "HTML or XML; extract its text first, or set data.as_written: true to train on the markup too"
    return None
