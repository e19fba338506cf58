"""Pairs of texts are read from what people have, and bad ones are left out by rule."""

import gzip

import pytest

from pipelines.data.pairs.read import Pair, Reading, filter_pairs, read_pairs
from pipelines.errors import UserError

TMX = """<?xml version="1.0" encoding="UTF-8"?><tmx version="1.4"><header/><body>
<tu><tuv xml:lang="en-GB"><seg>A <bpt i="1">&lt;b></bpt><hi>red</hi><ept i="1">&lt;/b></ept>
 cat.</seg></tuv><tuv xml:lang="FR"><seg>Un chat rouge.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Alone.</seg></tuv></tu></body></tmx>"""


def read(path, source, target):
    return read_pairs(path.parent, [path.name], Reading(source, target)).pairs


def texts(pairs):
    return [(pair.source, pair.target) for pair in pairs]


def test_two_files_correspond_line_by_line(tmp_path):
    (tmp_path / "a.en").write_text("one\n\ntwo\u2028three \r\n", encoding="utf-8")
    (tmp_path / "a.fr").write_text("un\ndeux\ntrois", encoding="utf-8")
    pairs = read(tmp_path / "a.{language}", "en", "fr")
    assert texts(pairs) == [("one", "un"), ("", "deux"), ("two\u2028three", "trois")]
    assert pairs[2].place == f"{tmp_path}/a.en:3"


def test_files_may_be_compressed(tmp_path):
    for language, text in (("en", "one\n"), ("de", "eins\n")):
        with gzip.open(tmp_path / f"a.{language}.gz", "wt") as file:
            file.write(text)
    assert texts(read(tmp_path / "a.{language}.gz", "en", "de")) == [("one", "eins")]


def test_a_table_has_two_columns(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text('one\tun\n\n"two\tdeux\tmore\n')
    assert texts(read(path, "en", "fr")) == [("one", "un"), ("", ""), ('"two', "deux")]


def test_a_memory_has_units(tmp_path):
    path = tmp_path / "memory.tmx"
    path.write_text(TMX)
    assert texts(read(path, "en", "fr")) == [("A red cat.", "Un chat rouge."), ("Alone.", "")]
    assert texts(read(path, "fr", "en"))[0] == ("Un chat rouge.", "A red cat.")


@pytest.mark.parametrize("encoding", ["UTF-16", "ISO-8859-1"])
def test_a_memory_says_its_own_encoding_and_may_have_a_namespace(tmp_path, encoding):
    text = TMX.replace("UTF-8", encoding).replace("<tmx", '<tmx xmlns="http://www.lisa.org/tmx14"').replace("Un", "É")
    (tmp_path / "memory.TMX").write_bytes(text.encode(encoding))
    assert texts(read(tmp_path / "memory.TMX", "en", "fr"))[0] == ("A red cat.", "É chat rouge.")


def test_a_memory_may_write_a_region_either_way(tmp_path):
    (tmp_path / "memory.tmx").write_text(TMX.replace("FR", "pt-BR"))
    assert texts(read(tmp_path / "memory.tmx", "en", "pt_BR"))[0] == ("A red cat.", "Un chat rouge.")


def test_a_language_that_a_memory_lacks_is_named(tmp_path):
    (tmp_path / "memory.tmx").write_text(TMX)
    with pytest.raises(UserError, match="contains no text in 'de', only in en, en-gb, fr"):
        read(tmp_path / "memory.tmx", "en", "de")


def test_a_damaged_archive_is_named(tmp_path):
    whole = gzip.compress(b"one\tun\n" * 9999)
    (tmp_path / "a.tsv.gz").write_bytes(whole[:60] + b"\xff" * 40 + whole[60:])
    with pytest.raises(UserError, match=r"a\.tsv\.gz: cannot be read"):
        read(tmp_path / "a.tsv.gz", "en", "fr")


@pytest.mark.parametrize(
    ("name", "content", "wrong"),
    [
        ("a.{language}", {"a.en": "one\n", "a.fr": "un\ndeux\n"}, "has 2 lines, but a.en has 1"),
        ("a.{language}", {"a.en": "one\n"}, r"a\.fr: cannot be read \(No such file or directory\)"),
        ("a.tsv", {"a.tsv": "one\tun\ntwo\n"}, "has no tab"),
        ("a.tmx", {"a.tmx": "<tmx><tu>"}, "cannot be read as TMX"),
        ("a.txt", {"a.txt": "one,un\n"}, r"is not a supported format \(\.tsv, .* and has no tabs"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, wrong):
    for file, text in content.items():
        (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=wrong):
        read(tmp_path / name, "en", "fr")


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
