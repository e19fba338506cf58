"""What tags mean that other tools spell in other ways, and what is no such spelling."""

from collections import Counter

import pytest

from pipelines.data.sentences.spelling import read_spelling
from pipelines.errors import UserError

MEANT = {  # tags, each with how often -> what they are read as
    "types like prefixed ones": ({"O": 50, "E-MAIL": 1, "PHONE": 20}, {"E-MAIL": "I-E-MAIL", "PHONE": "I-PHONE"}),
    "types like ones with a letter last": (
        {"O": 50, "VITAMIN_B": 5, "VITAMIN_E": 5, "SALT": 5},
        {"VITAMIN_B": "I-VITAMIN_B", "VITAMIN_E": "I-VITAMIN_E", "SALT": "I-SALT"},
    ),
    "types of one letter": ({"O": 50, "E": 5, "L": 5}, {"E": "I-E", "L": "I-L"}),
    "one slip among I-": ({"O": 50, "I-PER": 50, "PER": 1}, {"I-PER": "I-PER", "PER": "PER"}),
    "one slip among S-": ({"O": 50, "S-PER": 50, "PER": 1}, {"S-PER": "S-PER", "PER": "PER"}),
    "a stranger among many": ({"O": 50, "B-PER": 50, "x": 1}, {"B-PER": "B-PER", "x": "x"}),
    "a dash in the type": ({"O": 9, "B_A-B": 5, "I_A-B": 5}, {"B_A-B": "B-A-B", "I_A-B": "I-A-B"}),
    "BMEWO": (
        {"O": 9, "b-X": 5, "m-X": 5, "e-X": 5, "w-X": 5},
        {"b-X": "B-X", "m-X": "I-X", "e-X": "E-X", "w-X": "S-X"},
    ),
    "the letter last, all of one token": ({"O": 9, "PER_B": 5, "LOC_B": 5}, {"PER_B": "B-PER", "LOC_B": "B-LOC"}),
    "O and Other": ({"O": 9, "PER": 2, "Other": 2}, {"PER": "I-PER", "Other": "I-Other"}),
    "an empty cell beside OUT": ({"OUT": 9, "": 1, "B-X": 2}, {"OUT": "O", "": "O", "B-X": "B-X"}),
}


@pytest.mark.parametrize("case", MEANT)
def test_tags_are_read_as_what_they_plainly_are(case):
    counts, meant = MEANT[case]
    spelling = read_spelling(Counter(counts), "detect", [], str)
    assert spelling.tags == {"O": "O"} | meant if "O" in counts else spelling.tags == meant


def test_a_scheme_that_is_named_settles_what_could_be_meant():
    mixed = Counter({"O": 50, "B-CELL": 20, "PER": 20})
    with pytest.raises(UserError, match="PER: tags such as 'B-CELL' are mixed with others such as 'PER'"):
        read_spelling(mixed, "detect", [], str)
    assert read_spelling(mixed, "plain", [], str).tags["B-CELL"] == "I-B-CELL"
    assert read_spelling(mixed, "bio", [], str).tags == {"O": "O", "B-CELL": "B-CELL", "PER": "PER"}
