"""Detect the tagging scheme of sentences, and convert tags to BIO."""

import re
from collections.abc import Sequence
from typing import Literal

Scheme = Literal["io", "iob1", "bio", "ioe", "bioes", "plain"]

BARE = re.compile(r"[BIESLUMW]", re.IGNORECASE)  # a tag that names no type
PREFIXES = {
    "io": {"I"},
    "plain": {"I"},
    "iob1": {"B", "I"},
    "bio": {"B", "I"},
    "ioe": {"I", "E"},
    "bioes": {"B", "I", "E", "S"},
}


def detect_scheme(tags: Sequence[Sequence[str]]) -> Scheme:
    """Return the tagging scheme of these sequences. If none fits, it is the one with the fewest illegal tags.

    S-, or both B- and E-, means BIOES. E- without B- means IOE1 or IOE2. If there is no B-, it is IO. If every B-
    separates two adjacent entities of the same type, it is IOB1 (Ramshaw & Marcus 1995), otherwise BIO.
    """
    likely = _likely_scheme(tags)
    faults = {likely: _count_faults(tags, likely)}
    if faults[likely]:
        faults |= {scheme: _count_faults(tags, scheme) for scheme in ("bio", "bioes", "iob1") if scheme != likely}
    return min(faults, key=faults.__getitem__)


def _count_faults(tags: Sequence[Sequence[str]], scheme: Scheme) -> int:
    return sum(len(to_bio(each, scheme)[1]) for each in tags)


def _likely_scheme(tags: Sequence[Sequence[str]]) -> Scheme:
    prefixes = {tag.partition("-")[0] for sentence in tags for tag in sentence}
    if "S" in prefixes or {"B", "E"} <= prefixes:
        return "bioes"
    if "E" in prefixes:
        return "ioe"
    if "B" not in prefixes:
        return "io"
    parting = all(
        before.partition("-")[2] == tag.partition("-")[2] != ""
        for sentence in tags
        for before, tag in zip(["O", *sentence], sentence, strict=False)
        if tag.startswith("B-")
    )
    return "iob1" if parting else "bio"


def to_bio(tags: Sequence[str], scheme: Scheme) -> tuple[list[str], dict[int, str]]:
    """Convert the tags of a sentence to BIO, and return them with a message for each token with an illegal tag.

    An illegal tag that names a type continues the entity before it if it can. Otherwise it begins a new entity. An
    illegal tag that names no type becomes O.
    """
    result: list[str] = []
    faults: dict[int, str] = {}
    before = "O"
    for place, tag in enumerate(tags):
        prefix, dash, kind = tag.partition("-")
        if not (tag == "O" or (prefix in PREFIXES[scheme] and dash and kind)):
            faults[place] = f"'{tag}' is not valid in {scheme.upper()}"
            prefix, kind = _repaired(tag)
        elif prefix != "O" and (fault := _fault(before, prefix, kind, scheme)):
            faults[place] = f"'{tag}' after '{before}': {fault}"
        goes_on = _goes_on(before, prefix, kind)
        result.append("O" if prefix == "O" else f"{'I' if goes_on else 'B'}-{kind}")
        if scheme == "bioes" and before[0] in "BI" and prefix in ("O", "B", "S") and place not in faults:
            faults[place] = f"'{tag}' after '{before}': the entity has no E- tag"
        before = "O" if prefix == "O" else f"{prefix}-{kind}"
    if scheme == "bioes" and before[0] in "BI":
        faults[len(tags) - 1] = f"'{before}' ends the sentence: the entity has no E- tag"
    return result, faults


def _repaired(tag: str) -> tuple[str, str]:
    """Return the prefix and the type of a tag that is not in its scheme; O if it names no type."""
    prefix, dash, kind = tag.partition("-")
    if not dash:
        return ("O", "") if BARE.fullmatch(tag) else ("B", tag)
    return (prefix if prefix in PREFIXES["bioes"] else "B", kind) if kind else ("O", "")


def _goes_on(before: str, prefix: str, kind: str) -> bool:
    open_before = before != "O" and before.partition("-")[2] == kind and before[0] not in "ES"
    return prefix in ("I", "E") and open_before


def _fault(before: str, prefix: str, kind: str, scheme: Scheme) -> str | None:
    if scheme in ("bio", "bioes") and prefix in ("I", "E") and not _goes_on(before, prefix, kind):
        return f"no entity of type {kind} is open"
    if scheme == "iob1" and prefix == "B" and before.partition("-")[2] != kind:
        return "B- is only used between two entities of the same type"
    return None
