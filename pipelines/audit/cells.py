"""Describe the rows of a table by their cells, and find those that are almost the same."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from pipelines.audit.contents import Near

WIDTH = 8  # of the random projection in which neighbours are looked for
WIDER = 2.5  # times the distance looked for, because the projection may enlarge it
SOME = 2000  # rows whose neighbours show how far neighbours usually are
LOOKED_AT = 4  # nearest neighbours in the projection that are compared as they are
CLOSE = 0.1  # of the usual distance of neighbours
CHANCE = 0.01  # pairs this close that are expected by chance in the whole table
CATEGORIES = 20  # most frequent values of a column that simple models tell apart


class Cells:
    """The cells of a table (N rows)."""

    words = None

    def __init__(self, inputs: pd.DataFrame):
        self.columns = inputs.reset_index(drop=True)
        dates = self.columns.select_dtypes("datetime")
        numbers = self.columns.select_dtypes("number")
        self._numbers = numbers.assign(**{name: _days(dates[name]) for name in dates}).astype("float64")
        self._categories = self.columns.drop(columns=[*numbers, *dates]).astype(str)

    @cached_property
    def _standardized(self) -> np.ndarray:
        return _standardized(self._numbers)

    @cached_property
    def _codes(self) -> np.ndarray:
        codes = [_codes(values) for _, values in self._categories.items()]
        return np.column_stack([np.zeros(len(self.columns), int), *codes, self._numbers.isna().to_numpy()])

    @cached_property
    def points(self) -> np.ndarray:
        """Random projections of the rows (N, 8), whose distances are about those of the rows."""
        return _projected(self._standardized, self._codes)

    @cached_property
    def features(self) -> np.ndarray:
        """Numbers as they are, with NaN for missing, and for each category the rank of its frequency (N, D)."""
        ranks = {name: _ranks(values) for name, values in self._categories.items()}
        return np.column_stack([self._numbers.to_numpy(), *ranks.values()]).astype("float32")

    def near(self, split: np.ndarray) -> Iterator[Near]:
        """Yield rows with the same categories whose numbers are far closer than neighbours usually are.

        Neighbours are looked for in a random projection, which keeps distances (Johnson and Lindenstrauss 1984).
        """
        numbers, codes, points = self._standardized, self._codes, self.points
        if not numbers.shape[1]:
            return
        firsts = _distinct(np.column_stack([numbers, codes]))
        limit = _limit(points[firsts], numbers.shape[1])
        for part in np.unique(split):
            among = firsts[split[firsts] == part]
            ends = np.append(among, len(split))  # the tree's number for "no neighbour" is one too many
            _, found = cKDTree(points[among]).query(points[firsts], k=LOOKED_AT, distance_upper_bound=WIDER * limit)
            near = ends[found]
            for at, others in zip(firsts, near, strict=True):
                others = others[others < at]
                if not len(others):
                    continue
                distances = np.linalg.norm(numbers[others] - numbers[at], axis=1)
                distances[(codes[others] != codes[at]).any(axis=1)] = np.inf
                nearest = distances.argmin()
                if distances[nearest] <= limit:
                    yield Near(
                        int(at),
                        int(others[nearest]),
                        1.0 - float(distances[nearest]),
                        "its numbers are almost the same",
                    )


def _days(dates: pd.Series) -> pd.Series:
    return (dates - pd.Timestamp(0)) / pd.Timedelta(days=1)


def _codes(values: pd.Series) -> np.ndarray:
    return pd.factorize(values, use_na_sentinel=False)[0]


def _ranks(values: pd.Series) -> np.ndarray:
    """Return the rank of the frequency of each value, from 0; all rare values share the last rank."""
    order = {value: rank for rank, value in enumerate(values.value_counts().index[:CATEGORIES])}
    return values.map(order).fillna(CATEGORIES).to_numpy("float64")


def _standardized(table: pd.DataFrame) -> np.ndarray:
    """Return columns with mean 0 and deviation 1; missing values are 0, and skewed columns are in logarithms."""
    columns = []
    for _, values in table.items():
        shift = np.sign(values) * np.log1p(values.abs()) if abs(values.skew()) > 2 else values
        deviation = shift.std()
        if deviation > 0:
            columns.append(((shift - shift.mean()) / deviation).fillna(0.0).to_numpy())
    return np.column_stack(columns) if columns else np.zeros((len(table), 0))


def _projected(numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return random projections (N, 8) of the numbers and of the one-hot codes."""
    random = np.random.default_rng(0)
    points = numbers @ random.normal(size=(numbers.shape[1], WIDTH)) / np.sqrt(WIDTH)
    for column in codes.T:
        points += random.normal(size=(column.max(initial=0) + 1, WIDTH))[column] / np.sqrt(WIDTH)
    return points


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Return the first position of each different row."""
    hashes = pd.util.hash_pandas_object(pd.DataFrame(rows), index=False)
    return np.flatnonzero(~hashes.duplicated().to_numpy())


def _limit(points: np.ndarray, width: int) -> float:
    """Return the distance below which two rows are almost the same.

    If the numbers filled their space evenly, `CHANCE` of all pairs of neighbours would be closer than this.
    """
    if len(points) < 3:
        return 0.0
    distances, _ = cKDTree(points).query(points[:: -(-len(points) // SOME)], k=2)
    return float(np.median(distances[:, 1]) * min(CLOSE, (CHANCE / len(points)) ** (1 / width)))
