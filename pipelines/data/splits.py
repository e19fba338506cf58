"""Split examples into train, validation and test."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pipelines.data.rows import row_numbers
from pipelines.errors import UserError, counted, did_you_mean

AT_ONCE = 1 << 20  # rows that are looked up at once
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Part:
    """Rows of one of the tables of a source."""

    of: str
    rows: np.ndarray


def split(
    examples: Mapping[str, pd.DataFrame],
    *,
    train: Annotated[Share, Field(description="fraction of the examples to train on")],
    validation: Annotated[
        Share, Field(description="fraction of the examples used to choose the best epoch and settings")
    ],
    test: Annotated[Share, Field(description="fraction of the examples held out for the final metrics")],
    seed: Annotated[int, Field(ge=0, description="seed of the shuffle before the split")],
    shuffle: Annotated[
        bool, Field(description="shuffle before the split; false: split in the given order, as for time series")
    ] = True,
    validation_seed: Annotated[
        int | None,
        Field(
            ge=0,
            description="seed of the split into training and validation, with the same test split; null: as `seed`",
        ),
    ] = None,
    train_dev: Annotated[
        Share,
        Field(
            description="fraction of the training split that is not trained on but measured by `diagnose`, to"
            " distinguish variance from a data mismatch"
        ),
    ] = 0.0,
    train_share: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="fraction of the training split to train on, drawn at random, for a learning curve; the other"
            " splits stay as they are",
        ),
    ] = 1.0,
    group: Annotated[
        str | None,
        Field(
            description="column whose equal values stay in one split, such as a patient; `file`: the file of a"
            " sentence, pair or text; `folder` or `name`: the folder of an image, or its file name without the number"
            " at the end"
        ),
    ] = None,
    time: Annotated[
        str | None,
        Field(description="column by which the rows are ordered, instead of shuffled: the test split has the latest"),
    ] = None,
    stratify: Annotated[
        str | None,
        Field(description="column whose values, such as classes, have the same proportions in all splits"),
    ] = None,
    folds: Annotated[
        int | None,
        Field(
            ge=2,
            description="number of folds of a cross-validation: `train` also trains a model for each fold, which is its"
            " test split, and reports the spread of the metrics; null: none",
        ),
    ] = None,
    fold: Annotated[
        int | None,
        Field(ge=0, description="split as for this fold, from 0: it is the test split; null: split by the fractions"),
    ] = None,
) -> dict[str, Part]:
    """Split raw examples into train, validation and test, in the same way for the same seed; return the rows of each.

    Examples under `all` are shuffled by `numpy.random.default_rng(seed).permutation` and cut in that order. With
    `shuffle: false` they are cut in their own order. A source with its own splits keeps them. If it has no validation
    or test split, that split is cut from its train split in the same way. The shares of train and of the missing splits
    are then scaled to add up to 1. With `group`, the groups are shuffled instead of the examples, and cuts are moved to
    the nearest end of a group. With `time`, the examples are ordered by that column. With `stratify`, the examples are
    shuffled, then put in an order in which each value is spread evenly. A `validation_seed` does so again with the
    examples of train and validation, so that a model can be trained on several splits without ever seeing test. With
    `train_dev`, a random share of train, or its end if nothing is shuffled, is a split of that name (Ng, Machine
    Learning Yearning, chapter 40). With `train_share`, the rest of train is left out: a smaller share is part of a
    larger one, drawn anew by each `validation_seed`. If nothing is shuffled, the end of train is kept. With a `fold`,
    test is that fold of the table that is cut, and the rest of the table is train and, if that is missing, validation;
    see `_fold`. `folds` alone changes nothing.

    Raises:
        UserError: If the shares do not add up to 1, a column does not exist, a split would be empty, or a seed has
            nothing to shuffle.
    """
    if validation_seed is not None and (time is not None or not shuffle):
        other = "shuffle: false" if time is None else "split.time"
        raise UserError("split.validation_seed", f"cannot be used with {other}; set it to null")
    if abs(train + validation + test - 1) > 1e-9:
        raise UserError("split", f"train, validation and test add up to {train + validation + test:g}, not 1")
    given = dict(examples)
    cut = "all" if "all" in given else "train"
    whole = given.pop(cut)
    shares = {"train": train, "validation": validation, "test": test}
    missing = {name: share for name, share in shares.items() if name not in given}
    if not sum(missing.values()):
        raise UserError("split.train", "is 0, so there is nothing to train on")
    order = partial(_order, shuffle=shuffle, group=group, time=time, stratify=stratify)
    again = validation_seed if "validation" in missing else None
    if fold is None:
        rows = _cut(whole, list(missing.values()), order, seed, again, group)
    else:
        given.pop("test", None)
        missing["test"] = test
        ordered = order(whole, seed) if time is not None or not shuffle else None
        rest, held_out = _fold(whole, folds, fold, seed, ordered, group, stratify)
        within = _cut(whole.take(rest), list(missing.values())[:-1], order, seed, again, group)
        rows = [*(rest[each] for each in within), held_out]
    parts = {name: Part(name, row_numbers(len(table))) for name, table in given.items()}
    parts |= {name: Part(cut, each) for name, each in zip(missing, rows, strict=True)}
    parts = {name: parts[name] for name in shares}
    _check_filled(parts, len(whole))
    shuffled = shuffle and time is None
    if train_dev:
        own = parts["train"].rows
        off = _last_units(_units(whole, own, group), train_dev, seed if shuffled else None)
        parts |= {"train": Part(cut, own[~off]), "train_dev": Part(cut, own[off])}
        _check_filled(parts, len(whole))
    if train_share < 1:
        own, drawn = parts["train"].rows, seed if validation_seed is None else validation_seed
        kept = _last_units(_units(whole, own, group), train_share, drawn if shuffled else None)
        parts["train"] = Part(cut, own[kept])
        _check_filled(parts, len(whole))
    return parts


def _cut(
    whole: pd.DataFrame,
    shares: Sequence[float],
    order_of: Callable[[pd.DataFrame, int], np.ndarray],
    seed: int,
    again: int | None,
    group: str | None,
) -> list[np.ndarray]:
    """Return the rows of each share; with the seed `again`, the first two are ordered and cut once more."""
    if len(shares) == 1:
        return [row_numbers(len(whole))]
    # Round before truncating, because of float error: 0.7 + 0.1 is 0.7999999999999999.
    ends = [int(round(end, 6)) for end in np.cumsum([0, *shares]) / sum(shares) * len(whole)]

    def cuts_of(order: np.ndarray) -> list[int]:
        return ends if group is None else _between_groups(_groups(whole, group)[order], ends)

    order = order_of(whole, seed)
    cuts = cuts_of(order)
    if again is not None:
        first = order[: cuts[2]]
        order[: cuts[2]] = first[order_of(whole.take(first), again)]
        cuts = cuts_of(order)
    return [order[start:stop] for start, stop in pairwise(cuts)]


def _fold(
    whole: pd.DataFrame,
    folds: int | None,
    fold: int,
    seed: int,
    ordered: np.ndarray | None,
    group: str | None,
    stratify: str | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows outside and inside of one of the folds.

    If the rows have an order, each fold comes after the rows outside of it, of which there are the more the later the
    fold is. All other folds together have each row once.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

    if folds is None or fold >= folds:
        raise UserError("split.fold", f"is {fold}, but split.folds is {folds}; folds are counted from 0")
    labels = None
    if ordered is not None:
        cut, units = TimeSeriesSplit(folds), len(whole)
    elif group is not None:
        labels = _groups(whole, group)
        cut, units = GroupKFold(folds, shuffle=True, random_state=seed), labels.max() + 1
    elif stratify is not None:
        labels = pd.factorize(_column(whole, stratify, "stratify"), use_na_sentinel=False)[0]
        cut, units = StratifiedKFold(folds, shuffle=True, random_state=seed), np.bincount(labels).max()
    else:
        cut, units = KFold(folds, shuffle=True, random_state=seed), len(whole)
    if units < folds + (ordered is not None):
        what = "groups" if group is not None else "examples" if stratify is None else "examples of any class"
        raise UserError("split.folds", f"is {folds}, but there are only {units} {what}; use fewer folds")
    with warnings.catch_warnings(action="ignore"):  # of classes with fewer examples than folds, as the summary does
        parts = list(cut.split(np.zeros(len(whole)), labels, labels))
    return tuple(part if ordered is None else ordered[part] for part in parts[fold])


def _check_filled(parts: Mapping[str, Part], count: int) -> None:
    for name, part in parts.items():
        if not len(part.rows):
            problem = f"no examples are left for this split ({count:,} in total); increase its fraction or add examples"
            raise UserError(f"split.{name}", problem)


def _units(whole: pd.DataFrame, rows: np.ndarray, group: str | None) -> np.ndarray:
    """Return the number of each row's unit, which is not divided: its group, or the row itself."""
    return np.arange(len(rows)) if group is None else pd.factorize(_groups(whole, group)[rows])[0]


