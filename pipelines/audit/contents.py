"""Define how the content of inputs is described, so that checks need not know what it is."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

Features: TypeAlias = np.ndarray | csr_matrix  # (N, D)


class Near(NamedTuple):
    """The positions of two examples that are almost equal, the later one first, and how much so, from 0 to 1."""

    at: int
    other: int
    score: float
    about: str


class Described(Protocol):
    """The inputs of all examples (N), described for the checks."""

    @property
    def columns(self) -> pd.DataFrame:
        """What a person would look at, one row per example: cells, or sizes and lengths."""

    @property
    def features(self) -> Features:
        """Numbers for a simple model (N, D)."""

    @property
    def words(self) -> tuple[csr_matrix, list[str]] | None:
        """Which words each example has (N, V), and the words, if it is text."""

    def near(self, split: np.ndarray) -> Iterator[Near]:
        """Yield almost equal examples; `split` (N,) is the split of each."""
