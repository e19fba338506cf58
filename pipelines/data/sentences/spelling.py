"""Convert tags from the spellings of several tools to one spelling."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.data.sentences.schemes import BARE, Scheme
from pipelines.errors import UserError

LETTERS = {"L": "E", "U": "S", "M": "I", "W": "S"}  # prefix in BILOU, BMES or BMEWO -> prefix in BIOES
PREFIX = re.compile(r"([BIESLUMW])[-_:/.|+](.+)", re.IGNORECASE)
SUFFIX = re.compile(r"(.+)[-_:/.|+]([BIESLUMW])", re.IGNORECASE)
NUMBER = re.compile(r"-?\d+")
SEVERAL = re.compile(r".[|;,/+ ][BIES]-.")
BRACKETS = re.compile(r"\(*[^()*]*\*?\)*")
SIGNS_FOR_O = {"O", "o", "0", "-", "_", ""}
WORDS_FOR_O = {"out", "outside", "other", "none", "null"}
ONLY_TYPE = "ENTITY"  # the type of tags that are a letter without a type
MOSTLY = 0.9  # if this share of the tags has a form, it is meant for all, and the others are mistakes
LEAST_O = 0.3  # share of O in tags without prefixes; with less, the column may hold something else
SHOWN = 3  # spellings that a note shows


@dataclass(frozen=True)
class Spelling:
    """The converted form of each tag, and notes on the conversion.

    A converted tag is O, or one of the letters B, I, E and S, a dash and a type.
    """

    tags: dict[str, str]
    notes: list[str]


Place = Callable[[str], str]  # tag -> the place where it first occurs


def read_spelling(
    counts: Counter[str], scheme: Scheme | Literal["detect"], names: Sequence[str], place: Place
) -> Spelling:
    """Convert tags that tools spell in different ways. A text that is not a tag stays as it is.

    `counts` holds the number of occurrences of each tag, `names` the names of tags that are numbers. `place` returns
    where a tag first occurs.

    Raises:
        UserError: If tags are numbers without names, are brackets, or could have several meanings.
    """
    named = _name_numbers(counts, names)
    outside = _outside(Counter(named.values()), place)
    rest: Counter[str] = Counter()
    for tag, count in counts.items():
        if named[tag] not in outside:
            rest[named[tag]] += count
    parsed = {} if scheme == "plain" else _parsed(rest, scheme, place)
    plain = scheme == "plain" or (scheme == "detect" and not parsed and bool(rest))
    if plain and scheme == "detect":
        _check_plain(rest, counts.total(), place)
    as_types = {tag: f"I-{tag}" for tag in rest} if plain else parsed
    tags = {tag: "O" if name in outside else as_types.get(name, name) for tag, name in named.items()}
    return Spelling(tags, _spelling_notes({named[tag]: read for tag, read in tags.items()}, plain))


def _name_numbers(counts: Counter[str], names: Sequence[str]) -> dict[str, str]:
    numbers = [tag for tag in counts if NUMBER.fullmatch(tag)]
    if names and len(numbers) < len(counts):
        text = next(tag for tag in counts if tag not in numbers)
        raise UserError("data.tag_names", f"is only for tags that are numbers, but there is a tag '{text}'; remove it")
    if len(numbers) < len(counts) or set(numbers) <= {"0"}:
        return {tag: tag for tag in counts}
    shown = ", ".join(sorted(numbers, key=int)[:5])
    if not names:
        raise UserError(
            "data.tag_names", f"tags are numbers ({shown}); set their names, counted from 0, such as [O, B-PER, I-PER]"
        )
    beyond = next((number for number in numbers if not 0 <= int(number) < len(names)), None)
    if beyond is not None:
        problem = f"contains names for the tags 0 to {len(names) - 1}, but not for {beyond}; add the missing names"
        raise UserError("data.tag_names", problem)
    return {tag: names[int(tag)] for tag in counts}


def _outside(counts: Counter[str], place: Place) -> set[str]:
    """Return the tags that mean no entity: signs, or a word if there is no sign."""
    signs = {tag for tag in counts if tag in SIGNS_FOR_O}
    words = {tag for tag in counts if tag.casefold() in WORDS_FOR_O}
    if signs - {""} or not words:
        return signs
    if len({word.casefold() for word in words}) > 1:
        listed = " and ".join(f"'{word}'" for word in sorted(words))
        problem = f"the tags {listed} could all mean that a token is not an entity"
        raise UserError(place(min(words)), f"{problem}; write O for the tag that means 'no entity'")
    return signs | words


def _parsed(rest: Counter[str], scheme: str, place: Place) -> dict[str, str]:
    """Parse tags as a letter and a type in the form that fits most tags. The result is empty if none fits.

    Raises:
        UserError: If many tags have this form and many do not, or a tag is several tags.
    """
    forms = [form for read in (_prefixed, _suffixed, _bare) if (form := _form(rest, read))]
    best = max(forms, key=lambda form: sum(rest[tag] for tag in form), default={})
    if several := next((tag for tag in best if SEVERAL.search(tag)), None):
        raise UserError(
            place(several),
            f"'{several}' contains several tags; nested entities are not supported; write one tag per token",
        )
    types = {canonical[2:].casefold() for canonical in best.values()}
    others = [tag for tag, _ in rest.most_common() if tag not in best and tag.casefold() not in types]
    if scheme == "detect" and best and sum(rest[tag] for tag in others) > (1 - MOSTLY) * rest.total():
        mix = f"tags such as '{max(best, key=rest.__getitem__)}' are mixed with others such as '{others[0]}'"
        mend = "write a prefix for all tags or for none, or set data.scheme: bio, or plain if each tag is a type"
        raise UserError(place(others[0]), f"{mix}, so their meaning is ambiguous; {mend}")
    return best


def _prefixed(tag: str) -> str | None:
    match = PREFIX.fullmatch(tag)
    return f"{_letter(match[1])}-{match[2].strip()}" if match and match[2].strip() else None


def _suffixed(tag: str) -> str | None:
    match = SUFFIX.fullmatch(tag)
    return f"{_letter(match[2])}-{match[1].strip()}" if match and match[1].strip() else None


def _bare(tag: str) -> str | None:
    return f"{_letter(tag)}-{ONLY_TYPE}" if BARE.fullmatch(tag) else None


def _letter(letter: str) -> str:
    return LETTERS.get(letter.upper(), letter.upper())


def _form(rest: Counter[str], read: Callable[[str], str | None]) -> dict[str, str]:
    """Return the tags that have a form, with what they mean.

    The result is empty if the form is probably a coincidence: E-MAIL, VITAMIN_B and E may be types.
    """
    form = {tag: canonical for tag in rest if (canonical := read(tag))}
    letters = {canonical[0] for canonical in form.values()}
    most = sum(rest[tag] for tag in form) > MOSTLY * rest.total()
    if read is _prefixed:
        return form if most or letters & {"B", "I"} else {}
    return form if {"I"} < letters or (most and "B" in letters) else {}


def _check_plain(rest: Counter[str], total: int, place: Place) -> None:
    brackets = [tag for tag in rest if set(tag) & set("()*")]
    if brackets and all(BRACKETS.fullmatch(tag) for tag in brackets) and "*" in rest:
        problem = f"tags are brackets, such as '{brackets[0]}', as in CoNLL-2012"
        raise UserError(place(brackets[0]), f"{problem}; convert them to BIO")
    tag = max(rest, key=rest.__getitem__)
    share = 1 - rest.total() / total
    if share < LEAST_O:
        mend = "check data.tag_column, or set data.scheme: plain if it is right"
        problem = f"only {share:.0%} of the tokens are O, and tags such as '{tag}' have no prefix"
        raise UserError(place(tag), f"{problem}; {mend}")


def _spelling_notes(tags: dict[str, str], plain: bool) -> list[str]:
    others = {tag: canonical for tag, canonical in tags.items() if tag != canonical and (canonical == "O" or not plain)}
    notes = []
    if others:
        listed = ", ".join(f"'{tag}' as '{others[tag]}'" for tag in sorted(others)[:SHOWN])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        notes.append(f"some tags are read in a different spelling: {listed}{more}")
    types = sorted({canonical[2:] for canonical in tags.values() if canonical[1:2] == "-"})
    if plain:
        notes.append(
            f"tags have no prefix: each is a type ({', '.join(types[:5])}), and adjacent tokens of a type are an entity"
        )
    folded = Counter(kind.casefold() for kind in types)
    alike = [kind for kind in types if folded[kind.casefold()] > 1]
    if alike:
        notes.append(f"types differ only in case and are read as different types: {', '.join(alike[:6])}")
    return notes