def _last_units(units: np.ndarray, share: float, seed: int | None) -> np.ndarray:
    """Return which rows are in a random share of the units, or in the last ones if there is no seed."""
    count = units.max() + 1
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    return np.isin(units, order[count - int(share * count) :])


def _order(
    whole: pd.DataFrame, seed: int, shuffle: bool, group: str | None, time: str | None, stratify: str | None
) -> np.ndarray:
    """Return the order of the rows in which they are cut."""
    given = [name for name, value in (("group", group), ("time", time), ("stratify", stratify)) if value is not None]
    if len(given) > 1:
        raise UserError(f"split.{given[1]}", f"cannot be combined with split.{given[0]}")
    random = np.random.default_rng(seed)
    if time is not None:
        values = _column(whole, time, "time")
        if values.isna().any():
            raise UserError("split.time", f"column '{time}' has {counted(int(values.isna().sum()), 'missing value')}")
        return np.argsort(values.to_numpy(), kind="stable")
    if group is not None:
        groups = _groups(whole, group)
        ranks = random.permutation(groups.max() + 1) if shuffle else np.arange(groups.max() + 1)
        return np.argsort(ranks[groups], kind="stable")
    order = random.permutation(row_numbers(len(whole))) if shuffle else row_numbers(len(whole))
    if stratify is not None:
        values = pd.Series(pd.factorize(_column(whole, stratify, "stratify"), use_na_sentinel=False)[0][order])
        places = (values.groupby(values).cumcount() + 0.5) / values.map(values.value_counts())
        return order[np.argsort(places.to_numpy(), kind="stable")]
    return order


