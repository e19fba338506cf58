"""Map the paths of a config to splits, and open files that may be compressed."""

import bz2
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Annotated, Literal, cast

import pandas as pd
from pydantic import Field

from pipelines.errors import UserError, counted

Root = Annotated[str, Field(description="folder that `path` is relative to")]
Split = Literal["train", "validation", "test"]
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)  # for a missing or damaged file
PACKED = (".gz", ".bz2", ".xz", ".zip")  # suffixes of the files that `open_bytes` decompresses


def holds_files(values: pd.Series) -> bool:
    """Return whether a column holds paths, which stand for the content of the files."""
    return len(values) > 0 and isinstance(values.iloc[0], Path)


def open_bytes(path: str | Path) -> IO[bytes] | gzip.GzipFile:
    """Open a file to read bytes; `.gz`, `.bz2`, `.xz` and a `.zip` of one file are decompressed.

    Raises:
        UserError: If a `.zip` does not hold exactly one file.
    """
    ending = Path(path).suffix.lower()
    if ending == ".gz":
        return gzip.open(path)
    if ending == ".bz2":
        return bz2.open(path)
    if ending == ".xz":
        return lzma.open(path)
    if ending == ".zip":
        return _open_member(Path(path))
    return Path(path).open("rb")


def unpacked_suffix(path: Path) -> str:
    """Return a file's suffix in lower case, without that of its compression: `.csv` for `a.csv.gz`."""
    packed = path.suffix.lower() in PACKED
    return (path.with_suffix("").suffix if packed else path.suffix).lower()


def cause(error: Exception) -> str:
    """Return a short reason why a file cannot be read, without the name of the file."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def paths_by_split(root: str, path: str | dict[Split, str]) -> dict[str, Path]:
    """Return the path of each split, or of `all` if the data has no splits yet.

    Raises:
        UserError: If splits are named but train is not.
    """
    paths = {"all": path} if isinstance(path, str) else path
    _check_names(paths)
    return {split: Path(root) / name for split, name in paths.items()}


def files_by_split(
    root: str, path: str | Sequence[str] | dict[Split, str | list[str]], endings: Collection[str]
) -> dict[str, list[Path]]:
    """List the files of each split, or of `all` if the data has no splits yet.

    Each name is a file, a pattern such as `*.csv`, or a folder. A folder stands for those of its files whose suffix is
    in `endings`, sorted by name.

    Raises:
        UserError: If splits are named but train is not, or no file is found.
    """
    named = path if isinstance(path, dict) else {"all": path}
    _check_names(named)
    return {
        split: [
            file for name in ([each] if isinstance(each, str) else each) for file in expand_files(root, name, endings)
        ]
        for split, each in named.items()
    }


def names_by_split(path: str | list[str] | dict[Split, str | list[str]]) -> dict[str, list[str]]:
    """Return the file names of each split, or of `all` if the data has no splits yet.

    Raises:
        UserError: If splits are named but train is not.
    """
    given = path if isinstance(path, dict) else {"all": path}
    _check_names(given)
    return {split: [names] if isinstance(names, str) else names for split, names in given.items()}


def read_texts(column: str, inputs: Sequence[str], file: str | None) -> pd.DataFrame:
    """Return the inputs and the non-empty lines of a file as a table with one column.

    The index names each row: an input by its own text, a line as `FILE:line`.

    Raises:
        UserError: If the file cannot be read, is not UTF-8, or holds no text.
    """
    named = [(text, text) for text in inputs]
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError):
            raise UserError(file, "cannot be read as UTF-8 text with one sentence per line") from None
        if not any(line.strip() for line in lines):
            raise UserError(file, "contains no text; write one sentence per line")
        named += [(f"{file}:{number}", line.rstrip("\r")) for number, line in enumerate(lines, 1) if line.strip()]
    return pd.DataFrame({column: [text for _, text in named]}, index=[name for name, _ in named])


def _check_names(splits: Collection[str]) -> None:
    if "train" not in splits and "all" not in splits:
        raise UserError("data.path", "has no entry `train`; add train: PATH")


def expand_files(root: str, name: str, endings: Collection[str]) -> list[Path]:
    """List the files that a name stands for: a file, a pattern, or a folder, of which only `endings` are read.

    Raises:
        UserError: If no file is found.
    """
    path = Path(root) / name
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.is_file() and unpacked_suffix(each) in endings)
        if not found:
            raise UserError(str(path), f"this folder contains no file that ends in {', '.join(endings)}")
        return found
    if any(sign in name for sign in "*?[") and not path.exists():
        found = sorted(each for each in Path(root).glob(name) if each.is_file())
        if not found:
            raise UserError(str(path), "no file matches this pattern")
        return found
    return [path]


def _open_member(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")
    ]
    if len(names) != 1:
        listed = f": {', '.join(names[:3])}" + ", ..." * (len(names) > 3) if names else ""
        raise UserError(
            str(path), f"contains {counted(len(names), 'file')}{listed}; extract it and use one of its files"
        )
    return io.BufferedReader(cast(zipfile.ZipExtFile, archive.open(names[0])))
