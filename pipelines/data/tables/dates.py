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
    fitting = [form for form in FORMATS if _share(first, form) >= MOSTLY]
    shares = {form: _share(texts, form) for form in fitting}
    form = max(shares, key=shares.__getitem__, default=None)  # the first of the best
    if form is None or shares[form] < MOSTLY:
        return None
    twin = TWINS.get(form)
    return DateFormat(form, twin if twin is not None and _share(texts, twin) == shares[form] else None)


def read_dates(values: pd.Series, form: str) -> pd.Series:
    """Read a column of text as dates without time of day.

    A text that is not a date, or is before 1800 or after 2199, becomes NaT.
    """
    dates = pd.to_datetime(values.where(values != ""), format=form, errors="coerce", utc=True).dt.tz_localize(None)
    return dates.dt.normalize().where((dates >= EARLIEST) & (dates < LATEST)).astype("datetime64[s]")


def _share(texts: pd.Series, form: str) -> float:
    return float(read_dates(texts, form).notna().mean())
