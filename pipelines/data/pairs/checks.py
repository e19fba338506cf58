"""Warn about pairs of texts that look wrong: mark-up, damaged characters, wrong language, no alignment."""

import html
import re
from collections.abc import Sequence
from itertools import islice

import numpy as np

from pipelines.data.pairs.languages import expected_scripts, scripts, swapped

ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>]*)?/?>")
MISREAD = re.compile(
    "[\u00c2-\u00c5\u00d0\u00d1\u00e2\u00e3][\u0080-\u00bf\u20ac\u201a-\u2122]"
)  # UTF-8 that was decoded as cp1252
FEW = 1 / 1000  # share of pairs: rarer tags and damage are not worth a warning
SAME = 1 / 5  # share of pairs: both sides may be equal if they are names or numbers, but rarely this often
TOLD_FROM = 100  # pairs; with fewer, lengths do not tell whether the lines are aligned
RELATED = 0.1  # correlation of the lengths of both sides; for aligned texts it is mostly above 0.7
VARIED = 0.2  # share of their mean: if lengths vary less, their correlation tells nothing


def unescape(text: str) -> str:
    """Replace HTML entities by their characters, also if they are escaped twice (`&amp;quot;`)."""
    for _ in range(2):
        text = ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return text


def pair_warnings(sides: tuple[Sequence[str], Sequence[str]], languages: tuple[str, str], place: str) -> list[str]:
    """Return warnings about the sources and targets of a file, one line for each problem."""
    count = len(sides[0])
    if not count:
        return []
    pairs = list(zip(*sides, strict=True))
    found = [
        (sum(a == b for a, b in pairs), SAME, "the same text on both sides", "check that they are translated"),
        (_share(pairs, TAG), FEW, "tags such as <b>", "tags are learned as text"),
        (sum("\ufffd" in a or "\ufffd" in b for a, b in pairs), 0, "U+FFFD", "text was lost earlier"),
        (_share(pairs, MISREAD), FEW, "what looks like UTF-8 read as cp1252 (such as 'Ã©')", "fix the file first"),
    ]
    warnings = [
        f"{place}: {number:,} of {count:,} pairs with {what}: {advice}"
        for number, least, what, advice in found
        if number > least * count
    ]
    return warnings + _wrong_language(sides, languages, place) + _unrelated(sides, place)


def _share(pairs: Sequence[tuple[str, str]], pattern: re.Pattern) -> int:
    return sum(bool(pattern.search(a) or pattern.search(b)) for a, b in pairs)


def _wrong_language(sides: tuple[Sequence[str], Sequence[str]], languages: tuple[str, str], place: str) -> list[str]:
    written = [scripts(islice(texts, None)) for texts in sides]
    expected = [expected_scripts(language) for language in languages]

    def fits(shares: dict[str, float], wanted: set[str]) -> bool:
        return not shares or not wanted or sum(shares.get(name, 0) for name in wanted) >= 0.5

    if fits(written[0], expected[0]) and fits(written[1], expected[1]) and not swapped(sides, languages):
        return []
    if fits(written[0], expected[1]) and fits(written[1], expected[0]):
        return [f"{place}: '{languages[0]}' and '{languages[1]}' seem to be swapped, judging by their words"]
    return [
        f"{place}: {side} texts are mostly {next(iter(shares))} letters, but '{language}' is written in"
        f" {' or '.join(sorted(wanted))}: check that it is the right column or file"
        for side, shares, wanted, language in zip(("source", "target"), written, expected, languages, strict=True)
        if not fits(shares, wanted)
    ]


def _unrelated(sides: tuple[Sequence[str], Sequence[str]], place: str) -> list[str]:
    lengths = np.array([[len(text) for text in texts] for texts in sides], float)
    if lengths.shape[1] < TOLD_FROM or (lengths.std(axis=1) < VARIED * lengths.mean(axis=1)).any():
        return []
    related = np.corrcoef(lengths)[0, 1]
    if related >= RELATED:
        return []
    return [
        f"{place}: the lengths of sources and targets are not related (correlation {related:.2f}):"
        " check that the lines correspond"
    ]