def _column(whole: pd.DataFrame, name: str, key: str) -> pd.Series:
    if name not in whole:
        raise UserError(f"split.{key}", f"there is no column '{name}'{did_you_mean(name, list(whole))}")
    return whole[name]


def _groups(whole: pd.DataFrame, name: str) -> np.ndarray:
    """Return the number of each row's group, in the order in which they occur."""
    return pd.factorize(_column(whole, name, "group").astype(str))[0]


def _between_groups(groups: np.ndarray, cuts: list[int]) -> list[int]:
    """Move cuts to the nearest place between two groups, of which the rows are consecutive."""
    ends = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1, [len(groups)]])
    return [int(ends[np.abs(ends - cut).argmin()]) for cut in cuts]


def take(examples: Mapping[str, pd.DataFrame], parts: Mapping[str, Part]) -> dict[str, pd.DataFrame]:
    """Return the table of each part."""
    return {name: examples[part.of].take(part.rows).reset_index(drop=True) for name, part in parts.items()}


def duplicates_across(hashes: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Count the examples of a split that also occur in an earlier one: {'test in train': 3, ...}."""
    found: dict[str, int] = {}
    for earlier, others in (("train", ("validation", "test")), ("validation", ("test",))):
        known = np.sort(hashes[earlier])
        found |= {f"{later} in {earlier}": _count_known(hashes[later], known) for later in others}
    return found


def _count_known(values: np.ndarray, known: np.ndarray) -> int:
    """Count the values that are among sorted ones, some at a time, to need little memory."""
    count = 0
    for start in range(0, len(values), AT_ONCE):
        part = values[start : start + AT_ONCE]
        count += int((known[np.searchsorted(known[:-1], part)] == part).sum())
    return count
