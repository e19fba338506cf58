"""Odd and wrong files of tagged sentences: read as their clean twin, with a warning where it matters, or refused."""

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from conftest import invoke, sets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import TRACED_ONCE

from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.data import Source
from pipelines.tasks.entity_tagger.sources import TOKEN_PATTERN, files

CONFIG = Path(__file__).parents[2] / "configs" / "entity_tagger.yaml"
Tagged = list[tuple[str, str]]  # a sentence: tokens and their tags

CLEAN: list[Tagged] = [
    [("Ann", "B-PER"), ("Lee", "I-PER"), ("lives", "O"), ("in", "O"), ("Oslo", "B-LOC"), (".", "O")],
    [("The", "O"), ("UN", "B-ORG"), ("met", "O"), (",", "O"), ("Bob", "B-PER"), ("said", "O"), (".", "O")],
    [("In", "O"), ("New", "B-LOC"), ("York", "I-LOC"), ("City", "I-LOC"), ("it", "O"), ("rained", "O"), (".", "O")],
]
TEXTS = [" ".join(token for token, _ in sentence) for sentence in CLEAN]
NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG"]


def lines(sentences: Iterable[Tagged], tab: str = "\t", tag: Callable[[str], str] = str) -> str:
    return "\n".join("".join(f"{token}{tab}{tag(name)}\n" for token, name in sentence) for sentence in sentences)


def columns(row: Callable[[int, str, str], str], before: str = "") -> str:
    """Write the clean sentences, each token's line as `row` gives it from its place, from 0, the token and the tag."""
    blocks = [[row(at, token, tag) for at, (token, tag) in enumerate(sentence)] for sentence in CLEAN]
    return "\n".join(before + "".join(f"{line}\n" for line in block) for block in blocks)


def in_scheme(sentence: Tagged, letters: str) -> Tagged:
    """Write BIO with other letters: of an entity's first token, inner tokens, last one, and where it has but one."""
    begin, inside, end, single = letters
    after = [*(tag for _, tag in sentence[1:]), "O"]
    result = []
    for (token, tag), following in zip(sentence, after, strict=True):
        goes_on = following.startswith("I-")
        first, other = (begin, inside) if goes_on else (single, end)
        result.append((token, tag if tag == "O" else f"{first if tag[0] == 'B' else other}{tag[1:]}"))
    return result


def scheme(letters: str) -> str:
    return lines(in_scheme(sentence, letters) for sentence in CLEAN)


def outside(sign: str) -> str:
    return lines(CLEAN, tag=lambda tag: sign if tag == "O" else tag)


def kaggle(sign: str, first_only: bool, header: str = "Sentence #,Word,POS,Tag") -> str:
    rows = [header.replace(",", sign)]
    for number, sentence in enumerate(CLEAN, start=1):
        for at, (token, tag) in enumerate(sentence):
            shown = f'"{token}"' if token == sign else token
            rows.append(sign.join([f"Sentence: {number}" if not at or not first_only else "", shown, "X", tag]))
    return "\n".join(rows)


def conll_u(misc: str = "NER") -> str:
    text = columns(
        lambda at, token, tag: f"{at + 1}\t{token}\t_\tX\t_\t_\t0\troot\t_\tSpaceAfter=No|{misc}={tag}", "# id = 1\n"
    )
    ranges = "1-2\tAnnLee\t_\t_\t_\t_\t_\t_\t_\t_\n"
    return text.replace("1\tAnn", f"{ranges}1\tAnn").replace("3\tlives", "2.1\tand\t_\t_\t_\t_\t_\t_\t_\t_\n3\tlives")


