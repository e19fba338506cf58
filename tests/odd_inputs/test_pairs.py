"""Odd pairs of texts: read rightly, refused in one line that names the place, or read with a warning."""

import bz2
import gzip
import io
import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import invoke
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.build import build
from pipelines.config.load import load_config
from pipelines.data.pairs import languages
from pipelines.tasks.translator.task import TASK

CONFIG = Path(__file__).parents[2] / "configs" / "translator.yaml"
ONES = "one two three four five six seven eight nine ten".split()
UNS = "un deux trois quatre cinq six sept huit neuf dix".split()
PAIRS = [
    (f"{a} cats and {b} dogs, it's said", f"{c} chats et {d} chiens, dit-on l'été")
    for a, c in zip(ONES, UNS, strict=True)
    for b, d in zip(ONES, UNS, strict=True)
]
EN, FR = ([pair[side] for pair in PAIRS] for side in (0, 1))
RUSSIAN = "один два три четыре пять шесть семь восемь девять десять".split()
MARKED = [(f'"{a}" & {b}', f"« {c} » & {d}") for (a, b), (c, d) in zip(PAIRS, PAIRS, strict=True)]


def joined(*columns, by="\t"):
    return "".join(by.join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def quoted(*columns, by=","):
    return joined(*([f'"{cell}"' for cell in column] for column in columns), by=by)


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", content)
    return file.getvalue()


def tmx(first, second):
    units = "".join(
        f'<tu><tuv xml:lang="{first}"><seg>{a}</seg></tuv><tuv xml:lang="{second}"><seg>{b}</seg></tuv></tu>'
        for a, b in PAIRS
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><tmx version="1.4"><body>{units}</body></tmx>'


ID, LINES = range(1, 101), "\n".join
READ = {  # name -> files, settings of `data`, and what a warning says, or None where all is as plain as can be
    "plain": ({"a.tsv": joined(EN, FR)}, {}, None),
    "Tatoeba": ({"a.tsv": joined(ID, EN, range(900, 1000), FR)}, {}, r"columns 1 and 3 \(from 0\).*numbers or ids"),
    "one id": (
        {"a.tsv": joined(ID, EN, FR)},
        {},
        r"columns 1 and 2 \(from 0\) are read as the pair, not 0 \(numbers or ids",
    ),
    "codes": ({"a.tsv": joined(["eng"] * 100, EN, ["fra"] * 100, FR)}, {}, r"not 0 \(only 'eng'\), 2"),
    "named ids": ({"a.tsv": joined([f"sent_{n}" for n in ID], EN, FR)}, {}, "numbers or ids"),
    "attribution": ({"a.txt": joined(EN, FR, [f"CC-BY {n} me" for n in ID])}, {}, r"columns 0 and 1.*not 2 \(texts\)"),
    "columns by number": ({"a.tsv": joined(FR, ID, EN)}, {"source_column": 2, "target_column": 0}, None),
    "columns by name": (
        {"a.tsv": "u\tv\n" + joined(EN, FR)},
        {"source_column": "u", "target_column": "v"},
        "first line is read as a header",
    ),
    "last column": ({"a.tsv": joined(FR, ID, EN)}, {"source_column": -1, "target_column": 0}, None),
    "header": ({"a.tsv": "en\tfr\n" + joined(EN, FR)}, {}, r"first line is read as a header \(en, fr\)"),
    "header in words": ({"a.tsv": "English\tFrench\n" + joined(EN, FR)}, {}, "is read as a header"),
    "header of no language": ({"a.csv": "source,target\n" + quoted(EN, FR)}, {}, "is read as a header"),
    "header with more words": ({"a.csv": "id,text_en,text_fr\n" + quoted(ID, EN, FR)}, {}, "is read as a header"),
    "header, other order": (
        {"a.tsv": "French\tEnglish\n" + joined(FR, EN)},
        {},
        "by its name, column 1 .from 0. is the source",
    ),
    "header and translation": ({"a.csv": "text;translation\n" + quoted(EN, FR, by=";")}, {}, "is read as a header"),
    "header above numbers": ({"a.tsv": "nr\tsatz\tphrase\n" + joined(ID, EN, FR)}, {}, "is read as a header"),
    "header of two sentences": ({"a.tsv": "sentence1\tsentence2\n" + joined(EN, FR)}, {}, "is read as a header"),
    "header of a known corpus": (
        {"a.csv": "English words/sentences,French words/sentences\n" + quoted(EN, FR)},
        {},
        "is read as a header",
    ),
    "numbered columns": ({"a.csv": ",0,1\n" + quoted(ID, EN, FR)}, {}, "is read as a header"),
    "an index of pandas": ({"a.csv": ",en,fr\n" + quoted(ID, EN, FR)}, {}, "is read as a header"),
    "CSV": ({"a.csv": quoted(EN, FR)}, {}, None),
    "CSV, semicolons": ({"a.csv": quoted(EN, FR, by=";")}, {}, None),
    "CSV, tabs": ({"a.csv": joined(EN, FR)}, {}, None),
    "CSV of Excel": ({"a.csv": "sep=;\n" + quoted(EN, FR, by=";")}, {}, None),
    "CSV, CRLF and a mark": ({"a.csv": "\ufeff" + quoted(EN, FR).replace("\n", "\r\n")}, {}, None),
    "quoted TSV": ({"a.tsv": quoted(EN, FR, by="\t")}, {}, None),
    "JSON lines": ({"a.jsonl": lines({"en": a, "fr": b, "id": 3} for a, b in PAIRS)}, {}, None),
    "JSON lines, nested": (
        {"a.jsonl": lines({"id": 7, "translation": {"en": a, "fr": b}} for a, b in PAIRS)},
        {},
        None,
    ),
    "JSON lines, source": (
        {"a.jsonl": lines({"source_lang": "en", "source": a, "target": b} for a, b in PAIRS)},
        {},
        None,
    ),
    "JSON lines, codes": ({"a.ndjson": lines({"fra": b, "eng": a} for a, b in PAIRS)}, {}, "by its name"),
    "JSON lines, keys": (
        {"a.jsonl": lines({"q": {"s": a}, "z": b, "n": 1} for a, b in PAIRS)},
        {"source_column": "q.s", "target_column": "z"},
        None,
    ),
    "JSON lines, as text": ({"a.txt": lines({"en": a, "fr": b} for a, b in PAIRS)}, {}, None),
    "JSON": ({"a.json": json.dumps([{"en": a, "fr": b} for a, b in PAIRS])}, {}, None),
    "JSON with a list, packed": (
        {"a.json.bz2": bz2.compress(json.dumps({"data": [{"en": a, "fr": b} for a, b in PAIRS]}, indent=1).encode())},
        {},
        None,
    ),
    "JSON with a list": ({"a.json": json.dumps({"data": [{"en": a, "fr": b} for a, b in PAIRS]}, indent=1)}, {}, None),
    "two files": ({"a.en": LINES(EN), "a.fr": LINES(FR)}, {"path": ["a.en", "a.fr"]}, None),
    "two files of any name": ({"x.txt": LINES(EN), "y.txt": LINES(FR)}, {"path": ["x.txt", "y.txt"]}, None),
    "two files, CR": ({"a.en": "\r".join(EN), "a.fr": "\r\n".join(FR)}, {"path": "a.{language}"}, None),
    "empty lines at an end": ({"a.en": LINES(EN) + "\n\n\n", "a.fr": LINES(FR)}, {"path": "a.{language}"}, None),
    "three letters": ({"a.eng": LINES(EN), "a.fra": LINES(FR)}, {"path": "a.{language}"}, None),
    "three letters in settings": (
        {"a.en": LINES(EN), "a.fr": LINES(FR)},
        {"path": "a.{language}", "from_language": "eng", "to_language": "fre"},
        None,
    ),
    "several tables": (
        {"a.tsv": joined(EN[:50], FR[:50]), "b.csv": quoted(EN[50:], FR[50:])},
        {"path": ["a.tsv", "b.csv"]},
        None,
    ),
    "TMX": ({"a.tmx": tmx("en-GB", "fr")}, {}, None),
    "TMX, three letters": ({"a.tmx": tmx("eng", "FRA")}, {}, None),
    "a mark": ({"a.tsv": "\ufeff" + joined(EN, FR)}, {}, None),
    "UTF-16": ({"a.tsv": joined(EN, FR).encode("utf-16")}, {}, None),
    "UTF-16 without a mark": (
        {"a.tsv": joined(EN, FR).encode("utf-16-be")},
        {},
        "looks like UTF-16, so it is read as utf-16-be",
    ),
    "latin-1": ({"a.tsv": joined(EN, FR).encode("latin-1")}, {"encoding": "latin-1"}, None),
    "NULs": ({"a.tsv": joined(EN, FR).replace(" ", " \0", 2)}, {}, r"2 NUL characters"),
    "gzip": ({"a.tsv.gz": gzip.compress(joined(EN, FR).encode())}, {}, None),
    "entities": ({"a.tsv": joined(EN, FR).replace("'", "&#39;")}, {}, "HTML entities.* in 100 of 100 pairs"),
    "entities, twice": ({"a.tsv": joined(EN, FR).replace("'", "&amp;apos;")}, {}, "HTML entities"),
}


def source(folder, files, data):
    """Load what the files hold, as a config says it."""
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return build(load_config(CONFIG, [as_set(folder, files, data)]).data, TASK.sources, "source")


def as_set(folder, files, data):
    usual = {
        "source": "files",
        "from_language": "en",
        "to_language": "fr",
        "root": str(folder),
        "path": next(iter(files)),
    }
    return "data=" + json.dumps({**usual, "most_characters": 500, "most_ratio": 3.0, **data})


def rows(found):
    return list(found.examples["all"].itertuples(index=False, name=None))


@pytest.mark.parametrize("name", READ)
def test_it_is_read_like_its_clean_twin(name, tmp_path):
    files, data, warning = READ[name]
    found = source(tmp_path, files, data)
    assert rows(found) == PAIRS
    assert not found.skipped
    if warning is None:
        assert found.warnings == []
    else:
        assert [each for each in found.warnings if re.search(warning, each)], found.warnings
        assert all("\n" not in each and ("a." in each) for each in found.warnings)


ODD = {  # what is read as it stands, with a warning
    "numbers as a source": (
        {"a.tsv": joined(ID, FR)},
        {"most_ratio": 99.0},
        r"column 0 \(from 0\) is read as text, although it contains numbers or ids",
    ),
    "untranslated": ({"a.tsv": joined(EN, EN)}, {}, "100 of 100 pairs with the same text on both sides"),
    "tags": ({"a.tsv": joined([f"<b>{a}</b>" for a in EN], FR)}, {}, "100 of 100 pairs with tags"),
    "damage": ({"a.tsv": joined(EN, [b.replace("é", "\ufffd") for b in FR])}, {}, "pairs with U.FFFD"),
    "misread": ({"a.tsv": joined(EN, FR).replace("é", "Ã©")}, {}, "UTF-8 read as cp1252"),
    "UTF-8 that is called otherwise": (
        {"a.tsv": joined(EN, ["x"] * 99 + ["é"])},
        {"encoding": "cp1252", "most_ratio": 99.0},
        "is also valid UTF-8; check data.encoding: cp1252",
    ),
    "another script": (
        {"a.tsv": joined(EN, FR)},
        {"to_language": "ru"},
        "mostly latin letters, but 'ru' is written in cyr",
    ),
    "the other way round": (
        {"a.tsv": joined([f"{a} кошек" for a in RUSSIAN * 10], EN)},
        {"to_language": "ru"},
        "seem to be swapped",
    ),
    "the other way round, in one script": (
        {"a.tsv": joined([f"les {b} et une des" for b in FR], [f"the {a} of that" for a in EN])},
        {},
        "seem to be swapped",
    ),
    "not aligned": (
        {"a.tsv": joined(["x " * (n % 10 + 1) for n in ID], ["y " * (n // 10 + 1) for n in ID])},
        {"most_ratio": 99.0},
        "check that the lines correspond",
    ),
    "an empty side": ({"a.tsv": joined(EN, ["", *FR[1:]])}, {}, None),
    "names of nothing that is known": (
        {"a.tsv": "frage\tantwort\n" + joined(EN, FR)},
        {},
        "is read as a pair; if it",
    ),
    "columns by number under names": (
        {"a.tsv": "frage\tantwort\n" + joined(EN, FR)},
        {"source_column": 0, "target_column": 1},
        "is read as a pair; if it is a header",
    ),
    "entities that are kept": ({"a.tsv": joined(EN, FR).replace("'", "&#39;")}, {"unescape": False}, None),
    "quotes that are text": ({"a.tsv": joined([f'"{a}" he said' for a in EN], FR)}, {}, None),
}


def test_each_split_may_be_two_files(tmp_path):
    files = {"a.en": LINES(EN), "a.fr": LINES(FR), "b.en": LINES(EN[:5]), "b.fr": LINES(FR[:5])}
    found = source(tmp_path, files, {"path": {"train": ["a.en", "a.fr"], "test": ["b.en", "b.fr"]}})
    read = {split: list(table.itertuples(index=False, name=None)) for split, table in found.examples.items()}
    assert read == {"train": PAIRS, "test": PAIRS[:5]}
    assert not found.warnings


@pytest.mark.parametrize("name", ODD)
def test_it_is_read_as_it_stands_and_said(name, tmp_path):
    files, data, warning = ODD[name]
    found = source(tmp_path, files, data)
    content = next(iter(files.values())).encode().decode(data.get("encoding", "utf-8"))
    expected = [tuple(line.split("\t")) for line in content.splitlines()]
    own = [(a.strip(), b.strip()) for a, b in expected if a and b]
    assert rows(found) == own
    assert len(found.skipped) == len(expected) - len(own)
    assert any(re.search(warning, each) for each in found.warnings) if warning else not found.warnings


REFUSED = {
    "no tab": ({"a.tsv": LINES(EN)}, {}, r"a\.tsv: has no tab between source and target"),
    "one line without a tab": ({"a.tsv": joined(EN, FR) + "alone\n"}, {}, r"a\.tsv:101: has no tab"),
    "one column of texts": (
        {"a.tsv": joined(ID, ["eng"] * 100, EN)},
        {},
        r"source_column.*of 0: numbers or ids, 1: only 'eng'",
    ),
    "fewer lines": (
        {"a.en": LINES(EN), "a.fr": LINES(FR[1:])},
        {"path": "a.{language}"},
        r"a\.fr: has 99 lines, but a.en has 100",
    ),
    "two files, wrong order": (
        {"a.en": LINES(EN), "a.fr": LINES(FR)},
        {"path": ["a.fr", "a.en"]},
        r"data\.path: the order of the files does not match their names .a.fr, a.en",
    ),
    "a ragged CSV": (
        {"a.csv": joined(EN[:9], FR[:9], by=";") + "one;un;deux\n"},
        {},
        r"a\.csv:10: has 3 columns, but most rows have 2",
    ),
    "an open quote": ({"a.csv": quoted(EN, FR) + '"one,un\n'}, {}, r"a\.csv:101: has invalid CSV quotes"),
    "no delimiter": ({"a.csv": LINES(ONES)}, {}, r"a\.csv: has no tab"),
    "no such column": (
        {"a.tsv": joined(EN, FR)},
        {"source_column": 5, "target_column": 1},
        r"data\.source_column: .*no column 5; choose one from 0 to 1",
    ),
    "a misspelt column": (
        {"a.csv": "en,fr\n" + quoted(EN, FR)},
        {"source_column": "en", "target_column": "fra"},
        r"data\.target_column: .*did you mean 'fr'",
    ),
    "half a choice": ({"a.tsv": joined(EN, FR)}, {"source_column": 1}, r"data\.target_column: is missing; set both"),
    "broken JSON": ({"a.jsonl": lines([{"en": "a", "fr": "b"}]) + "{"}, {}, r"a\.jsonl:2: is not valid JSON"),
    "deep JSON": ({"a.json": "[" * 99999}, {}, r"a\.json: is not valid JSON"),
    "no objects": ({"a.jsonl": "[1, 2]\n"}, {}, r"a\.jsonl.* is not a JSON object"),
    "one JSON object": ({"a.json": '{"hello": "bonjour"}'}, {}, r"a\.json: is a single JSON object"),
    "keys of neither": (
        {"a.jsonl": lines({"q": a, "z": b, "n": "c"} for a, b in PAIRS)},
        {},
        r"a\.jsonl: has more than two columns.*q, z, n",
    ),
    "latin-1": (
        {"a.tsv": joined(EN, FR).encode("latin-1")},
        {},
        r"a\.tsv:1: byte 0xe9 .* not valid UTF-8; set data.encoding",
    ),
    "no such encoding": (
        {"a.tsv": joined(EN, FR)},
        {"encoding": "utf-99"},
        r"data\.encoding.*encoding that Python knows",
    ),
    "an encoding that is none": (
        {"a.tsv": joined(EN, FR)},
        {"encoding": "rot13"},
        r"data\.encoding.*encoding that Python knows",
    ),
    "Excel": ({"a.xlsx": zipped("x")}, {}, r"a\.xlsx: is an Office file; save it as plain text or CSV"),
    "Excel that is called CSV": ({"a.csv": zipped("x")}, {}, r"a\.csv: is an Office file"),
    "PDF": ({"a.tsv": b"%PDF-1.7\n\0\1"}, {}, r"a\.tsv: is a PDF"),
    "Parquet": ({"a.parquet": b"PAR1\x15\x04"}, {}, r"a\.parquet: is a Parquet file; convert it"),
    "binary data": ({"a.tsv": bytes(range(32)) * 99}, {}, r"a\.tsv: is binary data"),
    "gzip of another name": (
        {"a.tsv": gzip.compress(b"a\tb\n")},
        {},
        r"a\.tsv: is compressed with gzip; rename it to end",
    ),
    "gzip that is none": ({"a.tsv.gz": b"a\tb\n"}, {}, r"a\.tsv\.gz: cannot be read"),
    "no tabs in a text": ({"a.txt": LINES(EN)}, {}, r"a\.txt: is not a supported format \(\.tsv, .* and has no tabs"),
    "two tables as lines": (
        {"a.txt": joined(EN, FR), "b.txt": joined(EN, FR)},
        {"path": ["a.txt", "b.txt"]},
        r"a\.txt: has tabs in most lines",
    ),
    "XLIFF": ({"a.xlf": '<?xml version="1.0"?><xliff>\t</xliff>'}, {}, r"a\.xlf: is XML or HTML"),
    "one column twice": ({"a.tsv": joined(EN, FR)}, {"source_column": 1, "target_column": -1}, r"data\.target_column"),
    "lists in JSON": ({"a.jsonl": lines([{"en": "a", "fr": ["b"]}])}, {}, r"a\.jsonl:1: contains a list .*\[\"b\"\]"),
    "no object in JSON": ({"a.json": "[]"}, {}, r"a\.json: has fewer than two text columns: none"),
    "UTF-8 that is called UTF-16": ({"a.tsv": joined(EN, FR)}, {"encoding": "utf-16"}, r"a\.tsv: is UTF-8, not utf-16"),
    "an encoding of names": (
        {"a.tsv": joined(EN, FR)},
        {"encoding": "punycode"},
        r"data\.encoding.*that Python knows",
    ),
    "a name that no file has": ({"a.tsv": joined(EN, FR)}, {"path": "a\0.tsv"}, r"cannot be read .embedded null byte"),
    "SGML": ({"a.en": "<srcset>\n", "a.fr": "<refset>\n"}, {"path": "a.{language}"}, r"a\.en: is XML or HTML"),
    "broken TMX": ({"a.tmx": "<tmx><tu>"}, {}, r"a\.tmx: cannot be read as TMX"),
    "a TMX without the language": ({"a.tmx": tmx("en", "de")}, {}, r"a\.tmx: contains no text in 'fr', only in de, en"),
    "nothing": ({"a.tsv": ""}, {}, r"a\.tsv: has no tab|a\.tsv: contains no usable text pairs"),
    "nothing but blanks": ({"a.tsv": " \t \n" * 9}, {}, r"a\.tsv: contains no usable text pairs"),
    "no file": ({"a.tsv": joined(EN, FR)}, {"path": "b.tsv"}, r"b\.tsv: cannot be read \(No such file"),
    "no train": ({"a.tsv": joined(EN, FR)}, {"path": {"test": "a.tsv"}}, r"data\.path: has no entry `train`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line(name, tmp_path):
    files, data, problem = REFUSED[name]
    for file, content in files.items():
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = invoke("train", CONFIG, "--set", as_set(tmp_path, files, data), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1, result.output
    *_, error = result.stderr.splitlines()  # the summary of the data may stand before it
    assert error.startswith("error: ") and re.search(problem, error), error
    assert result.stderr.count("error: ") == 1 and "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    header=st.booleans(),
    packed=st.sampled_from(["", ".gz"]),
    pairs=st.lists(
        st.tuples(*[st.text("ab,;|\"' é你\t", min_size=1, max_size=12).filter(lambda text: text.strip())] * 2),
        min_size=3,
        max_size=8,
    ),
)
def test_any_quoted_table_is_read_as_it_was_written(tmp_path, delimiter, encoding, end, header, packed, pairs):
    def row(cells):
        return delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells) + end

    content = "".join(map(row, [("en", "fr"), *pairs] if header else pairs)).encode(encoding)
    content = gzip.compress(content) if packed else content
    found = source(tmp_path, {f"a.csv{packed}": content}, {"most_ratio": 99.0})
    assert rows(found) == [(a.strip(), b.strip()) for a, b in pairs]
    assert any("is read as a header" in each for each in found.warnings) == header


def test_languages_have_their_codes_where_babel_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "babel", None)
    monkeypatch.setitem(sys.modules, "babel.core", None)
    languages.names.cache_clear(), languages.codes.cache_clear(), languages._aliases.cache_clear()
    try:
        assert languages.names("pt-BR") == {"pt-br", "pt_br", "pt"}
    finally:
        monkeypatch.undo()
        languages.names.cache_clear(), languages.codes.cache_clear(), languages._aliases.cache_clear()
    assert "portuguese" in languages.names("pt-BR")
