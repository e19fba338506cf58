"""Checks that take well under a second, and run whenever data is loaded."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipelines.data.fields import Fields
from pipelines.data.rows import Rows
from pipelines.errors import counted

LEAST = 10  # rows; with fewer, it means nothing that a column is constant
MANY = 1000  # first rows, in nearly all of which a column that is not constant already differs
FAR = 4.0  # interquartile ranges beyond the quartiles: 6 standard deviations of a normal distribution
NAMED = 8  # columns that a warning names


def check_quickly(splits: Mapping[str, pd.DataFrame], rows: Mapping[str, Rows], fields: Fields | None) -> list[str]:
    """Return one line for each kind of fault that the summary of the data does not already count."""
    found = []
    for name, own in rows.items():
        ordered = own.hashes  # a copy
        ordered.sort()
        count = int((ordered[1:] == ordered[:-1]).sum())
        if count:
            what = "are copies" if count > 1 else "is a copy"
            found.append(f"{count:,} of {len(own):,} {name} rows {what} of another {name} row")
    if fields is None:
        return found
    if names := constant_columns(splits["train"], fields):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        listed = ", ".join(names[:NAMED]) + more
        found.append(f"columns with the same value in every row, which carry no information: {listed}")
    found += [one_class(*each) for each in one_class_splits(splits, fields).items()]
    for name, table in splits.items():
        if len(far := outliers(table, fields)):
            assert fields.target is not None
            value, places = table[fields.target].iloc[far[0]], rows[name]
            first = f"{value:,.6g} in {places.place(name, far[0])}"
            found.append(f"{counted(len(far), f'{name} target')} far from all others (first: {first})")
    return found


def constant_columns(train: pd.DataFrame, fields: Fields) -> list[str]:
    """Return the columns of a table of cells that have one value in every row, which is not a missing one."""
    if fields.content != "cells" or len(train) < LEAST:
        return []
    first = train.iloc[0]
    some = train.head(MANY)
    names = [name for name in fields.input_columns(list(train)) if str(first[name]) not in ("", "nan", "NaT")]
    return [name for name in names if (some[name] == first[name]).all() and (train[name] == first[name]).all()]


def one_class_splits(splits: Mapping[str, pd.DataFrame], fields: Fields) -> dict[str, str]:
    """Return the class of each split whose examples are all of one class, although there are several."""
    if fields.target_is != "class":
        return {}
    classes = {split: table[fields.target].unique() for split, table in splits.items()}
    if len(set().union(*classes.values())) < 2:
        return {}
    return {split: str(found[0]) for split, found in classes.items() if len(found) == 1}


def one_class(split: str, name: str) -> str:
    """Say that all examples of a split are of one class."""
    return f"every {split} example is of the class '{name}'"


def outliers(table: pd.DataFrame, fields: Fields) -> np.ndarray:
    """Return the rows whose number is far from all others of the split; positive numbers also in their logarithm."""
    if fields.target_is != "number" or len(table) < LEAST:
        return np.array([], int)
    values = table[fields.target].to_numpy("float64")
    far = _far(values)
    return np.flatnonzero(far & _far(np.log(values)) if (values > 0).all() else far)


def _far(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.25, 0.75])
    width = FAR * (high - low)
    return (values < low - width) | (values > high + width) if width else np.zeros(len(values), bool)
