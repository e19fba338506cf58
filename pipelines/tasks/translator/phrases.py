"""Generate phrase pairs in two languages with CLDR (from Babel) and num2words.

The phrases are correct in both languages, but nobody wrote them.
"""

import datetime
import hashlib
import random
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Literal

from pipelines.errors import UserError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
UNITS = (
    "length-kilometer length-meter length-centimeter length-mile mass-kilogram mass-gram mass-tonne volume-liter"
    " area-square-kilometer area-hectare duration-year duration-month duration-week duration-day duration-hour"
    " duration-minute duration-second temperature-celsius speed-kilometer-per-hour digital-gigabyte power-watt"
).split()
CURRENCIES = "USD EUR GBP JPY CHF CAD AUD CNY INR BRL MXN SEK NOK DKK PLN CZK TRY ZAR EGP KRW".split()
PERIODS: dict[Literal["second", "minute", "hour", "day", "week"], int] = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 7 * 86400,
}
FIRST_DAY, DAYS = datetime.date(1900, 1, 1), 73049  # up to the end of 2099
MOST = 9999
TRIES = 50  # attempts per phrase; short phrases are often duplicates

Words = tuple[str, str]
Say = Callable[
    [Any, Callable[[str, int], int]], Words
]  # phrases a random value in both languages; the second argument draws values of the split


def make_phrases(source: str, target: str, count: int) -> tuple[dict[str, list[Words]], dict[str, Any]]:
    """Generate phrases of one to three parts. At least one part is a date, a time or a number.

    Each of these values occurs in one split only.

    Raises:
        UserError: If Babel or num2words is not installed, Babel does not know a language well enough, or there are not
            enough different phrases.
    """
    try:
        import babel  # noqa: F401
        import num2words  # noqa: F401
    except ImportError as error:
        raise UserError(
            "data.source", f"the embedded data needs {error.name}; run: pip install Babel num2words"
        ) from None
    locales = tuple(_locale(name, key) for key, name in (("from_language", source), ("to_language", target)))
    kinds, names = _kinds(locales), _names(locales)
    if not names:
        raise UserError("data.to_language", f"Babel has no country or language name in both '{source}' and '{target}'")
    phrases: dict[str, list[Words]] = {}
    seen: set[str] = set()
    for split, share in SHARES.items():
        draw = random.Random(f"{split} {source} {target}")
        own: list[Words] = []
        for _ in range(int(count * share) * TRIES):
            phrase = _phrase(locales, kinds, names, draw, split)
            if phrase[0] not in seen:
                seen.add(phrase[0])
                own.append(phrase)
            if len(own) == int(count * share):
                break
        else:
            problem = f"cannot generate {count:,} different phrases; set at most about {len(own) / share:.0f}"
            raise UserError("data.examples", problem)
        phrases[split] = own
    packages = {package: version(package) for package in ("Babel", "num2words")}
    about = {
        "kinds": list(kinds),
        "values": "each date, time and number occurs in one split only; names occur in all splits",
    }
    return phrases, {**about, "packages": packages}


def _locale(name: str, key: str) -> Any:
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(name, sep="-" if "-" in name else "_")
    except (UnknownLocaleError, ValueError):
        raise UserError(f"data.{key}", f"Babel has no language '{name}'; write it as en, fr or pt_BR") from None


def _phrase(locales: tuple, kinds: dict[str, Say], names: list[Words], draw: random.Random, split: str) -> Words:
    """Generate a phrase of one to three parts. At least one of them has a value of the split."""
    from babel.lists import format_list

    def value(kind: str, most: int) -> int:
        while True:
            number = int(most ** draw.random()) if kind == "number" else draw.randint(1, most)  # favour small numbers
            if _owner(kind, number) == split:
                return number

    parts = [draw.choice(list(kinds.values()))(draw, value)]
    while len(parts) < 3 and draw.random() < 0.45:
        parts.append(draw.choice(names) if draw.random() < 0.7 else draw.choice(list(kinds.values()))(draw, value))
    draw.shuffle(parts)
    source, target = (format_list([part[i] for part in parts], locale=locale) for i, locale in enumerate(locales))
    return source, target


def _owner(kind: str, number: int) -> str:
    """Return the split that a value belongs to, from its hash."""
    place = int.from_bytes(hashlib.blake2b(f"{kind} {number}".encode(), digest_size=4).digest()) / 2**32
    return "train" if place < SHARES["train"] else "validation" if place < 1 - SHARES["test"] else "test"


def _kinds(locales: tuple) -> dict[str, Say]:
    """Return the generators of each kind of phrase, for both languages."""
    from babel.dates import format_date, format_time, format_timedelta
    from babel.numbers import format_currency
    from babel.units import format_unit
    from num2words import num2words

    def both(say: Callable[[Any], str]) -> Words:
        source, target = map(say, locales)
        return source, target

    def date(draw: random.Random, value: Callable) -> Words:
        day, form = FIRST_DAY + datetime.timedelta(value("date", DAYS) - 1), draw.choice(["long", "full"])
        return both(lambda locale: format_date(day, form, locale))

    def time(draw: random.Random, value: Callable) -> Words:
        hour, minute = divmod(value("time", 1440) - 1, 60)
        return both(lambda locale: format_time(datetime.time(hour, minute), "short", locale=locale))

    def relative(draw: random.Random, value: Callable) -> Words:
        number, (unit, seconds) = value("number", MOST), draw.choice(list(PERIODS.items()))
        span = datetime.timedelta(seconds=draw.choice([-1, 1]) * number * seconds)
        return both(lambda locale: format_timedelta(span, unit, 10**12, add_direction=True, locale=locale))

    def unit(draw: random.Random, value: Callable) -> Words:
        number, kind = value("number", MOST), draw.choice(UNITS)
        return both(lambda locale: format_unit(number, kind, "long", locale=locale))

    def currency(draw: random.Random, value: Callable) -> Words:
        number, code = value("number", MOST), draw.choice(CURRENCIES)
        return both(lambda locale: format_currency(number, code, "#,##0", locale, False, format_type="name"))

    def words(draw: random.Random, value: Callable) -> Words:
        number = value("number", MOST)
        return both(lambda locale: num2words(number, lang=_speaker(locale)))

    kinds: dict[str, Say] = {"date": date, "time": time, "relative": relative, "unit": unit, "currency": currency}
    return {**kinds, "words": words} if all(map(_speaks, locales)) else kinds


def _speaks(locale: Any) -> bool:
    """Return whether num2words supports the language. It fails for some languages that it lists."""
    from num2words import num2words

    try:
        return bool(num2words(MOST, lang=_speaker(locale)))
    except (NotImplementedError, TypeError):
        return False


def _speaker(locale: Any) -> str:
    """Return the name that num2words uses for a language."""
    from num2words import CONVERTER_CLASSES

    return str(locale) if str(locale) in CONVERTER_CLASSES else locale.language


def _names(locales: tuple) -> list[Words]:
    """List the countries and languages that have names in both languages."""
    found = []
    for kind in ("territories", "languages"):
        tables = [getattr(locale, kind) for locale in locales]
        codes = [code for code in sorted(tables[0]) if len(code) == 2 and code.isalpha() and code in tables[1]]
        found += [(tables[0][code], tables[1][code]) for code in codes]
    return found
