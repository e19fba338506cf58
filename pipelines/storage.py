"""Files that a reader finds whole or not at all."""

import errno
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pipelines.errors import UserError

BREAK = "\x1f"  # a control character that parts texts, and that no text needs
# Why a disk does not take a file. Libraries in C++ raise errors of their own that only quote the system's words.
REFUSALS = tuple(
    os.strerror(number)
    for number in (
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO,
    )
)  # fmt: skip


def make_folder(folder: Path) -> None:
    """Make a folder, where there is none.

    Raises:
        UserError: where that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(str(folder), f"this folder cannot be made ({error.strerror})") from None


@contextmanager
def writing(path: Path, problem: str = "cannot be written") -> Iterator[None]:
    """Say in one line that the disk does not take what is being written, whichever library writes it.

    Raises:
        UserError: where it does not.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(str(path), f"{problem} ({error.strerror or error})") from None
    except Exception as error:  # TensorFlow and HDF5 have no OSError; what is no refusal of the disk goes on as it is
        reason = next((reason for reason in REFUSALS if reason in str(error)), None)
        if reason is None:
            raise
        raise UserError(str(path), f"{problem} ({reason})") from None


@contextmanager
def locked(path: Path, problem: str) -> Iterator[None]:
    """Hold the lock of the file `path`, which the system lets go of when this process ends, however it ends.

    Raises:
        UserError: with `problem` where another process holds it; where it cannot be made or written to.
    """
    make_folder(path.parent)
    try:
        file = path.open("w")
    except OSError as error:
        raise UserError(str(path.parent), f"cannot write here ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            same = False
        if not same:  # held by another, or just given back and removed by one
            raise UserError(str(path.parent), problem)
        yield


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write under a temporary name, which `write` is given, then rename.

    Raises:
        UserError: where the disk does not take it.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with writing(path):
            write(temporary)
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text."""
    # A file name that is no UTF-8 is written as the bytes that it is.
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="surrogateescape"))


def write_json(path: Path, content: Any) -> None:
    """Write values as JSON, as `as_json` does."""
    write_text(path, as_json(content, indent=2) + "\n")


def as_json(content: Any, **options: Any) -> str:
    """Turn values into JSON: NaN and infinity, which it does not know, become null, and other values text."""
    return json.dumps(_finite(content), allow_nan=False, default=str, **options)


def numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Take named numbers from JSON, with NaN for null."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays."""

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a name, numpy would append its own ending to it
            np.savez(file, allow_pickle=False, **arrays)

    write_whole(path, save)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays.

    Raises:
        UserError: where the file is missing or damaged.
    """
    with readable(path), np.load(path, allow_pickle=False) as file:
        return dict(file)


def pack_texts(texts: Iterable[str]) -> np.ndarray:
    """Join texts, none with the byte 0x1f, in an array of bytes: in an array of texts all are as wide as the widest."""
    return np.frombuffer(BREAK.join(texts).encode(), np.uint8)


def unpack_texts(packed: np.ndarray) -> list[str]:
    """Give the texts of `pack_texts`."""
    return packed.tobytes().decode().split(BREAK) if len(packed) else []


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    return None if isinstance(content, float) and not math.isfinite(content) else content


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say in one line that a file which is being read is damaged."""
    try:
        yield
    except (OSError, ValueError, EOFError, BadZipFile, KeyError):
        raise UserError(str(path), "missing or damaged: this is not what training wrote; train the run anew") from None
