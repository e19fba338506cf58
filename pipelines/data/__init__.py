"""The one door through which raw examples come in, whatever their source."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pipelines.batches import holds_files
from pipelines.build import build
from pipelines.data.splits import duplicates_across, split

LISTED_SKIPS = 100  # data.json names this many skipped rows and counts the rest


@dataclass(frozen=True)
class Source:
    """What a source gives: raw examples by split, or under `all` where it has no splits, and where they are from."""

    examples: dict[str, pd.DataFrame]
    origin: dict[str, Any]
    skipped: list[dict[str, str]] = field(default_factory=list)  # {"place": ..., "reason": ...} each


@dataclass(frozen=True)
class Dataset:
    """Raw examples by split, and the record of where they come from that `data.json` keeps."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    record: dict[str, Any]

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Give the split of that name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def load_dataset(data: Mapping[str, Any], split_rule: Mapping[str, Any], sources: Mapping[str, Callable]) -> Dataset:
    """Load raw examples from the source that the config names and divide them.

    Raises:
        UserError: where a source cannot be read or a split would be empty.
    """
    source: Source = build(data, sources, "source")
    splits = split(source.examples, **split_rule)
    hashes = {name: row_hashes(examples) for name, examples in splits.items()}
    record = {
        "source": dict(data),
        "origin": source.origin,
        "examples": {name: len(examples) for name, examples in splits.items()},
        "columns": {name: str(kind) for name, kind in splits["train"].dtypes.items()},
        "split": dict(split_rule),
        "skipped": {"count": len(source.skipped), "rows": source.skipped[:LISTED_SKIPS]},
        "duplicates_across_splits": duplicates_across(hashes),
        "fingerprint": {name: fingerprint(splits[name].columns, hashes[name]) for name in splits},
    }
    return Dataset(**splits, record=record)


def fingerprint(columns: Iterable[str], hashes: np.ndarray) -> str:
    """Digest the names of the columns and the content of every row, in order."""
    digest = hashlib.sha256(repr(list(columns)).encode())
    digest.update(hashes.tobytes())
    return digest.hexdigest()


def row_hashes(examples: pd.DataFrame) -> np.ndarray:
    """Hash each row's content to 64 bits; equal rows hash equal on every machine. Shape (n,), uint64.

    A path counts as what its file holds.
    """
    return pd.util.hash_pandas_object(examples.apply(_content).astype(str), index=False).to_numpy()


def _content(values: pd.Series) -> pd.Series:
    if holds_files(values):
        with ThreadPoolExecutor() as pool:  # reading and hashing both let other threads run
            return pd.Series(list(pool.map(lambda path: _digest(path.read_bytes()), values)), index=values.index)
    if len(values) and isinstance(values.iloc[0], bytes):
        return values.map(_digest)
    return values


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
