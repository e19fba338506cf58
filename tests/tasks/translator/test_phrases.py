"""Made phrases say the same in both languages, and no value of a split occurs in another."""

import re

import pytest

from pipelines.errors import UserError
from pipelines.tasks.translator.phrases import make_phrases

DAY = re.compile(
    r"(January|February|March|April|May|June|July|August|September|October|November|December) (\d+), (\d{4})"
)
CLOCK = re.compile(r"\d+:\d\d\s[AP]M")
YEAR_OR_CLOCK = re.compile(f"{DAY.pattern}|{CLOCK.pattern}")
NUMBER = re.compile(r"\d[\d,]*")


@pytest.fixture(scope="module")
def phrases():
    return make_phrases("en", "fr", 1000)[0]


def values(pairs):
    found = set()
    for source, _ in pairs:
        found |= {("day", *day) for day in DAY.findall(source)} | {("clock", clock) for clock in CLOCK.findall(source)}
        found |= {("number", number) for number in NUMBER.findall(YEAR_OR_CLOCK.sub("", source))}
    return found


def test_no_date_time_or_number_is_in_two_splits(phrases):
    assert {split: len(pairs) for split, pairs in phrases.items()} == {"train": 800, "validation": 100, "test": 100}
    own = {split: values(pairs) for split, pairs in phrases.items()}
    assert {kind for kind, *_ in own["test"]} == {"day", "clock", "number"}
    assert not own["train"] & own["validation"]
    assert not own["train"] & own["test"]
    assert not own["validation"] & own["test"]


def test_both_sides_hold_the_same_numbers(phrases):
    def digits(text):
        return sorted(re.sub(r"(?<=\d)[,\u202f](?=\d{3})", "", text).split())

    for source, target in phrases["train"]:
        if not YEAR_OR_CLOCK.search(source):
            own, other = (re.findall(r"\d+", " ".join(digits(text))) for text in (source, target))
            assert sorted(own) == sorted(other)


def test_other_languages_will_do():
    phrases, about = make_phrases("de", "pt_BR", 100)
    assert all(source and target for source, target in phrases["train"])
    assert "words" in about["kinds"]


def test_an_unknown_language_is_named():
    with pytest.raises(UserError, match="has no language 'xx'"):
        make_phrases("en", "xx", 100)


def test_what_num2words_cannot_say_is_not_asked_for():
    assert "words" not in make_phrases("en", "am", 100)[1]["kinds"]


def test_a_language_that_cldr_hardly_knows_is_named():
    with pytest.raises(UserError, match=r"data\.to_language: Babel has no country or language name in both"):
        make_phrases("en", "arn", 100)
