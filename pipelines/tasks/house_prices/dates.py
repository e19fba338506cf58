"""Date arithmetic in the graph: texts to days, and days to calendar features.

Shapes: B houses. Days are counted from 1970-01-01 in the proleptic Gregorian calendar. The algorithms are from Hinnant,
"chrono-Compatible Low-Level Date Algorithms" (`days_from_civil`, `civil_from_days`).
"""

import tensorflow as tf

NO_DATE = tf.int32.min  # a missing date
PARTS = ("year", "month", "day", "weekday", "days")  # the features of a date; Monday is weekday 0
_ISO = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?:[T ].*)?"
_ERA = 146097  # days in 400 years


def to_days(texts: tf.Tensor) -> tf.Tensor:
    """Parse dates (B,) in the format YYYY-MM-DD or YYYYMMDD, with or without a time, into days (B,) int32.

    Other texts become `NO_DATE`.
    """
    texts = tf.strings.regex_replace(texts, r"^(\d{4})(\d{2})(\d{2})", r"\1-\2-\3")
    valid = tf.strings.regex_full_match(texts, _ISO)
    texts = tf.where(valid, texts, "1970-01-01")
    year, month, day = (
        tf.strings.to_number(tf.strings.substr(texts, start, length), tf.int32)
        for start, length in ((0, 4), (5, 2), (8, 2))
    )
    year -= tf.cast(month <= 2, tf.int32)  # count years from March, so that the leap day is the last day of a year
    era = year // 400
    of_era = year - 400 * era
    of_year = (153 * (month + tf.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    days = _ERA * era + 365 * of_era + of_era // 4 - of_era // 100 + of_year - 719468
    return tf.where(valid, days, NO_DATE)


def calendar(days: tf.Tensor) -> list[tf.Tensor]:
    """Return each feature in `PARTS` (B,) float32, NaN if there is no date."""
    known = days != NO_DATE
    shifted = tf.where(known, days, 0) + 719468
    era = shifted // _ERA
    of_era = shifted - _ERA * era
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march = (5 * of_year + 2) // 153  # months since March
    month = march + tf.where(march < 10, 3, -9)
    year = year_of_era + 400 * era + tf.cast(month <= 2, tf.int32)
    day = of_year - (153 * march + 2) // 5 + 1
    weekday = (shifted + 2) % 7
    parts = (year, month, day, weekday, shifted - 719468)
    return [tf.where(known, tf.cast(part, tf.float32), float("nan")) for part in parts]
