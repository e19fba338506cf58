"""Sketch the inputs of train in a few numbers, so that new data can be compared with it where train is not at hand.

A sketch has no example of train, but frequent categories and words. Shapes: N examples, V words.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp, kstwobign

from pipelines.audit.examined import CONTENTS
from pipelines.audit.findings import Finding
from pipelines.audit.shift import CATEGORIES, LEAST, Difference, compared_words, worth_telling
from pipelines.data.fields import Content, Fields

QUANTILES = 101
MOST_EXAMPLES = 2_000  # of train
MOST_WORDS = 1_000  # the most frequent
OTHERS = "others"
PIECES = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Column:
    """A column: the share of missing values, and the quantiles of numbers or the shares of categories."""

    missing: float
    quantiles: list[float] | None = None  # dates as days since 1970
    is_date: bool = False
    shares: Mapping[str, float] | None = None  # of the most frequent categories, and of all others together


@dataclass(frozen=True)
class Sketch:
    """What the inputs of train look like, by column and by word."""

    content: Content
    inputs: list[str]
    examples: int
    columns: Mapping[str, Column]
    words: Mapping[str, float]  # the share of examples with each word

    def record(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    @staticmethod
    def read(record: Mapping[str, Any]) -> "Sketch":
        """Return the sketch of a record."""
        columns = {name: Column(**column) for name, column in record["columns"].items()}
        return Sketch(**{**record, "columns": columns})

    def differences(self, new: pd.DataFrame, name: str) -> list[Difference]:
        """Compare new inputs (N rows) with train; `name` is what the new inputs are called in sentences.

        Columns that either side lacks are left out, and so are columns with fewer than 20 values.
        """
        shared = [each for each in self.inputs if each in new]
        if not shared and len(self.inputs) == len(new.columns) == 1:  # a client's sentence has another name
            shared = [str(new.columns[0])]
        if not shared or len(new) < LEAST:
            return []
        described = CONTENTS[self.content](_as_in_training(new[shared].reset_index(drop=True), self.content))
        table = described.columns
        found = [
            self._compare(column, table[column], name) for column in map(str, table.columns) if column in self.columns
        ]
        if described.words is not None and self.words:
            presence, vocabulary = described.words
            here = dict(zip(vocabulary, np.asarray(presence.sum(axis=0)).ravel() / len(new), strict=True))
            words = list({*self.words, *here})
            # What is not among the most frequent words of train has at most the share of the rarest of these.
            rarest = min(self.words.values()) if len(self.words) == MOST_WORDS else 0.0
            first = np.array([self.words.get(word, min(rarest, here.get(word, 0.0))) for word in words])
            second = np.array([here.get(word, 0.0) for word in words])
            found += compared_words(words, first, second, self.examples, len(new), name)
        return found

    def findings(self, new: pd.DataFrame, name: str) -> list[Finding]:
        """Return the differences that are significant and large enough to matter."""
        differing = worth_telling(self.differences(new, name))
        return [Finding("shifted_column", min(1.0, each.size), each.about, column=each.name) for each in differing]

    def _compare(self, column: str, values: pd.Series, name: str) -> Difference:
        known = self.columns[column]
        gaps = self._shares(column, {"missing": known.missing, "present": 1 - known.missing}, _presence(values), name)
        values = values.dropna()
        if len(values) < LEAST or (known.quantiles is None and known.shares is None):
            return gaps
        if known.quantiles is not None:
            found = self._numbers(column, known, values, name)
        else:
            assert known.shares is not None
            texts = values.astype(str)
            found = self._shares(column, known.shares, texts.where(texts.isin([*known.shares]), OTHERS), name)
        worse = max(gaps, found, key=lambda each: each.size)
        return worse._replace(chance=min(1.0, 2 * min(gaps.chance, found.chance)))

    def _numbers(self, column: str, known: Column, values: pd.Series, name: str) -> Difference:
        """Compare the distributions by Kolmogorov and Smirnov; the quantiles of train stand for its values."""
        assert known.quantiles is not None
        numbers = _as_numbers(values, known.is_date)
        if len(numbers) < LEAST:
            return Difference(column, 0.0, 1.0, "")
        size = float(ks_2samp(known.quantiles, numbers, method="asymp").statistic)
        pairs = self.examples * len(numbers) / (self.examples + len(numbers))
        middles = [float(np.median(known.quantiles)), float(np.median(numbers))]
        first, second = (_written(middle, known.is_date) for middle in middles)
        about = f"'{column}' has the median {first} in train, but {second} in {name}"
        return Difference(column, size, float(kstwobign.sf(size * np.sqrt(pairs))), about)

    def _shares(self, column: str, known: Mapping[str, float], new: pd.Series, name: str) -> Difference:
        counts = pd.DataFrame(
            {"train": pd.Series(dict(known)) * self.examples, "new": new.value_counts()}, dtype=float
        ).fillna(0)
        counts = counts[counts.sum(axis=1) > 0]
        if len(counts) < 2:
            return Difference(column, 0.0, 1.0, "")
        shares = counts / counts.sum()
        apart = (shares["train"] - shares["new"]).abs()
        first, second = shares.loc[apart.idxmax()]
        about = f"'{column}' is '{apart.idxmax()}' in {first:.1%} of train, but {second:.1%} of {name}"
        return Difference(column, float(apart.sum() / 2), float(chi2_contingency(counts.to_numpy().T).pvalue), about)


def sketch_of(fields: Fields | None, train: pd.DataFrame) -> Sketch | None:
    """Sketch the inputs of train; None for running text, whose prompts look different, and for unknown inputs."""
    if fields is None or fields.content == "running_text":
        return None
    inputs = fields.input_columns([str(name) for name in train])
    places = np.linspace(0, len(train) - 1, min(len(train), MOST_EXAMPLES)).astype(int)
    some = train.iloc[places][inputs].reset_index(drop=True)
    described = CONTENTS[fields.content](some)
    columns = {str(name): _column(values) for name, values in described.columns.items()}
    words: dict[str, float] = {}
    if described.words is not None:
        presence, vocabulary = described.words
        shares = np.asarray(presence.sum(axis=0)).ravel() / len(some)
        words = {vocabulary[at]: _short(shares[at]) for at in np.argsort(-shares, kind="stable")[:MOST_WORDS]}
    return Sketch(fields.content, inputs, len(some), columns, words)


def _column(values: pd.Series) -> Column:
    is_date = values.dtype.kind == "M"
    present = ~(_presence(values) == "missing")
    missing = _short(1 - present.mean())
    values = values[present]
    if not len(values):
        return Column(missing)
    if is_date or pd.api.types.is_numeric_dtype(values):
        numbers = _as_numbers(values, is_date)
        return Column(missing, [_short(x) for x in np.quantile(numbers, np.linspace(0, 1, QUANTILES))], is_date)
    texts = values.astype(str)
    frequent = texts.value_counts(normalize=True)[:CATEGORIES]
    rest = {OTHERS: _short(1 - frequent.sum())} if frequent.sum() < 1 - 1e-9 else {}
    return Column(missing, shares={str(name): _short(share) for name, share in frequent.items()} | rest)


def _presence(values: pd.Series) -> pd.Series:
    return (values.isna() | (values.astype(str) == "")).map({True: "missing", False: "present"})


def _as_in_training(new: pd.DataFrame, content: Content) -> pd.DataFrame:
    """Return raw inputs as the examples of train have them: tokens for sentences, and None for empty categories."""
    if content == "tokens":
        return new.map(lambda value: PIECES.findall(value) if isinstance(value, str) else list(value))
    return new.replace("", None) if content == "cells" else new


def _as_numbers(values: pd.Series, is_date: bool) -> np.ndarray:
    if is_date:
        days = pd.to_datetime(values, errors="coerce").dropna()
        return days.to_numpy("datetime64[D]").astype("float64")
    return pd.to_numeric(values, errors="coerce").dropna().to_numpy("float64")


def _written(value: float, is_date: bool) -> str:
    return str(np.datetime64(int(value), "D")) if is_date else f"{value:.4g}"


def _short(value: float) -> float:
    return float(f"{value:.6g}")
