"""Detect whether the columns of a table are numbers, dates or categories, and which rows cannot be used."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipelines.data.rows import Places, hash_rows
from pipelines.data.tables.cells import CellTable
from pipelines.data.tables.dates import ISO, date_format, read_dates
from pipelines.data.tables.numbers import Mark, NumberFormat, Reading, decimal_marks, leading_zeros, read_numbers
from pipelines.errors import UserError, counted, did_you_mean

MOSTLY = 0.9  # if this share of a column's values are numbers, it is numeric, and the others are mistakes
HALF = 0.5  # share of numbers from which a column of categories gets a warning
MANY = 10  # rows; with fewer, it means nothing that a column is constant, or unique in each row
NAMED = 8  # columns that a warning names

ColumnFormat = Mapping[str, str]  # how a column is written: its `kind` and the settings of that kind, as JSON


@dataclass(frozen=True)
class TableRules:
    """How to read the columns of a table, which are named as `input_name` returns them."""

    target: str | None = None
    ignore: Sequence[str] = ()
    numeric: Sequence[str] = ()
    categorical: Sequence[str] = ()
    dates: Mapping[str, str] = field(default_factory=dict)  # column -> format for `strptime`
    missing: Sequence[str] = ("",)
    decimal: Literal["auto"] | Mark = "auto"
    bad_rows: Literal["error", "skip"] = "error"
    formats: Mapping[str, ColumnFormat] = field(default_factory=dict)  # known from another table


@dataclass(frozen=True)
class TypedTable:
    """A table of numbers, dates and categories; missing values are NaN, NaT and ''."""

    frame: pd.DataFrame
    skipped: list[dict[str, str]]
    formats: dict[str, ColumnFormat]
    warnings: list[str]
    places: Sequence[str]  # file and line of each row
    written: np.ndarray  # (n,) uint64, hashes of the rows with all of their columns, as text


@dataclass(frozen=True)
class Column:
    """The values of a column, how they are written, the rows that cannot be used, and warnings."""

    values: pd.Series
    column_format: ColumnFormat
    faults: Mapping[int, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def input_name(column: str) -> str:
    """Return a name for a column that a SavedModel signature accepts: ASCII letters, digits and '_'."""
    signs = unicodedata.normalize("NFC", str(column).strip())
    name = "".join(sign if sign.isascii() else f"u{ord(sign):04x}" for sign in signs)
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{name}" if not name or name[0].isdigit() else name


def input_names(columns: Iterable[str], where: str) -> dict[str, str]:
    """Map the column names of a header to the names of inputs.

    Raises:
        UserError: If two columns get the same name. The error is about `where`.
    """
    names: dict[str, str] = {}
    for column in columns:
        name = input_name(column)
        if name in names.values():
            other = next(other for other, known in names.items() if known == name)
            raise UserError(where, f"columns '{other}' and '{column}' would both be named '{name}'; rename one")
        names[column] = name
    return names


def in_words(column_format: ColumnFormat) -> str:
    """Return in a few words what a column was read as."""
    if column_format["kind"] == "number":
        details = str(_number_format(column_format))
        return f"number, {details}" if details else "number"
    return f"date ({column_format['format']})" if column_format["kind"] == "date" else "category"


def type_table(table: CellTable, rules: TableRules) -> TypedTable:
    """Convert a table of text to numbers, dates and categories.

    Raises:
        UserError: If a column is unknown, a column of numbers or dates holds another text (the message names its line),
            or no row has a target.
    """
    typed = type_part(table, rules)
    check_usable(len(typed.frame), typed.skipped, rules)
    return typed


def type_part(
    table: CellTable, rules: TableRules, plain: Mapping[str, Column] = MappingProxyType({}), order: Sequence[str] = ()
) -> TypedTable:
    """Convert some rows of a table as `type_table` does; perhaps none of them can be used.

    `plain` are columns, by the names in the header, that are not among the cells, because their file has their values.
    `order` is the order of all columns.
    """
    names = input_names(order or table.cells.columns, table.name)
    _check_names(list(names.values()), table.name, rules)
    cells = table.cells.rename(columns=names)
    cells = cells.drop(columns=[name for name in rules.ignore if name in cells])
    cells = cells.apply(lambda column: column.str.strip())
    cells = cells.mask(cells.isin(list(rules.missing)), "")
    sound = np.array([row not in table.faults for row in range(len(cells))])
    decimals = _decimals(cells[sound], rules)
    kinds = {names[name]: kind for name, kind in table.kinds.items()}
    columns = {name: _of_kind(kinds.get(name), name, cells[name], sound, decimals[name], rules) for name in cells}
    columns |= {names[name]: column for name, column in plain.items()}
    columns = {name: columns[name] for name in names.values() if name not in rules.ignore}
    faults = dict(table.faults)
    for column in columns.values():
        for row, why in column.faults.items():
            faults.setdefault(row, why)
    if len(columns) == 1 and rules.target is not None:
        raise UserError(table.name, f"no columns are left besides the target '{rules.target}'; check data.ignore")
    kept = np.array([row not in faults for row in range(len(cells))])
    skipped = _skipped(faults, table, rules)
    frame = pd.DataFrame({name: column.values for name, column in columns.items()})[kept].reset_index(drop=True)
    warnings = [] if rules.formats else [warning for column in columns.values() for warning in column.warnings]
    whole = table.cells.assign(**{name: column.values for name, column in plain.items()})
    written = hash_rows(whole[sorted(whole)][kept])
    places = Places(table.files, table.file[kept], table.line[kept])
    return TypedTable(
        frame, skipped, {name: each.column_format for name, each in columns.items()}, warnings, places, written
    )


def check_usable(rows: int, skipped: Sequence[Mapping[str, str]], rules: TableRules) -> None:
    """Check that a table has rows that can be used.

    Raises:
        UserError: If all were skipped. The message names the place of the first, and what is wrong there.
    """
    if rules.target is not None and not rows:
        mend = "check data.target and the format of its cells"
        raise UserError(skipped[0]["place"], f"no rows can be used: {skipped[0]['reason']}; {mend}")


def rules_of(
    formats: Mapping[str, ColumnFormat], rules: TableRules, columns: Iterable[str], where: str
) -> tuple[TableRules, list[str]]:
    """Return the rules to read a later table like the first one, and warnings about columns that the first one lacks.

    Raises:
        UserError: If the table lacks a column. The error is about `where`.
    """
    given = [input_name(name) for name in columns]
    lacking = [name for name in formats if name not in given]
    if lacking:
        raise UserError(where, f"no column '{lacking[0]}', which the first file has")
    surplus = [name for name in given if name not in formats]
    unknown = [name for name in surplus if name not in rules.ignore]
    warning = f"{where}: columns that are not in the first file are ignored: {', '.join(unknown)}"
    later = replace(rules, ignore=surplus, numeric=(), categorical=(), dates={}, formats=formats)
    return later, [warning] if unknown else []


def _skipped(faults: Mapping[int, str], table: CellTable, rules: TableRules) -> list[dict[str, str]]:
    """Return the places of the rows that cannot be used, with the reasons, unless the rules make them an error."""
    skipped = [{"place": table.place(row), "reason": faults[row]} for row in sorted(faults)]
    if skipped and rules.bad_rows == "error":
        more = f" (and {counted(len(skipped) - 1, 'similar row')})" if len(skipped) > 1 else ""
        mend = "fix it, add the column to data.categorical, or set data.bad_rows: skip"
        mend = mend if rules.target is not None else "fix it"
        if len(skipped) == len(table.cells):
            check_usable(0, skipped, rules)
        raise UserError(skipped[0]["place"], f"{skipped[0]['reason']}{more}; {mend}")
    return skipped


def _of_kind(
    kind: str | None, name: str, values: pd.Series, sound: np.ndarray, decimal: Mark, rules: TableRules
) -> Column:
    """Read a column as the kind that its file states, if it states one and the rules keep it."""
    if kind is None or name in rules.formats or not keeps_kind(name, kind, rules):
        return read_column(name, values, sound, decimal, rules)
    if kind == "date":
        return read_column(name, values, sound, ".", replace(rules, dates={name: ISO}))
    if kind == "number":
        return read_column(name, values, sound, ".", replace(rules, numeric=[name]))
    return read_column(name, values, sound, ".", replace(rules, categorical=[name]))


def keeps_kind(name: str, kind: str, rules: TableRules) -> bool:
    """Return whether the rules read a column as what its file states."""
    if name == rules.target or name in rules.numeric:
        return kind == "number"
    return kind == "category" if name in rules.categorical else name not in rules.dates


def read_column(name: str, values: pd.Series, sound: np.ndarray, decimal: Mark, rules: TableRules) -> Column:
    """Read a column, and detect its type if the rules do not give it."""
    known = rules.formats.get(name)
    if known is not None and known["kind"] == "date":
        return _dates(name, values, known["format"])
    if known is not None and known["kind"] == "number":
        numbers = _number_format(known)
        return _numbers(name, values, read_numbers(values, numbers.decimal, numbers), name == rules.target)
    if known is not None or name in rules.categorical:
        return Column(values, {"kind": "category"})
    if name in rules.dates:
        return _dates(name, values, rules.dates[name])
    meant = name == rules.target or name in rules.numeric
    written = None if meant else date_format(values[sound])
    if written is not None:
        return _dates(name, values, written.format, written.twin)
    reading = read_numbers(values, decimal)
    count = int((values[sound] != "").sum()) - int(values[sound].isin(reading.words).sum())
    stray = int(reading.stray[sound].sum())
    if meant or (count > 0 and stray <= (1 - MOSTLY) * count):
        return _numbers(name, values, reading, name == rules.target)
    return Column(values, {"kind": "category"}, warnings=_almost(name, values[sound], reading, count, stray))


def _number_format(column_format: ColumnFormat) -> NumberFormat:
    return NumberFormat(
        "," if column_format["decimal"] == "," else ".", column_format["prefix"], column_format["suffix"]
    )


def _numbers(name: str, values: pd.Series, reading: Reading, target: bool) -> Column:
    stray = reading.stray | (reading.numbers.isna() if target else False)
    faults = {}
    for row in np.flatnonzero(stray):
        value = values.iloc[row]
        faults[int(row)] = (
            f"column '{name}' contains {value!r}, not a number" if value else f"no target in column '{name}'"
        )
    column_format = {"kind": "number", "decimal": reading.number_format.decimal}
    column_format |= {"prefix": reading.number_format.prefix, "suffix": reading.number_format.suffix}
    warnings = []
    if reading.words and not target:
        count = int(values.isin(reading.words).sum())
        words = ", ".join(reading.words[:4])
        warnings.append(f"'{name}': {counted(count, 'cell')} read as missing values ({words})")
    if reading.ambiguous:
        first = next(text for text in values if re.search("[.,]", text))
        number = reading.numbers[values == first].iloc[0]
        other = "." if reading.number_format.decimal == "," else ","
        mend = f"if that is wrong, set data.decimal: '{other}'"
        warnings.append(f"'{name}': {first} is read as {number:,.10g}; {mend}")
    if leading_zeros(values):
        mend = "if they are codes, add the column to data.categorical"
        warnings.append(f"'{name}': some numbers have leading zeros; {mend}")
    return Column(reading.numbers, column_format, faults, warnings)


def _dates(name: str, values: pd.Series, date_format: str, twin: str | None = None) -> Column:
    dates = read_dates(values, date_format)
    faults = {
        int(row): f"column '{name}' contains {values.iloc[row]!r}, not a date ({date_format})"
        for row in np.flatnonzero((values != "") & dates.isna())
    }
    warnings = []
    if twin is not None:
        mend = f"if they are {twin}, set data.dates: {{{name}: '{twin}'}}"
        warnings.append(f"'{name}': dates are read as {date_format}; {mend}")
    return Column(dates, {"kind": "date", "format": date_format}, faults, warnings)


def _almost(name: str, values: pd.Series, reading: Reading, count: int, stray: int) -> list[str]:
    """Warn about a category most of whose cells are numbers, or numbers with units."""
    looks = values[values != ""].str.fullmatch(r"\W{0,3}[0-9][0-9.,' ]*\s*\S{0,12}").sum()
    if not count or max(count - stray, looks) < HALF * count:
        return []
    others = values[reading.stray[values.index]].value_counts()
    such = ", ".join(map(repr, others.index[:3]))
    found = f"{count - stray:,} of {count:,} cells are numbers" if count > stray else "its cells begin with numbers"
    mend = "add it to data.numeric to report the other cells as errors, or to data.categorical to confirm"
    return [f"'{name}' is read as a category, although {found} (others: {such}); {mend}"]


def _decimals(cells: pd.DataFrame, rules: TableRules) -> dict[str, Mark]:
    """Return the decimal mark of each column: the one that its cells prove, else the one that most columns prove."""
    if rules.decimal != "auto":
        return dict.fromkeys(cells, rules.decimal)
    proofs = {name: marks for name, values in cells.items() if len(marks := decimal_marks(values)) == 1}
    own = {name: next(iter(marks)) for name, marks in proofs.items()}
    votes = Counter(own.values())
    common: Mark = "," if votes[","] > votes["."] else "."
    return {name: own.get(name, common) for name in cells}


def table_warnings(frame: pd.DataFrame, formats: Mapping[str, ColumnFormat], target: str | None) -> list[str]:
    """Warn about columns that are empty, or that only name or number the rows."""
    features = [name for name in frame if name != target]
    if len(frame) < MANY:
        return []
    texts = [name for name in features if formats[name]["kind"] == "category"]
    empty = [name for name in features if lacks(frame[name]).all()]
    unique = [name for name in texts if frame[name].nunique() == len(frame)]
    counting = [name for name in features if name not in texts and _counts(frame[name])]
    return odd_columns(empty, unique, counting)


def odd_columns(empty: Sequence[str], unique: Sequence[str], counting: Sequence[str]) -> list[str]:
    """Return warnings that name columns without use."""
    warnings = []
    for what, names in (
        ("empty columns", empty),
        ("columns with a different text in every row, which are of no use as categories (see data.ignore)", unique),
        ("columns that only count the rows (if they are ids, add them to data.ignore)", counting),
    ):
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            warnings.append(f"{what}: {', '.join(names[:NAMED])}{more}")
    return warnings


def lacks(values: pd.Series) -> pd.Series:
    """Return which values of a column are missing: NaN, NaT or ''."""
    return values.isna() if values.dtype.kind in "fM" else values.isna() | (values.astype(str) == "")


def _counts(values: pd.Series) -> bool:
    """Return whether a column of numbers holds consecutive whole numbers, each once."""
    if not pd.api.types.is_numeric_dtype(values) or values.isna().any() or values.nunique() < len(values):
        return False
    whole = (values % 1 == 0).all()
    return bool(whole and values.max() - values.min() == len(values) - 1)


def _check_names(columns: list[str], where: str, rules: TableRules) -> None:
    if rules.target is not None and rules.target not in columns:
        hint = did_you_mean(rules.target, columns)
        raise UserError(where, f"no column '{rules.target}', as set in data.target{hint}")
    named: dict[str, Any] = {"ignore": rules.ignore, "numeric": rules.numeric}
    named |= {"categorical": rules.categorical, "dates": rules.dates}
    for key, names in named.items():
        for name in names:
            if name not in columns:
                hint = did_you_mean(name, columns)
                raise UserError(where, f"no column '{name}', as set in data.{key}{hint}")
            if name == rules.target and key != "numeric":
                raise UserError(
                    f"data.{key}", f"contains the target '{name}', which is always read as a number; remove it"
                )
