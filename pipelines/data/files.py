"""Which of the user's files or folders hold which split, and how they are opened."""

import gzip
import os
import zlib
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import Field

from pipelines.errors import UserError

Root = Annotated[str, Field(description="folder that `path` starts from")]
Split = Literal["train", "validation", "test"]
UNREADABLE = (OSError, EOFError, zlib.error)  # what is raised where a file is missing or damaged


def open_bytes(path: str | Path) -> IO[bytes]:
    """Open a file to be read; `.gz` is unpacked."""
    return gzip.open(path) if str(path).endswith(".gz") else Path(path).open("rb")


def cause(error: Exception) -> str:
    """Say in a few words why a file cannot be read, without its name."""
    return os.strerror(error.errno) if getattr(error, "errno", None) else str(error)


def paths_by_split(root: str, path: str | dict[Split, str]) -> dict[str, Path]:
    """Give the path of each split, or of `all` to be split here.

    Raises:
        UserError: where splits are named but train is not.
    """
    paths = {"all": path} if isinstance(path, str) else path
    if "train" not in paths and "all" not in paths:
        raise UserError("data.path", "names no train file or folder")
    return {split: Path(root) / name for split, name in paths.items()}


def names_by_split(path: str | list[str] | dict[Split, str | list[str]]) -> dict[str, list[str]]:
    """Give the names of each split's files, or those of `all` to be split here.

    Raises:
        UserError: where splits are named but train is not.
    """
    given = path if isinstance(path, dict) else {"all": path}
    paths_by_split("", dict.fromkeys(given, ""))
    return {split: [names] if isinstance(names, str) else names for split, names in given.items()}


def read_lines(file: str) -> list[str]:
    """Read the lines of a text file that are not empty.

    Raises:
        UserError: where it cannot be read, is no UTF-8, or holds no text.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError):
        raise UserError(file, "cannot be read as UTF-8 text with a sentence on each line") from None
    if not any(line.strip() for line in lines):
        raise UserError(file, "holds no text; write a sentence on each line")
    return [line.rstrip("\r") for line in lines if line.strip()]
