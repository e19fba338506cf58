"""Which of the user's files or folders hold which split, and how they are opened."""

import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated, Literal

import pandas as pd
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


def read_texts(column: str, inputs: Sequence[str], file: str | None) -> pd.DataFrame:
    """Read texts, each input and each line of a file that is not empty, named by themselves and as `FILE:line`.

    Raises:
        UserError: where the file cannot be read, is no UTF-8, or holds no text.
    """
    named = [(text, text) for text in inputs]
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError):
            raise UserError(file, "cannot be read as UTF-8 text with a sentence on each line") from None
        if not any(line.strip() for line in lines):
            raise UserError(file, "holds no text; write a sentence on each line")
        named += [(f"{file}:{number}", line.rstrip("\r")) for number, line in enumerate(lines, 1) if line.strip()]
    return pd.DataFrame({column: [text for _, text in named]}, index=[name for name, _ in named])
