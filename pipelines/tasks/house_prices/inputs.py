"""Read houses for `predict`, from JSON objects and from tables."""

import json
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines.data.tables.cells import CellTable, read_cells
from pipelines.data.tables.columns import TableRules, input_name, type_table
from pipelines.data.tables.dates import ISO, read_dates
from pipelines.data.tables.numbers import LARGEST
from pipelines.errors import DataWarning, UserError, did_you_mean

PLAIN = {"kind": "number", "decimal": ".", "prefix": "", "suffix": ""}


def read_houses(
    inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
) -> pd.DataFrame:
    """Read houses from JSON objects and from the rows of a table.

    The result has float numbers, texts, and dates as YYYY-MM-DD. Its index names the source of each house. `columns`
    are the input columns of the model. `reading` contains how the training files were read and which columns may be
    omitted (`may_lack`; any column if it is absent).

    Raises:
        UserError: If a house is not valid. The error names the input, or the file and its line, and the column.
    """
    rows = [_read_object(text, columns, reading) for text in inputs]
    tables = [pd.DataFrame(rows, index=pd.Index(inputs, dtype=object))] if rows else []
    if file is not None:
        tables.append(_read_table(file, columns, reading))
    return pd.concat(tables)


def _read_object(text: str, columns: Mapping[str, type], reading: Mapping[str, Any]) -> dict[str, Any]:
    where = f"input {text[:60]!r}"
    try:
        house = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except ValueError as error:
        raise UserError(where, str(error) if isinstance(error, _Refused) else _not_an_object(columns)) from None
    if not isinstance(house, dict):
        raise UserError(where, _not_an_object(columns))
    names = {given: input_name(given) for given in house}
    counts = Counter(names.values())
    if twice := [given for given, name in names.items() if counts[name] > 1]:
        raise UserError(where, f"contains a column twice: {', '.join(map(repr, twice))}")
    _check_known(where, names, columns, ())
    row: dict[str, Any] = {column: float("nan") if kind is float else "" for column, kind in columns.items()}
    for given, value in house.items():
        if value is not None:
            row[names[given]] = _value(
                f"{where}: {given}", value, columns[names[given]], _format(names[given], columns, reading)
            )
    _check_complete(where, names.values(), columns, reading)
    return row


def _not_an_object(columns: Mapping[str, type]) -> str:
    return f"is not a JSON object; write a row as '{{\"{next(iter(columns))}\": ...}}'"


def _value(where: str, value: Any, kind: type, column_format: Mapping[str, str]) -> Any:
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(where, f"must be a number, not {value!r}")
        if abs(value) > float(LARGEST):  # Python compares integers of any size with a float
            raise UserError(where, f"the number is too large; use at most {LARGEST:.4g}")
        return float(value)
    if isinstance(value, list | dict):
        raise UserError(where, f"must be a single value, not {value!r}")
    if column_format["kind"] == "date" and value != "":
        return _date(where, str(value), column_format["format"])
    return str(value)


def _date(where: str, text: str, date_format: str) -> str:
    for each in (ISO, date_format):
        date = read_dates(pd.Series([text]), each)[0]
        if date is not pd.NaT:
            return date.strftime("%Y-%m-%d")
    raise UserError(where, f"{text!r} is not a date; write it as YYYY-MM-DD")


def _read_table(file: str, columns: Mapping[str, type], reading: Mapping[str, Any]) -> pd.DataFrame:
    aside = [*reading.get("ignored", ()), reading.get("target"), "price"]

    def is_header(names: Sequence[str]) -> bool:
        return any(input_name(name) in columns for name in names)

    cells = _cells(file, reading, is_header)
    for warning in cells.warnings:
        warnings.warn(warning, DataWarning, stacklevel=2)
    given = {name: input_name(name) for name in cells.cells}
    _check_known(cells.name, given, columns, aside)
    _check_complete(cells.name, given.values(), columns, reading)
    formats = {name: _format(name, columns, reading) for name in columns}
    surplus = [name for name in given.values() if name not in columns]
    rules = TableRules(ignore=surplus, missing=reading.get("missing", ("", "NA")), formats=formats)
    houses = type_table(cells, rules).frame
    houses = houses.set_axis([cells.place(row) for row in range(len(houses))])
    for name in houses.select_dtypes("datetime"):
        houses[name] = houses[name].dt.strftime("%Y-%m-%d").fillna("")
    for name, kind in columns.items():
        if name not in houses:
            houses[name] = float("nan") if kind is float else ""
    return houses[list(columns)]


def _cells(file: str, reading: Mapping[str, Any], is_header: Any) -> CellTable:
    """Read a table with the delimiter of the training file. If its header is not valid then, detect the delimiter."""
    delimiter, encoding = reading.get("delimiter", "auto"), reading.get("encoding", "utf-8")
    try:
        return read_cells(file, delimiter, encoding, is_header)
    except UserError:
        if delimiter == "auto":
            raise
        return read_cells(file, "auto", encoding, is_header)


def _check_known(
    where: str, names: Mapping[str, str], columns: Mapping[str, type], aside: Collection[str | None]
) -> None:
    """Raise an error if a column was not in the training data. `names` maps headers to column names."""
    for header, name in names.items():
        if name not in columns and name not in aside:
            raise UserError(where, f"unknown column '{header}'{did_you_mean(name, list(columns))}")


def _check_complete(
    where: str, given: Collection[str], columns: Mapping[str, type], reading: Mapping[str, Any]
) -> None:
    """Raise an error if a column is absent that never had missing values in training."""
    may_lack = columns if reading.get("allow_missing") else reading.get("may_lack", columns)
    lacking = [name for name in columns if name not in given and name not in may_lack]
    if lacking:
        named = ", ".join(f"'{name}'" for name in lacking[:5]) + (
            f" and {len(lacking) - 5} more" if lacking[5:] else ""
        )
        absent, it = ("columns", "them") if lacking[1:] else ("column", "it")
        problem = f"missing {absent} {named}, which had no missing values in training"
        raise UserError(where, f"{problem}; add {it}, or treat {it} as missing values with --allow-missing")


def _format(name: str, columns: Mapping[str, type], reading: Mapping[str, Any]) -> Mapping[str, str]:
    known = reading.get("columns", {})
    return known.get(name) or (PLAIN if columns[name] is float else {"kind": "category"})


class _Refused(ValueError):
    pass


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    if twice := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise _Refused(f"contains a column twice: {', '.join(map(repr, twice))}")
    return dict(pairs)


def _refuse(constant: str) -> Any:
    raise _Refused(f"{constant} is not valid JSON; write a missing value as null")
