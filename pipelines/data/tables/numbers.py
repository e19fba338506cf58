"""Read numbers as spreadsheets write them: decimal and thousands marks, currencies, units, words for missing."""

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

LARGEST = np.finfo("float32").max  # largest value of a float32 tensor; larger values and infinity are not numbers
MISSING_WORDS = frozenset(  # in lower case: words for a missing value in a column of numbers
    "na n/a n.a. #n/a <na> nan -nan null none nil missing unknown ? - -- --- . .. ...".split()
    + "#null! #div/0! #value! #ref! #num! #name?".split()
)
PLAIN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
CODE = r"0[0-9]+"  # digits with a leading zero, such as a postcode
LOOKED_AT = 1000  # different texts that are used to detect the decimal mark, and whether there are numbers at all
FEW = 0.1  # share of numbers among these texts; with less, the column holds no numbers
Mark = Literal[".", ","]

_MINUS = dict.fromkeys(map(ord, "−–‒﹣－"), "-")
_BLANKS = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u2002\u2003\u2004\u2005\u2006\u2008\u200a"), " ")
_QUOTES = dict.fromkeys(map(ord, "’ʼ´`"), "'")
_DIGITS = {
    code: str(unicodedata.decimal(chr(code)))
    for code in range(128, sys.maxunicode + 1)
    if unicodedata.category(chr(code)) == "Nd"
}
_MARKS = {ord("٫"): ".", ord("٬"): "'", ord("．"): ".", ord("，"): ","}  # Arabic and full-width marks
_ASCII = _MINUS | _BLANKS | _QUOTES | _DIGITS | _MARKS
_SIGN = "$€£¥₹₩₽₺₴₫฿₪₦"  # currency signs
_CELL = re.compile(
    rf"(?P<bracket>\()?(?P<before>[+-])?\s*(?P<prefix>[A-Za-zŁł]{{0,3}}[{_SIGN}]|[A-Za-zŁł]{{2,3}})?\s*(?P<after>[+-])?\s*"
    r"(?P<core>[0-9][0-9.,' ]*[0-9]\.?|[0-9]\.?|[.,][0-9]+)(?P<exponent>[eE][+-]?[0-9]+)?"
    rf"\s*(?P<suffix>(?:[^\W\d_]|[%‰°{_SIGN}])[^0-9,()]{{0,14}}[23]?)?\)?"
)
_OTHER_MARK: dict[Mark, Mark] = {".": ",", ",": "."}
_GROUPS: dict[Mark, re.Pattern[str]] = {
    mark: re.compile(rf"(?:\d+|\d{{1,3}}(?:[{other}' ]\d{{3}})+)?(?:[{mark}]\d*)?")
    for mark, other in _OTHER_MARK.items()
}
_EITHER = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")  # the mark may be a thousands mark or a decimal mark
CURRENCIES = frozenset(
    "USD EUR GBP CHF JPY CNY INR SEK NOK DKK PLN CZK HUF RON AUD CAD NZD SGD HKD MXN ZAR RUB TRY BRL KR RS FR".split()
)


@dataclass(frozen=True)
class NumberFormat:
    """How a column writes its numbers."""

    decimal: Mark = "."
    prefix: str = ""  # a currency
    suffix: str = ""  # a currency or a unit

    def __str__(self) -> str:
        """Return a short description, empty for plain numbers."""
        said = [f"decimal '{self.decimal}'"] if self.decimal != "." else []
        said += [f"in '{self.prefix}{self.suffix}'"] if self.prefix or self.suffix else []
        return ", ".join(said)


@dataclass(frozen=True)
class Reading:
    """The numbers of a column, with the index of its texts, and how they are written."""

    numbers: pd.Series  # float64, NaN if missing or not a number
    stray: pd.Series  # bool: neither a number nor missing
    words: tuple[str, ...]  # texts that were read as missing
    number_format: NumberFormat
    ambiguous: bool  # its mark may be a thousands mark or a decimal mark


