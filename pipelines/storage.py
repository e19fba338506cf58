"""Read and write files atomically, with clear errors."""

import errno
import fcntl
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pipelines.errors import UserError

BREAK = "\x1f"  # unit separator: a control character that texts do not contain
# System messages for failed writes. C++ libraries raise their own error types that only quote these messages.
REFUSALS = tuple(
    os.strerror(number)
    for number in (
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO,
    )
)  # fmt: skip


def make_folder(folder: Path) -> None:
    """Create a folder if it does not exist.

    Raises:
        UserError: If the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(str(folder), f"cannot create this folder ({error.strerror})") from None


@contextmanager
def writing(path: Path, problem: str = "cannot be written") -> Iterator[None]:
    """Turn the write errors of any library into a one-line `UserError`.

    Raises:
        UserError: If `path` cannot be written.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(str(path), f"{problem} ({error.strerror or error})") from None
    except Exception as error:  # TensorFlow and HDF5 do not raise OSError; other errors are re-raised
        reason = next((reason for reason in REFUSALS if reason in str(error)), None)
        if reason is None:
            raise
        raise UserError(str(path), f"{problem} ({reason})") from None


@contextmanager
def locked(path: Path, problem: str) -> Iterator[None]:
    """Hold a lock on the file `path`. The system releases it when this process ends, even after a crash.

    Raises:
        UserError: With `problem` if another process holds the lock, or if the file cannot be created.
    """
    make_folder(path.parent)
    try:
        file = path.open("w")
    except OSError as error:
        raise UserError(str(path.parent), f"cannot write to this folder ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            same = False
        if not same:  # held by another process, or just released and deleted by one
            raise UserError(str(path.parent), problem)
        yield


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on the file `path`."""
    try:
        file = path.open("r")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file atomically: call `write` with a temporary path, then rename it to `path`.

    Raises:
        UserError: If the file cannot be written.
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
    """Write a text file in UTF-8."""
    # File names that are not valid UTF-8 are written as their original bytes.
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="surrogateescape"))


def write_json(path: Path, content: Any) -> None:
    """Write values to a JSON file; see `as_json`."""
    write_text(path, as_json(content, indent=2) + "\n")


def as_json(content: Any, **options: Any) -> str:
    """Return values as JSON. NaN and infinity become null; values of other types become strings."""
    return json.dumps(_finite(content), allow_nan=False, default=str, **options)


def numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Convert numbers read from JSON; null becomes NaN."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays to an .npz file."""

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, NumPy would append .npz to it
            np.savez(file, allow_pickle=False, **arrays)

    write_whole(path, save)


class GrowingArray:
    """An .npy file that is written part by part, and whose length is known only at the end."""

    def __init__(self, path: Path, kind: np.dtype):
        self.kind, self.count = kind, 0
        self._file = path.open("wb")
        self._write_header(1 << 62)  # leaves room for any shorter length
        self._start = self._file.tell()

    def append(self, part: np.ndarray) -> None:
        """Write more elements at the end, converted to the kind of the array."""
        self._file.write(part.astype(self.kind, copy=False).tobytes())
        self.count += len(part)

    def close(self) -> None:
        """Write the true length."""
        self._file.seek(0)
        self._write_header(self.count)
        assert self._file.tell() == self._start
        self._file.close()

    def _write_header(self, count: int) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self.kind), "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(self._file, header)


def cache_folder() -> Path:
    """Return the user's folder for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "keras-task-pipelines"


def scratch_array(shape: tuple[int, ...], in_memory: int) -> np.ndarray:
    """Return a new array of float32. Beyond `in_memory` bytes it is in a file, which vanishes with the array."""
    if 4 * math.prod(shape) <= in_memory:
        return np.empty(shape, np.float32)
    make_folder(cache_folder())  # not the system's folder for temporary files, which may be in memory
    with tempfile.TemporaryFile(dir=cache_folder()) as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of an .npz file.

    Raises:
        UserError: If the file is missing or damaged.
    """
    with readable(path), np.load(path, allow_pickle=False) as file:
        return dict(file)


def pack_texts(texts: Iterable[str]) -> np.ndarray:
    """Join texts, none of which contains the byte 0x1f, to an array of bytes.

    This is smaller than an array of strings, which NumPy pads to the longest string.
    """
    return np.frombuffer(BREAK.join(texts).encode(), np.uint8)


def unpack_texts(packed: np.ndarray) -> list[str]:
    """Return the texts packed by `pack_texts`."""
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
    """Raise a one-line `UserError` if a file being read is missing or damaged."""
    try:
        yield
    except (OSError, ValueError, EOFError, BadZipFile, KeyError):
        raise UserError(str(path), "is missing or damaged; train the run again") from None