def zipped(name: str, content: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def spans(sentence: Tagged) -> list[list]:
    found, at = [], 0
    for token, tag in sentence:
        if tag.startswith("B"):
            found.append([at, at + len(token), tag[2:]])
        elif tag.startswith("I"):
            found[-1][1] = at + len(token)
        at += len(token) + 1
    return found


def records(record: Callable[[str, Tagged], object], more: str = "") -> str:
    """Write the clean sentences as JSON lines."""
    return "".join(json.dumps(record(*each)) + "\n" for each in zip(TEXTS, CLEAN, strict=True)) + more


def objects(sentence: Tagged, start: str = "start", end: str = "end") -> list[dict]:
    return [{start: first, end: last, "label": kind} for first, last, kind in spans(sentence)]


def own_tokens(sentence: Tagged) -> list[dict]:
    starts = [sum(len(token) + 1 for token, _ in sentence[:at]) for at in range(len(sentence))]
    each = zip(sentence, starts, strict=True)
    return [{"text": token, "start": start, "end": start + len(token)} for (token, _), start in each]


def read(folder: Path, name: str, content: str | bytes, **data) -> Source:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return files(
        **{"root": str(folder), "path": name, "tag_column": -1, "scheme": "detect", "bad_tags": "error", **data}
    )


def sentences(source: Source) -> list[Tagged]:
    return [list(zip(*row, strict=True)) for row in source.examples["all"][["tokens", "tags"]].to_numpy()]


READ = {  # what is odd -> file, content, settings, what a warning says: read as the clean sentences
    "nothing": ("a.conll", lines(CLEAN), {}, None),
    "the tag first": ("a.conll", columns(lambda _, token, tag: f"{tag}\t{token}"), {"tag_column": 0}, "from column 1"),
    "the tag first, both named": (
        "a.conll",
        columns(lambda _, token, tag: f"{tag} {token}"),
        {"tag_column": 0, "token_column": 1},
        None,
    ),
    "an index first": ("a.conll", columns(lambda at, token, tag: f"{at}\t{token}\t{tag}"), {}, "from column 1"),
    "times first": ("a.conll", columns(lambda at, token, tag: f"{at}.5\t{token}\t{tag}"), {}, "from column 1"),
    "an index last": ("a.tsv", columns(lambda at, token, tag: f"{token}\t{tag}\t{at}"), {"tag_column": 1}, None),
    "a header": ("a.tsv", "token\ttag\n" + lines(CLEAN), {}, "taken from line 1: token, tag"),
    "a header of other words": ("a.tsv", "Wort\tMarke\n" + lines(CLEAN), {}, "taken from line 1: Wort, Marke"),
    "columns named in the config": (
        "a.tsv",
        columns(lambda at, token, tag: f"{tag}\tx\t{token}").join(["Marke\tZahl\tWort\n", ""]),
        {"token_column": "Wort", "tag_column": "Marke"},
        "taken from line 1",
    ),
    "a header that stands again": (
        "a.tsv",
        "token\ttag\n" + lines(CLEAN[:2]) + "\ntoken\ttag\n" + lines(CLEAN[2:]),
        {},
        "skipped the repeated header in line",
    ),
    "Kaggle's CSV": ("a.csv", kaggle(",", first_only=True), {}, "Sentence #, Word, POS, Tag"),
    "Kaggle's CSV, every row numbered": ("a.csv", kaggle(",", first_only=False), {}, "Sentence #"),
    "Kaggle's CSV by another ending": ("a.txt", kaggle(",", first_only=False), {}, "Sentence #"),
    "Kaggle's CSV with semicolons": ("a.csv", kaggle(";", first_only=True), {}, "Sentence #"),
    "a sentence number by another name": (
        "a.csv",
        kaggle(",", first_only=False, header="Nr,Word,POS,Tag"),
        {"sentence_column": "Nr"},
        "Nr",
    ),
    "Excel's own word for the delimiter": (
        "a.csv",
        "sep=|\nword|tag\n" + columns(lambda _, token, tag: f"{token}|{tag}"),
        {},
        "taken from line 2: word, tag",
    ),
    "CSV without a header": ("a.csv", columns(lambda _, token, tag: f'"{token}",{tag}'), {}, None),
    "CSV by another ending": ("a.txt", columns(lambda _, token, tag: f'"{token}",{tag}'), {}, None),
    "a sentence in each row": (
        "a.csv",
        "text,labels\n"
        + "".join(f'"{text}",{" ".join(tag for _, tag in each)}\n' for text, each in zip(TEXTS, CLEAN, strict=True)),
        {},
        "text, labels",
    ),
    "a list in each cell": (
        "a.csv",
        "Sentence #,Sentence,POS,Tag\n"
        + "".join(f'1,"{text}","[]","{[t for _, t in each]}"\n' for text, each in zip(TEXTS, CLEAN, strict=True)),
        {},
        "Sentence #, Sentence, POS, Tag",
    ),
    "CoNLL-U": ("a.conllu", conll_u(), {}, "CoNLL-U"),
    "CoNLL-U, another key": ("a.conllu", conll_u("Named"), {"tag_column": "Named"}, "CoNLL-U"),
    "CoNLL-U Plus": (
        "a.conllup",
        "# global.columns = ID FORM NER\n" + columns(lambda at, token, tag: f"{at + 1}\t{token}\t{tag}", "# id = 1\n"),
        {},
        "taken from a comment: ID, FORM, NER",
    ),
    "comment lines": (
        "a.tsv",
        columns(lambda _, token, tag: f"{token}\t{tag}", "# source: x\n"),
        {},
        "3 comment lines",
    ),
    "inner tags in another column": (
        "a.tsv",
        columns(lambda _, token, tag: f"{token}\t{tag}\t{'B-LOC' if token == 'York' else 'O'}"),
        {"tag_column": 1},
        None,
    ),
    "BIOES": ("a.conll", scheme("BIES"), {}, None),
    "BILOU": ("a.conll", scheme("BILU"), {}, "'L-LOC' as 'E-LOC'"),
    "BMES": ("a.conll", scheme("BMES"), {}, "'M-LOC' as 'I-LOC'"),
    "IOE2": ("a.conll", scheme("IIEE"), {}, None),
    "IO": ("a.conll", scheme("IIII"), {}, None),
    "plain types": ("a.conll", lines(CLEAN, tag=lambda tag: tag.split("-")[-1]), {}, "no prefix"),
    "an underscore": ("a.conll", lines(CLEAN, tag=lambda tag: tag.replace("-", "_")), {}, "'B_LOC' as 'B-LOC'"),
    "the letter last": (
        "a.conll",
        lines(CLEAN, tag=lambda tag: "-".join(tag.split("-")[::-1])),
        {},
        "'LOC-B' as 'B-LOC'",
    ),
    "a small letter": ("a.conll", lines(CLEAN, tag=lambda tag: tag[0].lower() + tag[1:]), {}, "'b-LOC' as 'B-LOC'"),
    "numbers with names": (
        "a.conll",
        lines(CLEAN, tag=lambda tag: str(NAMES.index(tag))),
        {"tag_names": NAMES},
        None,
    ),
    **{
        f"{sign!r} for O": ("a.conll", outside(sign), {}, f"'{sign}' as 'O'")
        for sign in ("o", "0", "-", "_", "", "OUT")
    },
    "Other for O, plain types": (
        "a.conll",
        lines(CLEAN, tag=lambda tag: "Other" if tag == "O" else tag[2:]),
        {},
        "'Other' as 'O'",
    ),
    "a byte order mark": ("a.conll", "\ufeff" + lines(CLEAN), {}, None),
    "UTF-16": ("a.conll", lines(CLEAN).encode("utf-16"), {}, None),
    "UTF-16 without a mark": ("a.conll", lines(CLEAN).encode("utf-16-le"), {}, "read as utf-16-le"),
    "NULs": ("a.conll", lines(CLEAN).replace("Oslo", "Os\0lo"), {}, "1 NUL character"),
    "CRLF, twice": ("a.conll", lines(CLEAN).replace("\n", "\r\r\n"), {}, None),
    "CR in places": ("a.conll", lines(CLEAN).replace("O\n", "O\r", 2), {}, None),
    "CR": ("a.conll", lines(CLEAN).replace("\n", "\r"), {}, None),
    "blanks and tabs at line ends": ("a.conll", lines(CLEAN).replace("\n", " \t\n"), {}, None),
    "many blank lines": ("a.conll", "\n\n" + lines(CLEAN).replace("\n\n", "\n\n \n\u00a0\n\n") + "\n\n", {}, None),
    "no end of the last line": ("a.conll", lines(CLEAN).rstrip("\n"), {}, None),
    "tokens of blanks": ("a.conll", lines(CLEAN).replace("The\t", "\u00a0\tO\nThe\t"), {}, "1 line without a token"),
    "bzip2": ("a.conll.bz2", bz2.compress(lines(CLEAN).encode()), {}, None),
    "a zip of one file": ("a.zip", zipped("a.conll", lines(CLEAN)), {}, None),
    "gzip": ("a.conll.gz", gzip.compress(lines(CLEAN).encode()), {}, None),
    "spaCy": ("a.jsonl", records(lambda text, each: {"text": text, "entities": spans(each)}), {}, None),
    "spaCy 2": (
        "a.json",
        json.dumps([[text, {"entities": spans(each)}] for text, each in zip(TEXTS, CLEAN, strict=True)]),
        {},
        None,
    ),
    "JSON lines by another ending": (
        "a.txt",
        records(lambda text, each: {"text": text, "entities": spans(each)}),
        {},
        None,
    ),
    "Prodigy": (
        "a.jsonl",
        records(
            lambda text, each: {"text": text, "spans": objects(each), "tokens": own_tokens(each), "answer": "accept"},
            more='{"text": "no", "spans": [], "answer": "reject"}\n',
        ),
        {},
        None,
    ),
    "doccano": ("a.jsonl", records(lambda text, each: {"id": 1, "text": text, "label": spans(each)}), {}, None),
    "doccano with relations": (
        "a.jsonl",
        records(lambda text, each: {"text": text, "entities": objects(each, "start_offset", "end_offset")}),
        {},
        None,
    ),
    "Hugging Face": (
        "a.json",
        records(lambda text, each: {"tokens": text.split(), "ner_tags": [tag for _, tag in each]}),
        {},
        None,
    ),
    "Hugging Face, numbers with names": (
        "a.jsonl",
        records(lambda text, each: {"tokens": text.split(), "ner_tags": [NAMES.index(tag) for _, tag in each]}),
        {"tag_names": NAMES},
        None,
    ),
    "an entity twice, with blanks around it": (
        "a.jsonl",
        records(
            lambda text, each: {"text": f" {text} ", "entities": 2 * [[a, b + 2, kind] for a, b, kind in spans(each)]}
        ),
        {},
        None,
    ),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_odd_is_read_as_its_clean_twin(case, tmp_path):
    name, content, data, warning = READ[case]
    source = read(tmp_path, name, content, **data)
    assert sentences(source) == CLEAN
    said = "\n".join(source.warnings)
    assert warning in said if warning else "plainly" not in said
    assert sorted(source.columns.values())[-1].startswith(("tokens", "texts"))


REFUSED = {  # what is wrong -> file, content, settings, where, what the line says
    "the tag first": (
        "a.conll",
        columns(lambda _, token, tag: f"{tag}\t{token}"),
        {},
        "a.conll:1: the tags are read from column 1, which",
        "set data.tag_column to 0",
    ),
    "the token's column is the tag's": (
        "a.conll",
        columns(lambda _, token, tag: f"{tag}\t{token}"),
        {"tag_column": 0, "token_column": 0},
        "a.conll:1: data.token_column and data.tag_column are the same column",
        "set data.token_column to 1",
    ),
    "the token's column is an index": (
        "a.conll",
        columns(lambda at, token, tag: f"{at}\t{token}\t{tag}"),
        {"token_column": 0},
        "a.conll:1: the tokens are read from column 0, which contains only numbers",
        "set data.token_column to 1",
    ),
    "an index and no token": ("a.conll", columns(lambda at, _, tag: f"{at}\t{tag}"), {}, "a.conll:1", "only numbers"),
    "tokens left out": ("a.conll", columns(lambda at, _, tag: f"_\t{tag}"), {}, "a.conll:1", "'_' in every line"),
    "tags in both columns": ("a.conll", columns(lambda _, __, tag: f"{tag}\t{tag}"), {}, "a.conll:1", "contains tags"),
    "another column last": (
        "a.csv",
        "Word,Tag,POS\n" + columns(lambda at, token, tag: f'"{token}",{tag},{"NN" if at else "DT"}'),
        {},
        "a.csv:2: the tags are read from POS, which contains DT, NN",
        "set data.tag_column to Tag",
    ),
    "parts of speech": ("a.conll", columns(lambda at, token, _: f"{token}\tX{at}"), {}, "a.conll:1", "only 0% of the"),
    "a name that no header has": ("a.tsv", "token\ttag\n" + lines(CLEAN), {"tag_column": "tga"}, "a.tsv:2", "'tag'?"),
    "a name and no header": (
        "a.conll",
        lines(CLEAN),
        {"token_column": "word"},
        "a.conll:1",
        "there is no header with the column",
    ),
    "a column too far": (
        "a.conll",
        lines(CLEAN),
        {"tag_column": 7},
        "a.conll:1",
        "has 2 columns, but data.tag_column is 7",
    ),
    "CoNLL-U without tags": ("a.conllu", conll_u("Ref"), {}, "a.conllu:2", "the keys Ref, SpaceAfter"),
    "a line without a tag": ("a.conll", lines(CLEAN) + "\nAnn\n", {}, "a.conll:24", "1 column, but most lines have 2"),
    "a token with a blank": ("a.conll", lines(CLEAN, " ") + "New York O\n", {}, "a.conll:23", "3 columns, but most"),
    "blanks that do not break": ("a.conll", lines(CLEAN, "\u00a0"), {}, "a.conll:1", "non-breaking"),
    "a quote that is left open": (
        "a.csv",
        'Word,Tag\n",O\nAnn,B-PER\nx",O\n',
        {},
        "a.csv:2",
        "the quotation mark opened on this line",
    ),
    "a tag without a token": ("a.conll", lines(CLEAN) + "\n\tB-PER\n", {}, "a.conll:24", "but no token"),
    "numbers for tags": (
        "a.conll",
        lines(CLEAN, tag=lambda tag: str(NAMES.index(tag))),
        {},
        "data.tag_names",
        "O, B-PER",
    ),
    "too few names": (
        "a.conll",
        lines(CLEAN, tag=lambda tag: str(NAMES.index(tag))),
        {"tag_names": NAMES[:3]},
        "data.tag_names",
        "but not for 3",
    ),
    "names for texts": (
        "a.conll",
        lines(CLEAN),
        {"tag_names": NAMES},
        "data.tag_names",
        "is only for tags that are numbers",
    ),
    "brackets": (
        "a.conll",
        lines(CLEAN, tag=lambda tag: "*" if tag == "O" else f"({tag[2:]}*)"),
        {},
        "a.conll:1",
        "as in CoNLL-2012",
    ),
    "several tags in a cell": (
        "a.conll",
        lines(CLEAN, tag=lambda tag: "B-LOC|B-ORG" if tag == "B-LOC" else tag),
        {},
        "a.conll:5: 'B-LOC|B-ORG' contains several tags",
        "nested entities are not supported",
    ),
    "prefixes and none": (
        "a.conll",
        lines(CLEAN) + "\n" + lines(CLEAN, tag=lambda tag: tag if tag == "O" else "TOOL"),
        {},
        "a.conll:24",
        "their meaning is ambiguous",
    ),
    "two words for O": (
        "a.conll",
        lines(CLEAN, tag=lambda tag: "None" if tag == "O" else tag).replace("lives\tNone", "lives\tOther"),
        {},
        "a.conll:4",
        "the tags 'None' and 'Other'",
    ),
    "an illegal tag": (
        "a.conll",
        lines(CLEAN) + "\nAnn\tI-PER\n",
        {},
        "a.conll:24: 'I-PER' after 'O'",
        "bad_tags: repair",
    ),
    "no entity": ("a.conll", lines(CLEAN, tag=lambda _: "O"), {}, "data: all tags are O", "tag_column"),
    "no blank line": (
        "a.conll",
        20 * lines(CLEAN).replace("\n\n", "\n"),
        {},
        "a.conll: contains a single sentence",
        "blank line",
    ),
    "latin-1": (
        "a.conll",
        "é\tO\n\nJosé\tB-PER\n".encode("latin-1"),
        {},
        "a.conll:1: byte 0xe9",
        "set data.encoding",
    ),
    "no such encoding": (
        "a.conll",
        lines(CLEAN),
        {"encoding": "utf8000"},
        "data.encoding",
        "not 'utf8000'",
    ),
    "a codec that is no text": (
        "a.conll",
        lines(CLEAN),
        {"encoding": "hex"},
        "data.encoding",
        "not 'hex'",
    ),
    "Excel": (
        "a.xlsx",
        b"PK\x03\x04\x14\x00[Content_Types].xml",
        {},
        "a.xlsx: is an Office file",
        "save it as plain text or CSV",
    ),
    "a PDF": ("a.pdf", b"%PDF-1.4", {}, "a.pdf: is a PDF file", "extract its text first"),
    "gzip by another ending": ("a.conll", gzip.compress(b"x"), {}, "a.conll: is compressed with gzip", "end in .gz"),
    "no archive": ("a.conll.gz", b"x\tO\n", {}, "a.conll.gz: cannot be read", ""),
    "one long line": ("a.conll", 200_000 * "x", {}, "a.conll:1: has 1 column, but no tag", "write a token and its tag"),
    "nothing": ("a.conll", "\n \n", {}, "a.conll: contains no sentences", ""),
    "a header alone": ("a.tsv", "token\ttag\n", {}, "a.tsv: contains a header but no sentences", ""),
    "no such file": ("a.conll", "", {"path": "b.conll"}, "b.conll: cannot be read (No such file", ""),
    "no file": ("a.conll", "", {"path": []}, "data.path: contains no file", ""),
    "a pattern without a match": ("a.conll", "", {"path": "*.jsonl"}, "*.jsonl: no file matches this pattern", ""),
    "a folder without a known file": ("a.xyz", "", {"path": "."}, "contains no file with a known suffix", ".conll"),
    "JSON that ends": ("a.json", '[{"tokens": ["a"]', {}, "a.json:1: is not valid JSON", ""),
    "a line that is no JSON": (
        "a.jsonl",
        records(lambda t, s: {"text": t, "entities": spans(s)}, "{x\n"),
        {},
        "a.jsonl:4",
        "is not valid JSON",
    ),
    "JSON too deep": ("a.json", "[" * 100_000, {}, "a.json: is not valid JSON (nested too deeply)", ""),
    "keys that are not known": (
        "a.jsonl",
        '{"satz": "x"}\n{"satz": "y"}\n',
        {},
        "a.jsonl:1: cannot be read from the keys satz",
        "ner_tags",
    ),
    "a record that is no object": (
        "a.jsonl",
        '{"text": "x", "entities": []}\n7\n',
        {},
        "a.jsonl:2",
        "is not a JSON object",
    ),
    "numbers as Hugging Face has them": (
        "a.jsonl",
        records(lambda text, each: {"tokens": text.split(), "ner_tags": [NAMES.index(tag) for _, tag in each]}),
        {},
        "data.tag_names",
        "set their names, counted from 0",
    ),
    "fewer tags than tokens": (
        "a.json",
        '[{"tokens": ["a", "b"], "tags": ["O"]}]',
        {},
        "a.json, record 1",
        "2 tokens, but 1",
    ),
    "an entity beyond the text": (
        "a.jsonl",
        '{"text": "x", "entities": [[0, 9, "PER"]]}',
        {},
        "record 1, entities",
        "entity offsets 0 to 9 are outside the text (1 character)",
    ),
    "an entity that ends before it starts": (
        "a.jsonl",
        '{"text": "abc", "entities": [[2, 1, "PER"]]}',
        {},
        "record 1, entities",
        "entity offsets 2 to 1 contain no character",
    ),
    "a type that is a number": (
        "a.jsonl",
        '{"text": "x", "label": [[0, 1, 3]]}',
        {},
        "record 1, label",
        "a text as type",
    ),
    "offsets of bytes": (
        "a.jsonl",
        '{"text": "é Ann", "entities": [{"start": 2, "end": 4, "label": "PER", "text": "Ann"}]}',
        {},
        "record 1, entities: 'Ann' should be at",
        "count characters",
    ),
    "an entity that cuts a token": (
        "a.jsonl",
        records(lambda t, s: {"text": t, "entities": spans(s)}, '{"text": "Oslo-based", "entities": [[0, 4, "LOC"]]}'),
        {},
        "a.jsonl:4: 'Oslo' (LOC, 0 to 4) splits the token 'Oslo-based'",
        "bad_tags: repair",
    ),
    "entities that overlap": (
        "a.jsonl",
        records(
            lambda t, s: {"text": t, "entities": spans(s)}, '{"text": "a b", "entities": [[0, 3, "A"], [2, 3, "B"]]}'
        ),
        {},
        "a.jsonl:4: 'b' (B, 2 to 3) overlaps",
        "bad_tags: repair",
    ),
    "half a character": ("a.jsonl", '{"text": "\\ud83d", "entities": []}', {}, "record 1", "surrogate"),
    "a pattern that is none": ("a.jsonl", "", {"token_pattern": "("}, "data.token_pattern", "RE2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_in_one_line_with_its_place(case, tmp_path):
    name, content, data, where, said = REFUSED[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    section = {"source": "files", "root": str(tmp_path), "path": name, "tag_column": -1, "scheme": "detect"}
    section = json.dumps({**section, "bad_tags": "error", **data})
    result = invoke("train", CONFIG, *sets([f"data={section}"]), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and "Traceback" not in result.output
    (line,) = result.stderr.strip().splitlines()
    assert where in line and said in line
    assert not (tmp_path / "run").exists()


def test_repair_keeps_what_it_can_and_says_what_it_changed(tmp_path):
    content = lines(CLEAN) + "\nAnn\tPER\nLee\tI-PER\nx\tB\ny\tS-LOC\n"
    source = read(tmp_path, "a.conll", content, bad_tags="repair")
    assert [tag for _, tag in sentences(source)[3]] == ["B-PER", "I-PER", "O", "B-LOC"]
    (warning,) = source.warnings
    assert warning.startswith("3 tags repaired, the first") and "a.conll:24: 'PER'" in warning
    assert warning.endswith("; 1 of them could not be kept as entities")
    assert source.origin["repaired"]["count"] == 3


def test_repair_widens_entities_and_keeps_the_longest(tmp_path):
    odd = {"text": "New York Times in Oslo-based hands", "entities": [[0, 8, "LOC"], [0, 14, "ORG"], [18, 22, "LOC"]]}
    source = read(tmp_path, "a.jsonl", json.dumps(odd), bad_tags="repair")
    assert [tag for _, tag in sentences(source)[0]] == ["B-ORG", "I-ORG", "I-ORG", "O", "B-LOC", "O"]
    (warning,) = source.warnings
    assert "2 tags repaired" in warning and "1 of them could not be kept" in warning


def test_skipped_sentences_are_counted(tmp_path):
    content = lines(CLEAN) + "\nAnn\tI-PER\nLee\tI-LOC\n"
    source = read(tmp_path, "a.conll", content, bad_tags="skip")
    assert sentences(source) == CLEAN and len(source.skipped) == 1
    assert source.skipped[0]["place"].endswith("a.conll:24")


def test_sentences_too_long_or_of_one_token_are_said(tmp_path):
    long = read(tmp_path, "a.conll", lines(CLEAN) + "\n" + 20 * lines(CLEAN).replace("\n\n", "\n"))
    assert "1 of 4 sentences with more than 300 tokens, up to 400" in long.warnings[0]
    short = read(tmp_path, "b.conll", lines(CLEAN).replace("\n", "\n\n"), bad_tags="repair")
    assert any("20 of 20 sentences have only one token" in warning for warning in short.warnings)


def test_types_that_differ_in_case_are_said(tmp_path):
    source = read(tmp_path, "a.conll", lines(CLEAN) + "\nEve\tB-per\n")
    assert any("differ only in case" in warning and "PER, per" in warning for warning in source.warnings)


def test_more_tags_in_another_column_are_said(tmp_path):
    content = columns(lambda _, token, tag: f"{token}\t{tag}\t{'B-LOC' if token == 'York' else 'O'}")
    source = read(tmp_path, "a.tsv", content)
    assert "column 1 contains more tags (8) than column 2 (1)" in source.warnings[0]


def test_characters_that_are_lost_already_are_said(tmp_path):
    source = read(tmp_path, "a.conll", lines(CLEAN) + "\nJos\ufffd\tB-PER\n")
    assert "contains 1 replacement character (U+FFFD)" in source.warnings[0]


def test_lists_patterns_and_folders_of_files_are_read(tmp_path):
    (tmp_path / "parts").mkdir()
    for number, sentence in enumerate(CLEAN):
        (tmp_path / "parts" / f"{number}.conll").write_text(lines([sentence]))
    (tmp_path / "parts" / "notes.md").write_text("none")
    expected = [f"parts/{number}.conll" for number in range(3)]
    for path in (
        expected,
        "parts/*.conll",
        "parts",
        ["parts/0.conll", "parts/[12].conll"],
        str(tmp_path / "parts/*.conll"),
    ):
        source = read(tmp_path, "unused.txt", "", path=path)
        assert sentences(source) == CLEAN and source.origin["files"] == {"all": expected}
        assert any("skipped 1 file with other suffixes: notes.md" in w for w in source.warnings) == (path == "parts")


def test_files_that_are_named_as_splits_are_said(tmp_path):
    for name in ("train.conll", "dev.conll"):
        (tmp_path / name).write_text(lines(CLEAN))
    source = read(tmp_path, "unused.md", "", path=".")
    assert any("set data.path: {" in warning and "validation: dev.conll" in warning for warning in source.warnings)


def test_the_same_note_of_many_files_is_one_line(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.conll").write_text("token\ttag\n" + lines(CLEAN))
    source = read(tmp_path, "unused.md", "", path="*.conll")
    assert len(source.warnings) == 1 and "0.conll and 3 more files: column names are taken" in source.warnings[0]


def test_the_default_pattern_is_that_of_the_shipped_config():
    assert load_config(shipped_config("entity_tagger")).preprocessing["token_pattern"] == TOKEN_PATTERN


@pytest.mark.slow
def test_a_class_that_lies_only_in_test_is_named_before_training_in_any_script(tmp_path):
    for name, last in (("train", "Ört"), ("validation", "Ört"), ("test", "Dağ")):
        content = lines(CLEAN, tag=lambda tag: tag.replace("PER", "Ört")) + f"\nÅse\tB-{last}\n"
        (tmp_path / f"{name}.conll").write_text(content, encoding="utf-8")
    paths = {split: f"{split}.conll" for split in ("train", "validation", "test")}
    section = {"source": "files", "root": str(tmp_path), "path": paths, "tag_column": -1, "scheme": "detect"}
    small = ["model=window", "models.window.units=[4]", "models.window.word_width=4", "training.epochs=1", TRACED_ONCE]
    settings = [f"data={json.dumps({**section, 'bad_tags': 'error'})}", *small]
    result = invoke("train", CONFIG, *sets(settings), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "class 'Dağ' has no examples in train, only in test: it will never be predicted" in result.output
    assert "tags, read as BIO (1): column 1" in result.output
    assert "Ört.f1" in json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]


TOKENS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6).filter(lambda text: not text.isdecimal())
TYPES = st.sampled_from(["PER", "LOC", "Ört", "A-B"])
PARTS = st.lists(
    st.tuples(st.one_of(st.none(), TYPES), st.lists(TOKENS, min_size=1, max_size=3)), min_size=1, max_size=4
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]
WAYS = ["BIIB", "BIES", "BILU", "BMES", "IIEE"]  # letters of an entity's first, inner, last and only token


def as_sentence(parts: list[tuple[str | None, list[str]]]) -> Tagged:
    tagged = []
    for kind, tokens in parts:
        tagged += [(token, "O" if kind is None else f"{'I' if at else 'B'}-{kind}") for at, token in enumerate(tokens)]
    return tagged


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(PARTS.map(as_sentence), min_size=1, max_size=4),
    tab=st.sampled_from(["\t", " ", "   "]),
    end=st.sampled_from(["\n", "\r\n", "\r", " \n"]),
    encoding=st.sampled_from(ENCODINGS),
    letters=st.sampled_from(WAYS),
    sign=st.sampled_from(["O", "o", "0", "_", "-", "OUT", "none"]),
    dash=st.sampled_from("-_:/"),
    header=st.booleans(),
    index=st.booleans(),
)
def test_every_way_to_write_sentences_reads_the_same(
    tmp_path, drawn, tab, end, encoding, letters, sign, dash, header, index
):
    clean = [*CLEAN, *drawn]
    rows = ["id word tag".split()[not index :]] if header else []
    for sentence in clean:
        each = [(f"{at}", token, tag) for at, (token, tag) in enumerate(in_scheme(sentence, letters), start=1)]
        rows += [[*row[not index : 2], sign if row[2] == "O" else row[2].replace("-", dash, 1)] for row in each]
        rows.append([])
    content = end.join(tab.join(row) for row in rows).encode(encoding)
    assert sentences(read(tmp_path, "a.conll", content)) == clean