def decimal_marks(values: pd.Series) -> set[Mark]:
    """Return the decimal marks that the cells of a column allow: both if none is proven, none without numbers."""
    known = values[values != ""]
    if known.str.fullmatch(PLAIN).all():  # nearly every column of numbers; to parse each cell would be slow
        marked = known[known.str.contains(".", regex=False)]
        return {"."} if len(marked) and not _in_doubt(marked) else {".", ","} if len(known) else set()
    cores = [part["core"].strip() for part in map(_parse, pd.unique(known)[:LOOKED_AT]) if part is not None]
    marked = [core for core in cores if "." in core or "," in core]
    if not marked:
        return {".", ","} if cores else set()
    return {mark for mark, groups in _GROUPS.items() if all(groups.fullmatch(core) for core in marked)}


def read_numbers(values: pd.Series, decimal: Mark, number_format: NumberFormat | None = None) -> Reading:
    """Read a column of text as numbers. The texts must be stripped, and '' if missing.

    `decimal` is the decimal mark of the column. `number_format` is that of the column if it is known from another
    table.
    """
    known = values != ""
    if number_format is None and decimal == "." and values[known].str.fullmatch(PLAIN).all():  # nearly every column
        numbers = pd.to_numeric(values.where(known), errors="coerce").astype("float64")
        return _reading(numbers, known, (), NumberFormat(), _in_doubt(values[known]))
    texts = pd.unique(values[known])
    first = [text for text in texts[:LOOKED_AT] if text.lower() not in MISSING_WORDS]
    # Without numbers among the first texts, do not parse the others: they may be a million.
    if number_format is None and sum(_parse(text) is not None for text in first) < FEW * len(first):
        return _reading(pd.Series(np.nan, values.index), known, (), NumberFormat(), False)
    words = tuple(text for text in texts if text.lower() in MISSING_WORDS)
    parts = {text: _parse(text) for text in texts if text not in words}
    number_format = number_format or _format(parts.values(), decimal)
    found = {text: _number(part, number_format) for text, part in parts.items()}
    numbers = values.map(found).astype("float64")
    doubt = _in_doubt(pd.Series([part["core"] for part in parts.values() if part is not None], dtype=str))
    return _reading(numbers, known & ~values.isin(words), words, number_format, doubt)


def leading_zeros(values: pd.Series) -> bool:
    """Return whether any cell holds digits with a leading zero, as codes do."""
    return bool(values.str.fullmatch(CODE).any())


def _reading(
    numbers: pd.Series, known: pd.Series, words: tuple[str, ...], number_format: NumberFormat, doubt: bool
) -> Reading:
    numbers = numbers.where(numbers.abs() <= LARGEST)
    return Reading(numbers, known & numbers.isna(), words, number_format, doubt)


def _in_doubt(cores: pd.Series) -> bool:
    marked = cores[cores.str.contains("[.,]", regex=True)]
    return len(marked) > 0 and bool(marked.str.fullmatch(_EITHER.pattern).all())


def _parse(text: str) -> Mapping[str, str] | None:
    """Split a cell into sign, prefix, digits with marks, exponent and suffix. Return None if it is not a number."""
    text = text if text.isascii() else text.translate(_ASCII)
    match = _CELL.fullmatch(text.strip())
    if match is None or ("(" in text) != (")" in text):
        return None
    part = {name: value or "" for name, value in match.groupdict().items()}
    prefix = part["prefix"]
    return part if not prefix or prefix[-1] in _SIGN or prefix.upper() in CURRENCIES else None


def _format(parts: Iterable[Mapping[str, str] | None], decimal: Mark) -> NumberFormat:
    """Return the format with the prefix and the suffix that all numbers share."""
    shared = {(part["prefix"], part["suffix"].strip()) for part in parts if part is not None}
    prefix, suffix = next(iter(shared)) if len(shared) == 1 else ("", "")
    return NumberFormat(decimal, prefix, suffix)


def _number(part: Mapping[str, str] | None, number_format: NumberFormat) -> float:
    """Return the number in a cell, or NaN if its marks or its unit differ from those of the column.

    The unit may be missing.
    """
    if (
        part is None
        or part["prefix"] not in ("", number_format.prefix)
        or part["suffix"].strip() not in ("", number_format.suffix)
    ):
        return float("nan")
    core = part["core"].strip()
    if not _GROUPS[number_format.decimal].fullmatch(core):
        return float("nan")
    digits = re.sub(rf"[^\d{number_format.decimal}]", "", core).replace(number_format.decimal, ".")
    sign = -1 if "-" in (part["before"], part["after"]) or part["bracket"] else 1
    return sign * float(digits + part["exponent"])
