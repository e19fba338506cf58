"""Compare language codes, and detect the scripts and languages of texts."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice

SAMPLE = 2000  # texts that are used to detect the script or language of all
ENOUGH = 20  # letters; with fewer, the script is unknown
SHARE = 0.2  # share of letters above which a script without blanks decides how a text is split into words
KANA = 0.05  # share of letters above which a text with ideographs is Japanese
BLANKLESS = 8  # mean number of characters between blanks; above it, blanks do not separate words
IDEOGRAPHS, HANGUL = "cjk", "hangul"
JAPANESE = {"hiragana", "katakana"}
OTHERS = {"thai", "lao", "khmer", "myanmar", "tibetan"}
SCRIPTS = {"Hans": {"cjk"}, "Hant": {"cjk"}, "Jpan": {"cjk", *JAPANESE}, "Kore": {"hangul", "cjk"}}
FEW_WORDS = 9  # occurrences of frequent words; with fewer, the language is unknown
FREQUENT = {  # words that are frequent in any text of the language
    "cs": "a je se na v že to s z do",
    "da": "og det er at en til af på ikke de",
    "de": "der die und das ist nicht ein den mit zu",
    "en": "the of and to is that it was for you",
    "es": "el la que y los en un es por no",
    "fi": "ja on ei se että oli hän mutta ole niin",
    "fr": "le les et est un une des pas que je",
    "hu": "a az és nem hogy egy van is meg de",
    "it": "il di che è un per non la sono una",
    "nl": "de het een en van is dat niet ik te",
    "pl": "w i na z nie się do to jest że",
    "pt": "o que e do da em um não uma para",
    "ro": "și de la în nu o a este pe să",
    "sv": "och det är att en som på inte jag av",
    "tr": "bir ve bu da için çok ne o ben mi",
}
DIGRAPHIC = {"az", "bs", "ku", "sr", "uz"}  # languages that are written in Latin or in Cyrillic letters
DIFFERENT = {"Mymr": "myanmar", "Tibt": "tibetan"}  # scripts that Unicode's character names call other than CLDR


def same_language(one: str, other: str) -> bool:
    """Return whether two codes mean the same language.

    en, eng and en-GB do. Two regions of a language, such as en-GB and en-US, do not.
    """
    (first, *region), (second, *other_region) = _parts(one), _parts(other)
    return first == second and (not region or not other_region or region == other_region)


@cache
def codes(language: str) -> tuple[str, ...]:
    """List the ways to write a language in the names of files and columns, its own code first."""
    base = _parts(language)[0]
    aliases = [code for code, known in _aliases().items() if known == base and len(code) == 3]
    region = language.replace("_", "-"), language.replace("-", "_")
    return tuple(dict.fromkeys([language, *region, language.lower(), base, *sorted(aliases)]))


@cache
def names(language: str) -> frozenset[str]:
    """Return the codes and names of a language in lower case, in English and in the language itself."""
    own, base = set(codes(language)), _parts(language)[0]
    try:
        from babel import Locale, UnknownLocaleError
    except ImportError:
        return frozenset(name.lower() for name in own)
    with suppress(ValueError, UnknownLocaleError):  # only the codes of the language are known
        own |= {table.languages.get(base, "") for table in (Locale.parse("en"), Locale.parse(base))}
    return frozenset(name.lower() for name in own if name)


def expected_scripts(language: str) -> set[str]:
    """Return the scripts in which a language is written, or an empty set if they are not known."""
    try:
        from babel import Locale
        from babel.core import get_global
    except ImportError:
        return set()
    base, *more = _parts(language)
    if base in DIGRAPHIC:
        return set()
    likely = get_global("likely_subtags")
    code = likely.get("_".join([base, *(part.upper() for part in more)])) or likely.get(base, "")
    script = next((part for part in [*map(str.title, more), *code.split("_")[1:2]] if len(part) == 4), "")
    name = Locale.parse("en").scripts.get(script, "").split(" ")[0].lower()
    return SCRIPTS.get(script) or ({DIFFERENT.get(script, name)} if name else set())


def scripts(texts: Iterable[str]) -> dict[str, float]:
    """Return each script's share of the letters in texts, the most frequent script first.

    Scripts have their Unicode names: latin, cyrillic, cjk ... Texts with too few letters have no script.
    """
    signs = Counter(sign for text in islice(texts, SAMPLE) for sign in text)
    letters: Counter[str] = Counter()
    for sign, count in signs.items():
        if sign.isalpha():
            letters[unicodedata.name(sign, "other").partition(" ")[0].lower()] += count
    total = letters.total()
    return {name: count / total for name, count in letters.most_common()} if total >= ENOUGH else {}


def swapped(sides: Sequence[Sequence[str]], languages: Sequence[str]) -> bool:
    """Return whether each language's frequent words are far more frequent on the other side than on its own."""
    lists = [set(FREQUENT.get(_parts(language)[0], "").split()) for language in languages]
    if not all(lists):
        return False
    counts = [Counter(re.findall(r"\w+", " ".join(texts[:SAMPLE]).lower())) for texts in sides]
    own, other = (
        [sum(counts[side][word] for word in lists[at]) for side, at in enumerate(order)] for order in ((0, 1), (1, 0))
    )
    return all(there > max(FEW_WORDS, 3 * here) for here, there in zip(own, other, strict=True))


def written_as(texts: Iterable[str]) -> str:
    """Return how texts can be split into words.

    The result is `zh`, `ja`, `ko`, `blankless` (other scripts without blanks, such as Thai) or `words` (at blanks).
    """
    shares = scripts(texts)
    kana = sum(shares.get(name, 0) for name in JAPANESE)
    if kana > KANA and kana + shares.get(IDEOGRAPHS, 0) > SHARE:
        return "ja"
    if shares.get(IDEOGRAPHS, 0) > SHARE:
        return "zh"
    if shares.get(HANGUL, 0) > SHARE:
        return "ko"
    return "blankless" if sum(shares.get(name, 0) for name in OTHERS) > SHARE else "words"


def parts_words(texts: list[str]) -> bool:
    """Return whether blanks separate the words of texts.

    In most scripts they do. In other scripts they do if a tool has inserted them.
    """
    texts = texts[:SAMPLE]
    if written_as(texts) in ("words", "ko"):
        return True
    return sum(map(len, texts)) <= BLANKLESS * sum(len(text.split()) for text in texts)


def _parts(language: str) -> list[str]:
    base, *more = re.split("[-_]", language.lower())
    return [_aliases().get(base, base), *more]


@cache
def _aliases() -> Mapping[str, str]:
    """Return CLDR's shorter codes of languages, such as en for eng; empty without Babel, which has the list."""
    try:
        from babel.core import get_global
    except ImportError:
        return {}
    return get_global("language_aliases")
