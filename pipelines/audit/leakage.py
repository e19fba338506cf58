"""Find columns that give the target away, and splits that share what they should not."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata, spearmanr

from pipelines.audit.examined import Examined
from pipelines.audit.findings import Finding
from pipelines.audit.flattery import by_group, by_time
from pipelines.audit.models import one_quiet_thread, out_of_fold

LEAST = 50  # examples
LOOKED_AT = 20_000  # examples that single columns are tried on
ANSWERS = 0.95  # share of the target that a column explains alone
UNIQUE = 0.95  # share of different texts in a column of ids
LEAVES = 128  # of the tree on one column
GROUPS = 20  # different values of a column of groups
SIZES = (1.5, 20)  # rows of a group, on average
GROUPED = 0.5  # share of the target that the other rows of a group explain, beyond what the column itself does
FEWEST = 3  # different groups, such as documents
ALIKE = 0.2  # share of the test examples that are most similar to one of their own group, beyond chance
CHANCE = 1e-3  # probability that so many are by chance
COMPARED = 2000  # examples of test, and of train, whose similarity is compared
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
    """Find what names a group of similar examples, such as a patient or a document, in several splits."""
    if examined.fields.content == "cells" and examined.fields.target_is in ("class", "number"):
        yield from _similar_targets(examined)
    elif len(examined.examples) >= LEAST:
        yield from _similar_inputs(examined)


def _similar_targets(examined: Examined) -> Iterator[Finding]:
    """Find columns of a table that name a few rows each, whose targets are similar."""
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
        shared = _shared(examined, codes)
        if known - max(0.0, smooth) >= GROUPED and shared > 0:
            about = f"{shared:.0%} of the test rows have a '{name}' that train has too, whose rows have similar targets"
            about += by_group(examined, codes, str(name))
            yield Finding("group_across_splits", known, about, column=str(name))


def _similar_inputs(examined: Examined) -> Iterator[Finding]:
    """Find groups whose test examples are most similar to train examples of the same group, more than by chance.

    Examples of a class are compared with those of the same class, which are similar for another reason.
    """
    candidates = {}
    for name, values in examined.groups.items():
        codes, different = pd.factorize(values.astype(str))
        if len(different) >= FEWEST and len(codes) / len(different) >= SIZES[0] and _shared(examined, codes) > 0:
            candidates[str(name)] = codes
    if not candidates:
        return
    by_class = examined.fields.target_is == "class" and examined.target is not None
    classes = pd.factorize(examined.target)[0] if by_class else np.zeros(len(examined.examples), int)
    test, nearest, train = _nearest(examined, classes)
    seen: list[np.ndarray] = []
    for name, codes in candidates.items():
        if any((pd.factorize(codes)[0] == other).all() for other in seen):
            continue  # the same groups under another name, such as the only file of a folder
        seen.append(pd.factorize(codes)[0])
        same = codes[test] == codes[nearest]
        pairs = pd.DataFrame({"class": classes[train], "group": codes[train]}).value_counts()
        sizes = pd.Series(classes[train]).value_counts()
        chance = np.array([pairs.get(key, 0) / sizes[key[0]] for key in zip(classes[test], codes[test], strict=True)])
        more = same.mean() - chance.mean()
        spread = np.sqrt((chance * (1 - chance)).sum()) / len(test)
        if more >= ALIKE and norm.sf(more / max(spread, 1 / len(test))) < CHANCE:
            about = (
                f"the most similar train example of {same.mean():.0%} of the test examples has the same '{name}'"
                f" ({chance.mean():.0%} expected at random)"
            )
            yield Finding("group_across_splits", float(more), about + by_group(examined, codes, name), column=name)


def _nearest(examined: Examined, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return some test examples, the most similar train example of the same class of each, and the train examples."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    random = np.random.default_rng(examined.seed)
    test, train = (random.permutation(examined.of(split))[:COMPARED] for split in ("test", "train"))
    features = examined.described.features
    asked, found = [], []
    for label in np.unique(classes[test]):
        own, others = test[classes[test] == label], train[classes[train] == label]
        if len(others):
            with one_quiet_thread():
                model = NearestNeighbors(n_neighbors=1).fit(normalize(features[others]))
                nearest = model.kneighbors(normalize(features[own]), return_distance=False)[:, 0]
            asked.append(own)
            found.append(others[nearest])
    return np.concatenate(asked), np.concatenate(found), train


def _shared(examined: Examined, codes: np.ndarray) -> float:
    """Return the share of the test examples whose group train has too."""
    return float(np.isin(codes[examined.of("test")], codes[examined.of("train")]).mean())


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
            about += by_time(examined, values, str(name))
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
