"""Ways of tagging: how tags are spelled, where each says that an entity begins, and all of them as BIO."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import UserError

Scheme = Literal["io", "iob1", "bio", "ioe", "bioes", "plain"]

LETTERS = {"L": "E", "U": "S", "M": "I", "W": "S"}  # of BILOU, BMES and BMEWO -> of BIOES
PREFIX = re.compile(r"([BIESLUMW])[-_:/.|+](.+)", re.IGNORECASE)
SUFFIX = re.compile(r"(.+)[-_:/.|+]([BIESLUMW])", re.IGNORECASE)
BARE = re.compile(r"[BIESLUMW]", re.IGNORECASE)
NUMBER = re.compile(r"-?\d+")
BRACKETS = re.compile(r"\(*[^()*]*\*?\)*")
SIGNS_FOR_O = {"O", "o", "0", "-", "_", ""}
WORDS_FOR_O = {"out", "outside", "other", "none", "null"}
ONLY_TYPE = "ENTITY"  # of tags that are a letter and no type
MOSTLY = 0.9  # a form that this share of the tags fit is meant by all, and the others are mistakes
LEAST_O = 0.3  # share of O in tags without prefixes: fewer may be any other column
SHOWN = 3  # spellings that are shown


@dataclass(frozen=True)
class Spelling:
    """Each tag of the data as O, or a letter of B, I, E, S, a dash and a type; and what is to be said of it."""

    tags: dict[str, str]
    notes: list[str]


Place = Callable[[str], str]  # a tag -> where it first stands


def read_spelling(
    counts: Counter[str], scheme: Scheme | Literal["detect"], names: Sequence[str], place: Place
) -> Spelling:
    """Tell what tags mean that other tools spell in other ways; what is no tag stays as it is.

    `counts` says how often each occurs, `names` what tags that are numbers stand for, `place` where each stands.

    Raises:
        UserError: where tags are numbers without names, brackets, or could be meant in more ways than one.
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
    return Spelling(tags, _spelling_notes({} if names else tags, plain))


def _name_numbers(counts: Counter[str], names: Sequence[str]) -> dict[str, str]:
    numbers = [tag for tag in counts if NUMBER.fullmatch(tag)]
    if names and len(numbers) < len(counts):
        text = next(tag for tag in counts if tag not in numbers)
        raise UserError("data.tag_names", f"tags are texts already, such as '{text}'; names are for numbers")
    if len(numbers) < len(counts) or set(numbers) <= {"0"}:
        return {tag: tag for tag in counts}
    shown = ", ".join(sorted(numbers, key=int)[:5])
    if not names:
        raise UserError("data.tag_names", f"tags are numbers ({shown}); name them from 0, such as [O, B-PER, I-PER]")
    beyond = next((number for number in numbers if not 0 <= int(number) < len(names)), None)
    if beyond is not None:
        raise UserError(
            "data.tag_names", f"holds {len(names)} names, from 0 to {len(names) - 1}: none for tag {beyond}"
        )
    return {tag: names[int(tag)] for tag in counts}


def _outside(counts: Counter[str], place: Place) -> set[str]:
    """Find what stands for no entity: signs, or a word where there is no sign."""
    signs = {tag for tag in counts if tag in SIGNS_FOR_O}
    words = {tag for tag in counts if tag.casefold() in WORDS_FOR_O}
    if signs - {""} or not words:
        return signs
    if len({word.casefold() for word in words}) > 1:
        listed = " and ".join(f"'{word}'" for word in sorted(words))
        problem = f"both {listed} among the tags could say that a token is no entity"
        raise UserError(place(min(words)), f"{problem}; write O for the one that does")
    return signs | words


def _parsed(rest: Counter[str], scheme: str, place: Place) -> dict[str, str]:
    """Read tags as a letter and a type in one form, or give nothing where they are of none.

    Raises:
        UserError: where about as many have the form as have not.
    """
    forms = [{tag: canonical for tag in rest if (canonical := read(tag))} for read in (_prefixed, _suffixed, _bare)]
    forms = [form for form in forms if _sensible(form, rest)]
    best = max(forms, key=lambda form: sum(rest[tag] for tag in form), default={})
    types = {canonical[2:].casefold() for canonical in best.values()}
    others = [tag for tag, _ in rest.most_common() if tag not in best and tag.casefold() not in types]
    if scheme == "detect" and best and sum(rest[tag] for tag in others) > (1 - MOSTLY) * rest.total():
        mix = f"tags such as '{max(best, key=rest.__getitem__)}' stand beside others such as '{others[0]}'"
        mend = "write all with a prefix or none, or set data.scheme: bio, or plain where each is a type as it stands"
        raise UserError(place(others[0]), f"{mix}, so it cannot be told what they mean; {mend}")
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


