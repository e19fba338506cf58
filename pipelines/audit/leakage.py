"""Find columns that give the target away, and splits that share what they should not."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from pipelines.audit.examined import Examined
from pipelines.audit.findings import Finding
from pipelines.audit.models import out_of_fold

LEAST = 50  # examples
LOOKED_AT = 20_000  # examples that single columns are tried on
ANSWERS = 0.95  # share of the target that a column explains alone
UNIQUE = 0.95  # share of different texts in a column of ids
LEAVES = 128  # of the tree on one column
GROUPS = 20  # different values of a column of groups
SIZES = (1.5, 20)  # rows of a group, on average
GROUPED = 0.5  # share of the target that the other rows of a group explain, beyond what the column itself does
DRIFT = 0.1  # rank correlation of date and target


def leaking_columns(examined: Examined) -> Iterator[Finding]:
    """Find columns that alone answer the target, by a shallow tree or the mean of each category, cross-validated."""
    if examined.fields.target_is not in ("class", "number") or len(examined.examples) < LEAST:
        return
    some = _some(examined)
    target = _as_numbers(examined)[some]
    for name, values in examined.described.columns.iloc[some].items():
        score = _explained(_answers(values, target, examined.seed), target)
        if score >= ANSWERS:
            about = f"'{name}' alone explains {score:.1%} of the target"
            yield Finding("leaking_column", score, about, column=str(name))


def id_columns(examined: Examined) -> Iterator[Finding]:
    """Find columns of a table whose values only number or name the rows."""
    if examined.fields.content != "cells" or len(examined.examples) < LEAST:
        return
    numbers = np.concatenate([examined.data.rows[split].numbers for split in examined.joined.splits])
    _, first = np.unique(examined.joined.hashes("hashes"), return_index=True)  # copies have the same id
    numbers = numbers[first]
    for name, values in examined.described.columns.iloc[first].items():
        different = values.nunique() / len(values)
        if pd.api.types.is_numeric_dtype(values):
            order = values.iloc[np.argsort(numbers, kind="stable")]
            whole = different >= UNIQUE and bool((values % 1 == 0).all())
            found = whole and (values.max() - values.min() < 2 * len(values) or order.is_monotonic_increasing)
        else:
            found = not pd.api.types.is_datetime64_dtype(values) and different >= UNIQUE
        if found:
            about = f"'{name}' has {values.nunique():,} different values in {len(values):,} rows"
            yield Finding("id_column", float(different), about, column=str(name))


def groups_across_splits(examined: Examined) -> Iterator[Finding]:
    """Find columns that name a group of a few rows with similar targets, such as a patient, in several splits."""
    if examined.fields.content != "cells" or examined.fields.target_is not in ("class", "number"):
        return
    target = _as_numbers(examined)
    for name, values in examined.described.columns.items():
        numeric = pd.api.types.is_numeric_dtype(values)
        if pd.api.types.is_datetime64_dtype(values) or (numeric and not (values.dropna() % 1 == 0).all()):
            continue
        codes, different = pd.factorize(values, use_na_sentinel=False)
        if len(different) < GROUPS or not SIZES[0] <= len(codes) / len(different) <= SIZES[1]:
            continue
        known = _explained(_of_others(codes, target), target)
        smooth = _explained(_answers(values, target, examined.seed), target) if numeric else 0.0
        train = set(codes[examined.of("train")])
        shared = float(np.mean([code in train for code in codes[examined.of("test")]]))
        if known - max(0.0, smooth) >= GROUPED and shared > 0:
            about = f"{shared:.0%} of the test rows have a '{name}' that train has too, whose rows have similar targets"
            yield Finding("group_across_splits", known, about, column=str(name))


def time_order(examined: Examined) -> Iterator[Finding]:
    """Find dates with which the target changes, if train has later dates than test."""
    if examined.fields.target_is not in ("class", "number"):
        return
    target = _as_numbers(examined)[:, 0]
    for name, values in examined.described.columns.select_dtypes("datetime").items():
        known = values.notna().to_numpy()
        train, test = (
            values.iloc[np.intersect1d(examined.of(each), np.flatnonzero(known))] for each in ("train", "test")
        )
        if known.sum() < LEAST or train.empty or test.empty or values.nunique() < 3:
            continue
        drift = spearmanr(values[known].astype("int64"), target[known])
        later = float((train > test.min()).mean())
        if later > 0 and abs(drift.statistic) >= DRIFT and drift.pvalue < 1e-3:
            about = f"{later:.0%} of train is later than the first '{name}' of test, and the target changes with it"
            yield Finding("time_order", abs(float(drift.statistic)), about, column=str(name))


def _as_numbers(examined: Examined) -> np.ndarray:
    """Return the ranks of numeric targets (N, 1), or one column per class (N, C)."""
    assert examined.target is not None
    if examined.fields.target_is == "number":
        return rankdata(examined.target.to_numpy("float64"))[:, None]
    return pd.get_dummies(examined.target).to_numpy("float64")


def _some(examined: Examined) -> np.ndarray:
    count = len(examined.examples)
    return np.sort(np.random.default_rng(examined.seed).permutation(count)[:LOOKED_AT])


def _answers(values: pd.Series, target: np.ndarray, seed: int) -> np.ndarray:
    """Return what a column alone answers to each row (N, C), out of fold."""
    from sklearn.tree import DecisionTreeRegressor

    if pd.api.types.is_datetime64_dtype(values):
        values = values.astype("int64").where(values.notna())
    if not pd.api.types.is_numeric_dtype(values):
        return _of_others(pd.factorize(values, use_na_sentinel=False)[0], target)
    make = partial(DecisionTreeRegressor, max_leaf_nodes=LEAVES, min_samples_leaf=3)
    return np.column_stack(
        [out_of_fold(make, values.to_numpy("float64")[:, None], each, np.arange(len(each)), seed) for each in target.T]
    )


def _of_others(codes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the mean target (N, C) of the other rows with the same code; of all rows if there is none."""
    counts = np.bincount(codes)[codes][:, None] - 1
    sums = np.column_stack([np.bincount(codes, each)[codes] for each in target.T]) - target
    return np.where(counts > 0, sums / np.maximum(counts, 1), target.mean(axis=0))


def _explained(answers: np.ndarray, target: np.ndarray) -> float:
    """Return the share of the target that answers explain, in its worst column.

    For classes it is the share of the variance. For numbers, whose wrong ones should not hide a leak, it is the same
    of the third quartile of the errors.
    """
    errors, spread = (answers - target) ** 2, (target - np.median(target, axis=0)) ** 2
    if target.shape[1] == 1:
        left, whole = np.quantile(errors, 0.75, axis=0), np.quantile(spread, 0.75, axis=0)
    else:
        left, whole = errors.mean(axis=0), target.var(axis=0)
    return float(1 - (left[whole > 0] / whole[whole > 0]).max(initial=0.0)) if (whole > 0).any() else 0.0
