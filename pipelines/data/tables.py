"""Tables from CSV files: which columns are numbers, which are categories, and what is wrong in which line."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pipelines.data.files import UNREADABLE, cause, open_bytes
from pipelines.errors import UserError, did_you_mean

LARGEST = np.finfo("float32").max  # what a tensor of numbers can hold; more, and infinity, is no number
MOSTLY = 0.9  # a column in which this share of the values are numbers is meant as one, and the rest are mistakes


@dataclass(frozen=True)
class TableRules:
    """How to read a table's columns; names are as `input_name` gives them."""

    delimiter: str
    target: str | None
    ignore: Sequence[str]
    numeric: Sequence[str]
    categorical: Sequence[str]
    missing: Sequence[str]
    bad_rows: Literal["error", "skip"]


def input_name(column: str) -> str:
    """Give a header a name that a SavedModel signature can carry: of Latin letters, digits and '_'."""
    signs = unicodedata.normalize("NFC", str(column).strip())
    name = "".join(sign if sign.isascii() else f"u{ord(sign):04x}" for sign in signs)
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{name}" if not name or name[0].isdigit() else name


def input_names(columns: Iterable[str], where: str) -> dict[str, str]:
    """Map headers to the names of inputs.

    Raises:
        UserError: about `where`, for two headers of one name.
    """
    names: dict[str, str] = {}
    for column in columns:
        name = input_name(column)
        if name in names.values():
            other = next(other for other, known in names.items() if known == name)
            raise UserError(where, f"columns '{other}' and '{column}' would both be called '{name}'; rename one")
        names[column] = name
    return names


def read_csv(path: str | Path, delimiter: str) -> pd.DataFrame:
    """Read a CSV file with a header, optionally gzipped, as text; every cell is a string.

    Raises:
        UserError: where the file is missing, damaged, empty or not UTF-8, has a row of another width than its header,
            or two columns of one name.
    """
    try:
        frame = pd.read_csv(
            path, sep=delimiter, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig"
        )
    except UNREADABLE as error:
        raise UserError(str(path), f"cannot read this table ({cause(error)})") from None
    except UnicodeDecodeError as error:
        raise UserError(str(path), f"not UTF-8 text (byte {error.start}); save the table as UTF-8") from None
    except pd.errors.EmptyDataError:
        raise UserError(str(path), "this table is empty; the first line must name the columns") from None
    except pd.errors.ParserError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise UserError(str(path), f"not a CSV table: {reason}; quote cells that hold the delimiter") from None
    if frame.empty:
        raise UserError(str(path), "this table has a header but no row")
    header = pd.read_csv(
        path, sep=delimiter, dtype=str, header=None, nrows=1, skipinitialspace=True, encoding="utf-8-sig"
    )
    twice = header.loc[0][header.loc[0].duplicated()].dropna()
    if len(twice):
        raise UserError(str(path), f"two columns are called '{twice.iloc[0]}'; rename one")
    return frame.fillna("").rename(columns=input_names(frame.columns, str(path)))


def type_table(text: pd.DataFrame, path: str | Path, rules: TableRules) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Turn a table of text into numbers and categories; missing numbers are NaN, missing categories ''.

    Returns the table and the rows that were skipped, with their reasons.

    Raises:
        UserError: for an unknown column, a text in a numeric column (with its line), no row with a target.
    """
    _check_names(text, path, rules)
    text = text.drop(columns=[name for name in rules.ignore if name in text])
    text = text.apply(lambda column: column.str.strip())
    text = text.mask(text.isin(list(rules.missing)), "")
    kept = np.ones(len(text), dtype=bool)
    skipped: list[dict[str, str]] = []
    columns: dict[str, pd.Series] = {}
    for name, values in text.items():
        numbers = pd.to_numeric(values.where(values != ""), errors="coerce")
        numbers = numbers.where(numbers.abs() <= LARGEST)
        stray = (values != "") & numbers.isna()
        if name != rules.target and not _is_numeric(name, values, stray, rules):
            columns[name] = values
            continue
        columns[name] = numbers.astype("float64")
        bad = stray | (values == "") if name == rules.target else stray
        for row in np.flatnonzero(bad & kept):
            value = values.iloc[row]
            reason = f"column '{name}' holds {value!r}, not a number" if value else f"no target in column '{name}'"
            skipped.append({"row": row, "reason": reason})
            kept[row] = False
    if rules.target is not None and not kept.any():
        mend = "check data.target and the cells' form (no thousands separators, no currency)"
        raise UserError(str(path), f"no row can be used: {skipped[0]['reason']}; {mend}")
    if len(columns) == 1 and rules.target is not None:
        raise UserError(str(path), f"no column is left beside the target '{rules.target}'; see data.ignore")
    if skipped:
        numbers_of = line_numbers(path, rules.delimiter, [skip["row"] for skip in skipped])
        skipped = [{"place": f"{path}:{numbers_of[s['row']]}", "reason": s["reason"]} for s in skipped]
        if rules.bad_rows == "error":
            more = f" ({len(skipped) - 1} more rows like it)" if len(skipped) > 1 else ""
            mend = "mend it" if rules.target is None else "mend it or set data.bad_rows: skip"
            raise UserError(skipped[0]["place"], f"{skipped[0]['reason']}{more}; {mend}")
    return pd.DataFrame(columns)[kept].reset_index(drop=True), skipped


def line_numbers(path: str | Path, delimiter: str, rows: Sequence[int]) -> dict[int, int]:
    """Find the lines on which rows of a CSV file start; quoted cells may hold line ends."""
    wanted, found = set(rows), {}
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True)
        next(reader)
        start, row = reader.line_num + 1, 0
        for cells in reader:
            if len(cells) > 1 or any(cells):  # pandas passes over blank lines too
                if row in wanted:
                    found[row] = start
                row += 1
            start = reader.line_num + 1
    return found


def _is_numeric(name: str, values: pd.Series, stray: pd.Series, rules: TableRules) -> bool:
    if name in rules.numeric or name in rules.categorical:
        return name in rules.numeric
    known = int((values != "").sum())
    return known > 0 and int(stray.sum()) <= (1 - MOSTLY) * known


def _check_names(text: pd.DataFrame, path: str | Path, rules: TableRules) -> None:
    if rules.target is not None and rules.target not in text:
        hint = did_you_mean(rules.target, list(text.columns))
        raise UserError(str(path), f"no column '{rules.target}', which data.target names{hint}")
    for key in ("ignore", "numeric", "categorical"):
        for name in getattr(rules, key):
            if name not in text:
                raise UserError(
                    str(path), f"no column '{name}', which data.{key} names{did_you_mean(name, list(text))}"
                )