def _sensible(form: dict[str, str], rest: Counter[str]) -> bool:
    """Say whether a form may be meant: types may themselves end in a letter, or be one (VITAMIN_B, E)."""
    letters = {canonical[0] for canonical in form.values()}
    all_begin_so = len(form) == len(rest) and all(PREFIX.fullmatch(tag) for tag in rest)
    return bool(form) and (all_begin_so or "B" in letters or ("I" in letters and bool(letters - {"I"})))


def _check_plain(rest: Counter[str], total: int, place: Place) -> None:
    brackets = [tag for tag in rest if set(tag) & set("()*")]
    if brackets and all(BRACKETS.fullmatch(tag) for tag in brackets) and "*" in rest:
        problem = f"tags are brackets, such as '{brackets[0]}', as of CoNLL-2012"
        raise UserError(place(brackets[0]), f"{problem}; convert them to BIO")
    tag = max(rest, key=rest.__getitem__)
    share = 1 - rest.total() / total
    if share < LEAST_O:
        mend = "is data.tag_column the column of the tags? If it is, set data.scheme: plain"
        problem = f"only {share:.0%} of the tokens are O, and tags such as '{tag}' have no prefix"
        raise UserError(place(tag), f"{problem}; {mend}")


def _spelling_notes(tags: dict[str, str], plain: bool) -> list[str]:
    others = {tag: canonical for tag, canonical in tags.items() if tag != canonical and (canonical == "O" or not plain)}
    notes = []
    if others:
        listed = ", ".join(f"'{tag}' as '{others[tag]}'" for tag in sorted(others)[:SHOWN])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        notes.append(f"tags are read as what they plainly are: {listed}{more}")
    types = sorted({canonical[2:] for canonical in tags.values() if canonical[1:2] == "-"})
    if plain:
        notes.append(
            f"tags have no prefix: each is a type ({', '.join(types[:5])}), and neighbours of one type are one entity"
        )
    folded = Counter(kind.casefold() for kind in types)
    alike = [kind for kind in types if folded[kind.casefold()] > 1]
    if alike:
        notes.append(f"types differ in nothing but case, and count as others: {', '.join(alike[:6])}")
    return notes


def detect_scheme(tags: Sequence[Sequence[str]]) -> Scheme:
    """Tell which way of tagging these sequences follow: where none does, that with the fewest illegal tags.

    With S-, or E- and B-, it is BIOES; with E- and no B- IOE1 or IOE2; without any B- IO. Where every B- parts two
    entities of a type that would else be one, it is IOB1 (Ramshaw & Marcus 1995), otherwise BIO.
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
    """Convert a sentence's tags to BIO, and say what is illegal at which token.

    There a new entity begins, even where the tag is of another scheme, unless it names no type.
    """
    result: list[str] = []
    faults: dict[int, str] = {}
    before = "O"
    for place, tag in enumerate(tags):
        prefix, dash, kind = tag.partition("-")
        if not (tag == "O" or (prefix in PREFIXES[scheme] and dash and kind)):
            faults[place] = f"'{tag}' is no {scheme.upper()} tag"
            prefix, kind = _repaired(tag)
        elif prefix != "O" and (fault := _fault(before, prefix, kind, scheme)):
            faults[place] = f"'{tag}' after '{before}': {fault}"
        goes_on = _goes_on(before, prefix, kind)
        result.append("O" if prefix == "O" else f"{'I' if goes_on else 'B'}-{kind}")
        if scheme == "bioes" and before[0] in "BI" and prefix in ("O", "B", "S") and place not in faults:
            faults[place] = f"'{tag}' after '{before}': that entity has no E-"
        before = "O" if prefix == "O" else f"{prefix}-{kind}"
    if scheme == "bioes" and before[0] in "BI":
        faults[len(tags) - 1] = f"'{before}' ends the sentence: that entity has no E-"
    return result, faults


PREFIXES = {
    "io": {"I"},
    "plain": {"I"},
    "iob1": {"B", "I"},
    "bio": {"B", "I"},
    "ioe": {"I", "E"},
    "bioes": {"B", "I", "E", "S"},
}


def _repaired(tag: str) -> tuple[str, str]:
    """Give the letter and the type of a tag that is none of its scheme: O where it names no type."""
    prefix, dash, kind = tag.partition("-")
    if not dash:
        return ("O", "") if BARE.fullmatch(tag) else ("B", tag)
    return ("B" if prefix not in "BIES" or not prefix else prefix, kind) if kind else ("O", "")


def _goes_on(before: str, prefix: str, kind: str) -> bool:
    open_before = before != "O" and before.partition("-")[2] == kind and before[0] not in "ES"
    return prefix in ("I", "E") and open_before


def _fault(before: str, prefix: str, kind: str, scheme: Scheme) -> str | None:
    if scheme in ("bio", "bioes") and prefix in ("I", "E") and not _goes_on(before, prefix, kind):
        return f"no entity of type {kind} is open"
    if scheme == "iob1" and prefix == "B" and before.partition("-")[2] != kind:
        return "B- stands only between two entities of a type"
    return None
