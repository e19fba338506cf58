"""Convert data that is larger than memory to files that are read by position, once for each content.

A conversion is a folder in the user's cache folder. Its name is a digest of the content of the files and of the
settings that say how they are read, so that a conversion of other content is never used.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.data.examples import ExampleWriter
from pipelines.data.fields import Fields
from pipelines.data.files import PACKED
from pipelines.data.rows import Places, content_hashes, contents_of
from pipelines.data.stored import WRITTEN, StoredTable
from pipelines.storage import GrowingArray, cache_folder, write_json, writing

LARGE = 1 << 26  # bytes of data, from which on it is converted instead of held in memory
UNPACKED = 4  # a compressed text is about this many times as large when unpacked
LARGE_FACTS = {"memory": "the data is large, so it is read from files in the cache folder"}
VERSION = 2  # increase it when the same files would be converted to others, so that older ones are not used
HASHES = ("hashes", "inputs", "targets")
TYPES = {**dict.fromkeys(HASHES, "<u8"), "line": "<u8"}

MapUnits = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]  # calls a function with each unit of the work
_workers: ContextVar[MapUnits] = ContextVar("workers", default=lambda function, units: list(map(function, units)))


@contextmanager
def converting_with(workers: MapUnits) -> Iterator[None]:
    """Let `workers` do the conversions within this context, instead of this process."""
    token = _workers.set(workers)
    try:
        yield
    finally:
        _workers.reset(token)


def map_units(function: Callable[[Any], Any], units: Sequence[Any]) -> list[Any]:
    """Call a function with each unit of the work of a conversion, and return the results in order."""
    return _workers.get()(function, units)


def bytes_of(path: Path) -> int:
    """Return the bytes of the text in a file, or 0 if there is no such file, which its reader then says."""
    if not path.is_file():
        return 0
    return path.stat().st_size * (UNPACKED if path.suffix.lower() in PACKED else 1)


def is_large(files: Iterable[Path], size: Callable[[Path], int] = bytes_of) -> bool:
    """Return whether files, of these sizes in bytes, are converted instead of held in memory."""
    return sum(map(size, files)) > LARGE


def converted(kind: str, found: Mapping[str, Sequence[Path]], settings: Any, convert: Callable[[Path], None]) -> Path:
    """Return the folder of the conversion of these files by split; call `convert` with a folder if there is none.

    Raises:
        UserError: If the folder cannot be written, or `convert` raises it.
    """
    folder = cache_folder() / kind / _digest(found, settings)
    if not folder.is_dir():
        whole = folder.with_name(f".{os.getpid()}.{folder.name}")
        shutil.rmtree(whole, ignore_errors=True)
        try:
            with writing(folder):
                convert(whole)
                if not folder.is_dir():  # another process may have been faster
                    whole.rename(folder)
        finally:
            shutil.rmtree(whole, ignore_errors=True)
    return folder


def _digest(found: Mapping[str, Sequence[Path]], settings: Any) -> str:
    """Return a digest of the files' names and content, and of how they are read."""
    digest = hashlib.blake2b(json.dumps([VERSION, settings], default=str).encode(), digest_size=16)
    for split, files in found.items():
        for path in files:
            with path.open("rb") as file:
                digest.update(f"{split} {path} {hashlib.file_digest(file, 'blake2b').hexdigest()}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class ExamplePart:
    """Some examples of a file, the line of each, and what the reader found about them."""

    frame: pd.DataFrame
    lines: Sequence[int]
    about: Any = None


def write_unit(
    parts: Iterable[ExamplePart], folder: Path, unit: int, kinds: Mapping[str, str], fields: Fields
) -> list[Any]:
    """Write the examples of a unit of a split into its folder, and return what was found about each part.

    `kinds` maps each column to `sentence` or `tokens`.
    """
    assert all(kind in WRITTEN for kind in kinds.values())
    folder.mkdir(parents=True, exist_ok=True)
    writer = ExampleWriter(folder / _name(unit, "array_record"))
    arrays = {name: GrowingArray(folder / _name(unit, f"{name}.npy"), np.dtype(kind)) for name, kind in TYPES.items()}
    found = []
    for part in parts:
        found.append(part.about)
        if part.frame.empty:
            continue
        for values in zip(*(part.frame[name] for name in kinds), strict=True):
            writer.add(dict(zip(kinds, values, strict=True)))
        values_of = {**content_hashes(contents_of(part.frame), fields), "line": np.asarray(part.lines)}
        for name, array in arrays.items():
            array.append(values_of[name])
    writer.close()
    for array in arrays.values():
        array.close()
    return found


def finish_split(folder: Path, units: int, kinds: Mapping[str, str]) -> int:
    """Join what the units of a split have written, and return the number of examples."""
    counts: list[int] = []
    for name, kind in TYPES.items():
        joined, counts = GrowingArray(folder / f"{name}.npy", np.dtype(kind)), []
        for unit in range(units):
            part = folder / _name(unit, f"{name}.npy")
            values = np.load(part, mmap_mode="r")
            joined.append(values)
            counts.append(len(values))
            part.unlink()
        joined.close()
    write_json(folder / "examples.json", {_name(unit, "array_record"): count for unit, count in enumerate(counts)})
    write_json(folder / "columns.json", dict(kinds))
    return sum(counts)


@dataclass
class StoredExamples:
    """Examples by split, and what identifies them; see `Source`."""

    tables: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Sequence[str]] = field(default_factory=dict)
    hashes: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    groups: dict[str, dict[str, Sequence[str]]] = field(default_factory=dict)


def open_examples(folder: Path, units: Mapping[str, Sequence[str]]) -> StoredExamples:
    """Open the examples of a conversion; `units` names the file of each unit."""
    read = StoredExamples()
    for split, names in units.items():
        own = folder / split
        arrays = {name: np.load(own / f"{name}.npy", mmap_mode="r") for name in TYPES}
        counts = json.loads((own / "examples.json").read_text(encoding="utf-8")).values()
        file = np.repeat(np.arange(len(names), dtype=np.min_scalar_type(len(names))), list(counts))
        read.places[split] = Places(list(names), file, arrays.pop("line"))
        read.tables[split], read.hashes[split] = StoredTable(own), arrays
        known = list(dict.fromkeys(names))
        number = np.array([known.index(name) for name in names], np.int32)
        read.groups[split] = {"file": pd.Categorical.from_codes(number[file], known)}
    return read


def _name(unit: int, suffix: str) -> str:
    return f"{unit:05}.{suffix}"
