"""Find columns, words and whole splits that differ from train."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.stats import chi2_contingency, false_discovery_control, ks_2samp, norm
from threadpoolctl import threadpool_limits

from pipelines.audit.contents import Described, Features
from pipelines.audit.findings import Finding
from pipelines.audit.models import classifier

LEAST = 20  # examples of both sides
RATE = 0.01  # expected share of false findings (Benjamini and Hochberg 1995)
SIZE = 0.1  # least difference of two distributions, from 0 to 1; in large data smaller ones are significant too
WORD_SIZE = 0.2  # least difference of two shares, as Cohen's h: 1 % against none, or 30 % against 40 %
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
    found = [_column(columns[column], train, other) for column in columns]
    names = [f"column '{column}'" for column in columns]
    sizes, chances = [size / SIZE for size, _ in found], [chance for _, chance in found]
    if described.words is not None:
        words, vocabulary = described.words
        differences, more = _words(words, train, other)
        names += [f"word '{word}'" for word in vocabulary]
        sizes, chances = [*sizes, *(differences / WORD_SIZE)], [*chances, *more]
    significant = false_discovery_control(np.clip(chances, 0, 1)) <= RATE if names else np.array([], bool)
    order = [at for at in np.argsort(-np.abs(sizes), kind="stable") if significant[at] and abs(sizes[at]) >= 1]
    for at in [at for at in order if at < len(columns.columns)] + [at for at in order if at >= len(columns.columns)][
        :MOST_WORDS
    ]:
        about = f"{names[at]} differs between train and {name}"
        yield Finding("shifted_column", min(1.0, abs(sizes[at]) * SIZE), about, column=names[at].split("'", 1)[1][:-1])
    yield from _told_apart(described.features, train, other, name, seed, linear)


def _column(values: pd.Series, train: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return how different two samples of a column are, from 0 to 1, and how probable that is by chance."""
    one, two = values.iloc[train], values.iloc[other]
    gaps = _tables(one.isna(), two.isna())
    if pd.api.types.is_datetime64_dtype(values):
        one, two = one.dropna().astype("int64"), two.dropna().astype("int64")
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_integer_dtype(one):
        if one.notna().sum() < LEAST or two.notna().sum() < LEAST:
            return gaps
        test = ks_2samp(one.dropna(), two.dropna(), method="asymp")
        found = float(test.statistic), float(test.pvalue)
    else:
        frequent = values.value_counts().index[:CATEGORIES]
        found = _tables(one.where(one.isin(frequent), "other"), two.where(two.isin(frequent), "other"))
    return max(gaps[0], found[0]), min(1.0, 2 * min(gaps[1], found[1]))


def _tables(one: pd.Series, two: pd.Series) -> tuple[float, float]:
    """Return the total variation between the shares of categories, and the probability of their chi-squared."""
    counts = pd.concat([one.value_counts(), two.value_counts()], axis=1).fillna(0).to_numpy().T
    if counts.shape[1] < 2:
        return 0.0, 1.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    return float(np.abs(shares[0] - shares[1]).sum() / 2), float(chi2_contingency(counts).pvalue)


def _words(words: csr_matrix, train: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Cohen's h of the share of texts with each word (V,), and the probability of the difference (V,)."""
    one, two = (np.asarray(words[at].sum(axis=0)).ravel() for at in (train, other))
    first, second, both = one / len(train), two / len(other), (one + two) / (len(train) + len(other))
    error = np.sqrt(both * (1 - both) * (1 / len(train) + 1 / len(other)))
    chances = 2 * norm.sf(np.abs(first - second) / np.maximum(error, 1e-12))
    return 2 * np.arcsin(np.sqrt(first)) - 2 * np.arcsin(np.sqrt(second)), chances


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
    with threadpool_limits(1):  # on busy cores, threads would wait for each other
        model = classifier(features, seed, linear).fit(features[known], side)
        right = float((model.predict(features[asked]) == truth).mean())
    chance = float(norm.sf((right - 0.5) * 2 * np.sqrt(len(truth))))
    if right >= TOLD and chance < CHANCE:
        about = f"a classifier tells {right:.0%} of the examples of train and {name} apart"
        yield Finding("shifted_split", right, about, column=name)
