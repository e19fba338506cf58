"""Find columns, words and whole splits that differ from train."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.stats import chi2_contingency, false_discovery_control, ks_2samp, norm

from pipelines.audit.contents import Described, Features
from pipelines.audit.findings import Finding
from pipelines.audit.models import classifier, one_quiet_thread

LEAST = 20  # examples of both sides
RATE = 0.01  # expected share of false findings (Benjamini and Hochberg 1995)
SIZE = 0.1  # least difference, from 0 to 1, because in large data smaller ones are significant too; of a word, 1 % of
# the texts against none, or 30 % against 40 %
MOST_WORDS = 20  # words that are reported, the most different first
CATEGORIES = 30  # most frequent values that are compared; all others count as one
TOLD = 0.55  # least share of examples that a classifier tells right, of two equally large sides
CHANCE = 1e-3  # probability that it does so by chance
MOST = 5_000  # examples of each side that the classifier sees


def shifts(
    described: Described, target: pd.Series | None, train: np.ndarray, other: np.ndarray, name: str, seed: int,
    linear: bool,
) -> Iterator[Finding]:  # fmt: skip
    """Compare the examples at the positions `other` with those of train; `target` is compared as a column."""
    if min(len(train), len(other)) < LEAST:
        return
    columns = described.columns if target is None else described.columns.assign(target=target.to_numpy())
    found = [_column(str(column), columns[column], train, other, name) for column in columns]
    if described.words is not None:
        found += _words(*described.words, train, other, name)
    for each in worth_telling(found):
        yield Finding("shifted_column", min(1.0, each.size), each.about, column=each.name)
    yield from _told_apart(described.features, train, other, name, seed, linear)


class Difference(NamedTuple):
    """How a column or a word differs: its size from 0 to 1, how probable it is by chance, and in words."""

    name: str
    size: float
    chance: float
    about: str
    word: bool = False


def worth_telling(found: Sequence[Difference]) -> list[Difference]:
    """Return the differences that are significant, of all together, and large; of words only the most different."""
    if not found:
        return []
    significant = false_discovery_control(np.clip([each.chance for each in found], 0, 1)) <= RATE
    differing = [each for each, sure in zip(found, significant, strict=True) if sure and each.size >= SIZE]
    words = sorted((each for each in differing if each.word), key=lambda each: -each.size)[:MOST_WORDS]
    return [*(each for each in differing if not each.word), *words]


def _column(column: str, values: pd.Series, train: np.ndarray, other: np.ndarray, name: str) -> Difference:
    """Compare two samples of a column: its missing values, and its numbers or categories."""
    one, two = values.iloc[train], values.iloc[other]
    gaps = _categories(column, _present(one), _present(two), name)
    one, two = one.dropna(), two.dropna()
    if min(len(one), len(two)) < LEAST:
        return gaps
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_dtype(values):
        as_numbers = [each.astype("int64" if each.dtype.kind == "M" else "float64") for each in (one, two)]
        test = ks_2samp(*as_numbers, method="asymp")
        middles = [
            str(each.median().date()) if each.dtype.kind == "M" else f"{each.median():.4g}" for each in (one, two)
        ]
        about = f"'{column}' has the median {middles[0]} in train, but {middles[1]} in {name}"
        found = Difference(column, float(test.statistic), float(test.pvalue), about)
    else:
        frequent = values.value_counts().index[:CATEGORIES]
        found = _categories(
            column, one.where(one.isin(frequent), "others"), two.where(two.isin(frequent), "others"), name
        )
    worse = max(gaps, found, key=lambda each: each.size)
    return worse._replace(chance=min(1.0, 2 * min(gaps.chance, found.chance)))


def _present(values: pd.Series) -> pd.Series:
    return values.isna().map({True: "missing", False: "present"})


def _categories(column: str, one: pd.Series, two: pd.Series, name: str) -> Difference:
    """Compare the shares of categories: their total variation, and the probability of their chi-squared."""
    counts = pd.concat([one.value_counts(), two.value_counts()], axis=1).fillna(0)
    if len(counts) < 2:
        return Difference(column, 0.0, 1.0, "")
    shares = counts / counts.sum()
    apart = (shares.iloc[:, 0] - shares.iloc[:, 1]).abs()
    first, second = shares.loc[apart.idxmax()]
    about = f"'{column}' is '{apart.idxmax()}' in {first:.1%} of train, but {second:.1%} of {name}"
    return Difference(column, float(apart.sum() / 2), float(chi2_contingency(counts.to_numpy().T).pvalue), about)


def _words(
    words: csr_matrix, vocabulary: list[str], train: np.ndarray, other: np.ndarray, name: str
) -> list[Difference]:
    one, two = (np.asarray(words[at].sum(axis=0)).ravel() for at in (train, other))
    return compared_words(vocabulary, one / len(train), two / len(other), len(train), len(other), name)


def compared_words(
    words: list[str], first: np.ndarray, second: np.ndarray, train: int, other: int, name: str
) -> list[Difference]:
    """Compare the shares (V,) of texts with each word: half of Cohen's h, and the probability of the difference.

    `train` and `other` are the numbers of texts on both sides.
    """
    both = (first * train + second * other) / (train + other)
    error = np.sqrt(both * (1 - both) * (1 / train + 1 / other))
    chances = 2 * norm.sf(np.abs(first - second) / np.maximum(error, 1e-12))
    sizes = np.abs(np.arcsin(np.sqrt(first)) - np.arcsin(np.sqrt(second)))
    rows = zip(words, sizes, chances, first, second, strict=True)
    return [
        Difference(word, size, chance, f"'{word}' is in {here:.1%} of train, but {there:.1%} of {name}", word=True)
        for word, size, chance, here, there in rows
    ]


def _told_apart(
    features: Features, train: np.ndarray, other: np.ndarray, name: str, seed: int, linear: bool
) -> Iterator[Finding]:
    """Train a classifier to tell train from the other side, on half of both (Lopez-Paz and Oquab 2017)."""
    count = min(len(train), len(other), MOST)
    random = np.random.default_rng(seed)
    sides = [random.permutation(each)[:count] for each in (train, other)]
    half = count // 2
    known, asked = (np.concatenate([each[cut] for each in sides]) for cut in (slice(half), slice(half, None)))
    side, truth = np.repeat([0, 1], half), np.repeat([0, 1], count - half)
    with one_quiet_thread():
        model = classifier(features, seed, linear).fit(features[known], side)
        right = float((model.predict(features[asked]) == truth).mean())
    chance = float(norm.sf((right - 0.5) * 2 * np.sqrt(len(truth))))
    if right >= TOLD and chance < CHANCE:
        about = f"a classifier tells {right:.0%} of the examples of train and {name} apart"
        yield Finding("shifted_split", right, about, column=name)
