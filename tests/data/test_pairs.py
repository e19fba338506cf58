"""Pairs of texts are read from what people have, and bad ones are left out by rule."""

import gzip

import pytest

from pipelines.data.pairs import Pair, filter_pairs, read_pairs
from pipelines.errors import UserError

TMX = """<?xml version="1.0" encoding="UTF-8"?><tmx version="1.4"><header/><body>
<tu><tuv xml:lang="en-GB"><seg>A <b>red</b>
 cat.</seg></tuv><tuv xml:lang="FR"><seg>Un chat rouge.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Alone.</seg></tuv></tu></body></tmx>"""


def texts(pairs):
    return [(pair.source, pair.target) for pair in pairs]


def test_two_files_correspond_line_by_line(tmp_path):
    (tmp_path / "a.en").write_text("one\n\ntwo\u2028three \r\n", encoding="utf-8")
    (tmp_path / "a.fr").write_text("un\ndeux\ntrois", encoding="utf-8")
    pairs = read_pairs(tmp_path / "a.{language}", "en", "fr")
    assert texts(pairs) == [("one", "un"), ("", "deux"), ("two\u2028three", "trois")]
    assert pairs[2].place == f"{tmp_path}/a.en:3"


def test_files_may_be_compressed(tmp_path):
    for language, text in (("en", "one\n"), ("de", "eins\n")):
        with gzip.open(tmp_path / f"a.{language}.gz", "wt") as file:
            file.write(text)
    assert texts(read_pairs(tmp_path / "a.{language}.gz", "en", "de")) == [("one", "eins")]


def test_a_table_has_two_columns(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text('one\tun\n"two\tdeux\tmore\n')
    assert texts(read_pairs(path, "en", "fr")) == [("one", "un"), ('"two', "deux")]


def test_a_memory_has_units(tmp_path):
    path = tmp_path / "memory.tmx"
    path.write_text(TMX)
    assert texts(read_pairs(path, "en", "fr")) == [("A red cat.", "Un chat rouge."), ("Alone.", "")]
    assert texts(read_pairs(path, "fr", "en"))[0] == ("Un chat rouge.", "A red cat.")


@pytest.mark.parametrize(
    ("name", "content", "wrong"),
    [
        ("a.{language}", {"a.en": "one\n", "a.fr": "un\ndeux\n"}, "holds 2 lines, but a.en 1"),
        ("a.{language}", {"a.en": "one\n"}, "cannot be read as UTF-8 text"),
        ("a.tsv", {"a.tsv": "one\tun\ntwo\n"}, "has no tab"),
        ("a.tmx", {"a.tmx": "<tmx><tu>"}, "cannot be read as TMX"),
        ("a.csv", {"a.csv": "one,un\n"}, "not a .tsv or .tmx file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, wrong):
    for file, text in content.items():
        (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=wrong):
        read_pairs(tmp_path / name, "en", "fr")


def test_bad_pairs_are_left_out_by_rule_and_counted():
    pairs = [
        Pair("a good sentence", "une bonne phrase", "1"),
        Pair("no", "non, pas du tout", "2"),  # short ones may differ much
        Pair("", "vide", "3"),
        Pair("x" * 101, "x" * 101, "4"),
        Pair("x" * 80, "x" * 10, "5"),
        Pair("y" * 90, "y" * 15, "6"),
    ]
    kept, skipped, counts = filter_pairs(pairs, most_characters=100, most_ratio=3.0)
    assert [pair.place for pair in kept] == ["1", "2"]
    assert [each["place"] for each in skipped] == ["3", "4", "5", "6"]
    assert counts == {
        "a side is empty": 1,
        "a side is longer than 100 characters": 1,
        "one side is over 3 times as long as the other": 2,
    }
