"""Detect and read dates in the formats that people write."""

from dataclasses import dataclass

import pandas as pd

ISO = "ISO8601"  # pandas' name for any ISO 8601 format
FORMATS = (  # for `strptime`; of several that fit equally well, the first is used
    ISO,
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d",
    "%Y%m%dT%H%M%S",
    "%Y%m%d",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %Y",
    "%B %Y",
    "%Y-%m",
)
TWINS = {  # formats that only days above the twelfth tell apart
    "%m/%d/%Y": "%d/%m/%Y",
    "%m/%d/%Y %H:%M": "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S": "%d/%m/%Y %H:%M:%S",
    "%d-%m-%Y": "%m-%d-%Y",
    "%m/%d/%y": "%d/%m/%y",
}
LOOKED_AT = 100  # first texts that are used to detect the format
MOSTLY = 0.9  # if this share of a column's texts are dates, it holds dates, and the others are mistakes
WRITTEN = r"[0-9]{4}[-/.][0-9]{1,2}.*|[0-9]{8}(?:T[0-9]{4,6}Z?)?|[0-9]{1,2}[-/. ](?:[0-9]{1,2}|[A-Za-z]{3,9})[-/. ].*|[A-Za-z]{3,9} [0-9]{1,2},? .*|[A-Za-z]{3,9} [0-9]{4}"  # noqa: E501
EARLIEST, LATEST = pd.Timestamp(1800, 1, 1), pd.Timestamp(2200, 1, 1)


@dataclass(frozen=True)
class DateFormat:
    """The format of a column's dates, and another format that fits as well."""

    format: str
    twin: str | None = None


def date_format(values: pd.Series) -> DateFormat | None:
    """Return the date format of a column of text ('' if missing), or None if it does not hold dates."""
    texts = values[values != ""]
    first = texts.head(LOOKED_AT)
    if not len(first) or first.str.fullmatch(WRITTEN).mean() < MOSTLY:
        return None
    fitting = [date_format for date_format in FORMATS if _share(first, date_format) >= MOSTLY]
    shares = {date_format: _share(texts, date_format) for date_format in fitting}
    date_format = max(shares, key=shares.__getitem__, default=None)  # the first of the best
    if date_format is None or shares[date_format] < MOSTLY:
        return None
    twin = TWINS.get(date_format)
    return DateFormat(date_format, twin if twin is not None and _share(texts, twin) == shares[date_format] else None)


def read_dates(values: pd.Series, date_format: str) -> pd.Series:
    """Read a column of text as dates without time of day.

    A text that is not a date, or is before 1800 or after 2199, becomes NaT.
    """
    dates = pd.to_datetime(values.where(values != ""), format=date_format, errors="coerce", utc=True).dt.tz_localize(
        None
    )
    return dates.dt.normalize().where((dates >= EARLIEST) & (dates < LATEST)).astype("datetime64[s]")


def _share(texts: pd.Series, date_format: str) -> float:
    return float(read_dates(texts, date_format).notna().mean())
