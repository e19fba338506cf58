"""CoNLL files in all their forms, and what is illegal in them by line."""

import gzip
from pathlib import Path

import pytest
from archives import broken_archive
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.sentences.files import read_tagged
from pipelines.data.sentences.headers import ColumnRules
from pipelines.data.sentences.schemes import detect_scheme, to_bio
from pipelines.data.sentences.sentence import Sentence
from pipelines.errors import UserError
from pipelines.metrics.entity_f1 import entities


def read_conll(path: Path, tag_column: int) -> list[Sentence]:
    return read_tagged(path, ColumnRules(None, tag_column, None, plain=False), "utf-8", lambda texts: []).sentences


FORMS = {
    "tabs": "Ann\tB-PER\nran\tO\n\nBob\tB-PER\n",
    "blanks": "Ann NNP I-NP B-PER\nran VBD O O\n\nBob NNP I-NP B-PER\n",
    "document lines": "-DOCSTART- -X- O O\n\nAnn B-PER\nran O\n\n-DOCSTART- O\nBob B-PER\n\n\n",
    "a blank line of a tab": "Ann\tB-PER\nran\tO\n\t\nBob\tB-PER",
    "a mark at the start, and CRLF": "\ufeffAnn B-PER\r\nran O\r\n\r\nBob B-PER\r\n",
    "a token of blanks": "Ann\tB-PER\n\tO\nran\tO\n\nBob\tB-PER\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["a.conll", "a.conll.gz"])
def test_every_form_holds_the_same_sentences(form, name, tmp_path):
    content = FORMS[form].encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    read = read_conll(tmp_path / name, -1)
    assert [(s.tokens, s.tags) for s in read] == [(["Ann", "ran"], ["B-PER", "O"]), (["Bob"], ["B-PER"])]


def test_lines_are_those_of_the_file_and_columns_count_from_either_end(tmp_path):
    (tmp_path / "a").write_text("Ann B-PER x\n\nBob B-PER y\nran O z\n")
    first, second = read_conll(tmp_path / "a", 1)
    assert (first.lines, second.lines, second.tags) == ([1], [3, 4], ["B-PER", "O"])
    assert [s.tags for s in read_conll(tmp_path / "a", -2)] == [first.tags, second.tags]


BAD = {
    "no tag": (b"Ann B-PER\nran\nBob B-PER\n", "a:2: has 1 column, but most lines have 2"),
    "no tags": (b"Ann\nran\n", "a:1: has 1 column, but no tag"),
    "a column more": (b"Ann B-PER\nNew York B-LOC\nBob B-PER\n", "a:2: has 3 columns, but most lines have 2"),
    "a tag alone, not in the last column": (b"Ann\tO\tO\n\tB-PER\tO\n", "a:2: has the tag 'B-PER', but no token"),
    "a tag alone": (b"Ann\tO\n\tB-PER\n", "a:2: has the tag 'B-PER', but no token"),
    "nothing": (b"\n\n", "a: contains no sentences"),
    "another encoding": (
        "Ann O\nJosé B-PER\n".encode("latin-1"),
        "a:2: byte 0xe9 .* is not valid UTF-8; set data.encoding",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_its_line(case, tmp_path):
    content, message = BAD[case]
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_conll(tmp_path / "a", -2 if "column" in case else -1)


def test_only_blanks_and_tabs_divide(tmp_path):
    (tmp_path / "a").write_text("10\u00a0000  O\nNew York\tB-LOC\n", encoding="utf-8")
    (sentence,) = read_conll(tmp_path / "a", -1)
    assert sentence.tokens == ["10\u00a0000", "New York"]


def test_a_missing_file_and_a_broken_archive_are_named(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_conll(tmp_path / "none", -1)
    for content in (b"no archive", broken_archive()):
        (tmp_path / "b.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"b.gz: cannot be read"):
            read_conll(tmp_path / "b.gz", -1)


SAME = {  # scheme -> how it writes Ann Lee (PER), Oslo Bergen (two LOC), Rome (LOC)
    "bio": "B-PER I-PER O B-LOC B-LOC O B-LOC",
    "iob1": "I-PER I-PER O I-LOC B-LOC O I-LOC",
    "bioes": "B-PER E-PER O S-LOC S-LOC O S-LOC",
    "ioe": "I-PER E-PER O E-LOC E-LOC O E-LOC",
}


@pytest.mark.parametrize("scheme", SAME)
def test_schemes_are_detected_and_become_bio(scheme):
    tags = SAME[scheme].split()
    assert detect_scheme([tags]) == scheme
    assert to_bio(tags, scheme) == (SAME["bio"].split(), {})


def test_io_cannot_part_neighbours():
    assert detect_scheme([["I-PER", "O"]]) == "io"
    assert to_bio("I-PER I-PER O I-LOC".split(), "io") == ("B-PER I-PER O B-LOC".split(), {})


ILLEGAL = {  # scheme, tags -> places of the faults, repaired tags
    ("bio", "O I-PER O"): ([1], "O B-PER O"),
    ("bio", "B-PER I-LOC"): ([1], "B-PER B-LOC"),
    ("bio", "PER O"): ([0], "B-PER O"),
    ("bio", "B- O"): ([0], "O O"),
    ("bio", "B O"): ([0], "O O"),
    ("bio", "BI-PER O"): ([0], "B-PER O"),
    ("bio", "S-PER I-PER"): ([0, 1], "B-PER B-PER"),
    ("io", "-PER O"): ([0], "B-PER O"),
    ("bioes", "B-PER O"): ([1], "B-PER O"),
    ("bioes", "O E-PER"): ([1], "O B-PER"),
    ("bioes", "S-PER I-PER"): ([1], "B-PER B-PER"),
    ("bioes", "O B-PER"): ([1], "O B-PER"),
    ("iob1", "O B-PER"): ([1], "O B-PER"),
    ("io", "B-PER"): ([0], "B-PER"),
}


@pytest.mark.parametrize(("scheme", "tags"), ILLEGAL)
def test_what_is_illegal_is_found_and_begins_an_entity(scheme, tags):
    places, repaired = ILLEGAL[scheme, tags]
    bio, faults = to_bio(tags.split(), scheme)
    assert (list(faults), bio) == (places, repaired.split())


@given(
    st.sampled_from(["io", "iob1", "bio", "ioe", "bioes"]),
    st.lists(st.sampled_from("O B-a I-a E-a S-a B-b I-b x -a BI-a".split())),
)
def test_whatever_comes_in_legal_bio_comes_out(scheme, tags):
    bio, _ = to_bio(tags, scheme)
    assert to_bio(bio, "bio") == (bio, {})
    assert all(bio[entity.start].startswith("B-") for entity in entities(bio))


def test_a_slip_does_not_change_the_scheme_that_is_detected():
    right = [SAME["bio"].split()] * 5
    assert detect_scheme([*right, ["S-PER"]]) == "bio"
    assert detect_scheme([*[SAME["bioes"].split()] * 5, ["B-PER", "O"]]) == "bioes"
