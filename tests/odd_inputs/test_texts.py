"""Odd texts: read rightly, refused in one line that names the place, or read with a warning."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import invoke
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.build import build
from pipelines.config.load import load_config
from pipelines.tasks.language_model.preprocessing import TextPreprocessor
from pipelines.tasks.language_model.task import TASK

CONFIG = Path(__file__).parents[2] / "configs" / "language_model.yaml"
TEXT = "".join(f"The {n} cafés lie by the sea, and it's said that {n * 7} ships went by.\n" for n in range(300))
PDF, PNG, WORD = b"%PDF-1.7\n\0\1\2", b"\x89PNG\r\n\x1a\n\0\0", b"PK\x03\x04\x14\0\6\0[Content_Types].xml"


def jsonl(key, texts):
    return "".join(json.dumps({"id": 1, key: text}) + "\n" for text in texts)


READ = {  # name -> files, settings of `data`, what a warning says or None, and the documents if not the one text
    "plain": ({"a.txt": TEXT}, {}, None),
    "a mark": ({"a.txt": "\ufeff" + TEXT}, {}, None),
    "a mark in the middle": ({"a.txt": TEXT[:999] + "\ufeff" + TEXT[999:]}, {}, None),
    "CRLF": ({"a.txt": TEXT.replace("\n", "\r\n")}, {}, None),
    "CR": ({"a.txt": TEXT.replace("\n", "\r")}, {}, None),
    "UTF-16": ({"a.txt": TEXT.encode("utf-16")}, {}, None),
    "UTF-32, CRLF": ({"a.txt": TEXT.replace("\n", "\r\n").encode("utf-32")}, {}, None),
    "UTF-16 without a mark": ({"a.txt": TEXT.encode("utf-16-le")}, {}, "a.txt has no byte order mark.*as utf-16-le"),
    "cp1252": ({"a.txt": TEXT.encode("cp1252")}, {"encoding": "cp1252"}, None),
    "UTF-16 that looks like binary data": (
        {"a.txt": ("每日新闻每日新闻\n" * 99).encode("utf-16-le")},
        {"encoding": "utf-16-le"},
        None,
        ["每日新闻每日新闻\n" * 99],
    ),
    "UTF-8 by another name": ({"a.txt": TEXT}, {"encoding": "UTF8"}, None),
    "NULs": (
        {"a.txt": TEXT.replace("cafés", "ca\0fés", 3)},
        {},
        r"a.txt contains 3 NUL characters: removed",
    ),
    "damage": (
        {"a.txt": TEXT.replace("é", "\ufffd")},
        {},
        r"a.txt contains 300 replacement characters \(U\+FFFD\)",
        [TEXT.replace("é", "\ufffd")],
    ),
    "gzip": ({"a.txt.gz": gzip.compress(TEXT.encode())}, {}, None),
    "JSON lines": ({"a.jsonl": jsonl("text", [TEXT])}, {}, None),
    "JSON lines as text": ({"a.txt": jsonl("text", [TEXT])}, {}, None),
    "JSON lines, gzip": ({"a.jsonl.gz": gzip.compress(jsonl("text", [TEXT]).encode())}, {}, None),
    "JSON lines with a key": ({"a.jsonl": jsonl("content", [TEXT])}, {"text_key": "content"}, None),
    "JSON": ({"a.json": json.dumps([{"text": TEXT}], indent=1)}, {}, None),
    "half a character in JSON": ({"a.jsonl": jsonl("text", [TEXT + "\ud83d"])}, {}, None, [TEXT + "\ufffd"]),
    "JSON lines, several": ({"a.jsonl": jsonl("text", ["one", " ", "two\r\n"])}, {}, None, ["one", "two\n"]),
    "CSV": ({"a.csv": f'id,text\n1,"{TEXT}"\n2,"{TEXT}"\n'}, {}, None, [TEXT, TEXT]),
    "CSV as it is written": ({"a.csv": "id,text\n1,2\n"}, {"as_written": True}, None, ["id,text\n1,2\n"]),
    "HTML as it is written": ({"a.html": f"<html>{TEXT}"}, {"as_written": True}, None, [f"<html>{TEXT}"]),
    "a list": ({"a.txt": TEXT, "b.txt": "More."}, {"path": ["b.txt", "a.txt"]}, None, ["More.", TEXT]),
    "a pattern": ({"a.txt": TEXT, "b.txt": "More.", "c.md": "No."}, {"path": "*.txt"}, None, [TEXT, "More."]),
    "a pattern of folders": ({"d/a.txt": TEXT, "d/e/b.txt": "More."}, {"path": "d*"}, None, [TEXT, "More."]),
    "a name that looks like a pattern": ({"a[1].txt": TEXT}, {"path": "a[1].txt"}, None),
    "junk in a folder": (
        {
            "a.txt": TEXT,
            "Thumbs.db": b"\xd0\xcf\x11\xe0",
            ".DS_Store": b"\0",
            ".git/x": "x",
            "~$a.docx": b"\0",
            "e": "",
        },
        {"path": "."},
        None,
    ),
    "others in a folder": (
        {"a.txt": TEXT, "b.pdf": PDF, "c.png": PNG, "d.docx": WORD, "e.bin": bytes(range(32)) * 9, "z.html": "<html>"},
        {"path": "."},
        r"skipped 5 files: b.pdf \(is a PDF.*c.png \(is an image\), d.docx \(is an Office",
    ),
    "a table in a folder": (
        {"a.txt": TEXT, "b.csv": "x,y\n1,2\n", "package.json": '{"name": "x"}'},
        {"path": "."},
        "skipped 2 files: b.csv .has no column or key 'text', only x, y",
    ),
    "one line": ({"a.txt": TEXT.replace("\n", " ")}, {}, None, [TEXT.replace("\n", " ")]),
    "no blanks": ({"a.txt": "abc" * 9999}, {}, None, ["abc" * 9999]),
    "an empty file beside a text": (
        {"a.txt": "", "b.txt": TEXT, "c.txt": " \n"},
        {"path": ["a.txt", "b.txt", "c.txt"]},
        None,
    ),
}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def as_set(folder, files, data):
    return "data=" + json.dumps({"source": "files", "root": str(folder), "path": next(iter(files)), **data})


def source(folder, files, data):
    """Load what the files hold, as a config says it."""
    write(folder, files)
    return build(load_config(CONFIG, [as_set(folder, files, data)]).data, TASK.sources, "source")


def documents(found):
    table = found.examples["all"]
    return [part["text"].map(str).str.cat() for _, part in table.groupby("document")]


@pytest.mark.parametrize("name", READ)
def test_it_is_read_like_its_clean_twin(name, tmp_path):
    files, data, warning, *expected = READ[name]
    found = source(tmp_path, files, data)
    assert documents(found) == (expected[0] if expected else [TEXT])
    if warning is None:
        assert found.warnings == []
    else:
        (said,) = found.warnings
        assert re.search(warning, said), said
    assert found.facts["documents"].startswith(f"{len(documents(found))} with ")


REFUSED = {
    "PDF": ({"a.txt": PDF}, {}, r"a\.txt: is a PDF file; extract its text first"),
    "Word": ({"a.docx": WORD}, {}, r"a\.docx: is an Office file"),
    "an image": ({"a.png": PNG}, {}, r"a\.png: is an image"),
    "binary data": ({"a.txt": bytes(range(256)) * 99}, {}, r"a\.txt: is binary data"),
    "only others in a folder": (
        {"d/a.pdf": PDF, "d/b.png": PNG},
        {"path": "d"},
        r"d: contains no text files, only 2 other files",
    ),
    "an empty folder": ({"d/Thumbs.db": b"x"}, {"path": "d"}, r"d: contains no text files"),
    "HTML": ({"a.html": "<html>x"}, {}, r"a\.html: is HTML or XML; .*as_written: true"),
    "HTML as text": ({"a.txt": "\ufeff \n<!DOCTYPE html><p>x"}, {}, r"a\.txt: is HTML or XML"),
    "JSON without the key": (
        {"a.jsonl": jsonl("body", [TEXT])},
        {},
        r"a\.jsonl: has no column or key 'text', only id, body",
    ),
    "broken JSON": ({"a.jsonl": jsonl("text", ["x"]) + "{"}, {}, r"a\.jsonl:2: is not valid JSON"),
    "one JSON object": ({"a.json": '{"text": "x"}'}, {}, r"a\.json: is a single JSON object"),
    "CSV without the column": ({"a.csv": "x,y\n1,2\n"}, {}, r"a\.csv: has no column or key 'text', only x, y"),
    "latin-1": ({"a.txt": TEXT.encode("latin-1")}, {}, r"a\.txt:1: byte 0xe9 .* not valid UTF-8; set data.encoding"),
    "latin-1 late in a folder": (
        {"d/a.txt": (TEXT * 9 + "\n").encode() + b"\xe9"},
        {"path": "d"},
        r"a\.txt:2702: byte 0xe9",
    ),
    "no such encoding": ({"a.txt": TEXT}, {"encoding": "utf-99"}, r"data\.encoding.*encoding that Python knows"),
    "nothing": ({"a.txt": ""}, {}, r"a\.txt: contains no text"),
    "nothing but a mark": ({"a.txt": "\ufeff"}, {}, r"a\.txt: contains no text"),
    "nothing but blanks": ({"a.txt": " \n\t" * 9999}, {}, r"a\.txt: contains no text"),
    "a very short text": ({"a.txt": "Hi."}, {}, r"split\.\w+: no examples are left"),
    "a short text": (
        {"a.txt": "Hello there. " * 90},
        {"path": {"train": "a.txt"}},
        r"split\.train: .*fewer than one window",
    ),
    "no file": ({"a.txt": TEXT}, {"path": "b.txt"}, r"b\.txt: no such file or folder"),
    "a pattern of nothing": ({"a.txt": TEXT}, {"path": "*.md"}, r"\*\.md: no such file or folder"),
    "no train": ({"a.txt": TEXT}, {"path": {"test": "a.txt"}}, r"data\.path: has no entry `train`"),
    "gzip that is none": ({"a.txt.gz": TEXT}, {}, r"a\.txt\.gz: cannot be read"),
    "gzip of another name": ({"a.txt": gzip.compress(b"x" * 99)}, {}, r"a\.txt: is compressed with gzip"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line(name, tmp_path):
    files, data, problem = REFUSED[name]
    write(tmp_path, files)
    settings = [as_set(tmp_path, files, data), f"preprocessing.token_folder={tmp_path}/tokens"]
    settings += ["preprocessing.context=2000"] if name == "a short text" else []
    options = [part for setting in settings for part in ("--set", setting)]
    result = invoke("train", CONFIG, *options, "--run-dir", tmp_path / "run")
    assert result.exit_code == 1, result.output
    *_, error = result.stderr.splitlines()  # the summary of the data may stand before it
    assert error.startswith("error: ") and re.search(problem, error), error
    assert result.stderr.count("error: ") == 1 and "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_a_linked_folder_is_said(tmp_path):
    write(tmp_path, {"d/a.txt": TEXT, "elsewhere/b.txt": TEXT})
    (tmp_path / "d" / "link").symlink_to(tmp_path / "elsewhere")
    (said,) = source(tmp_path, {"d/b.txt": TEXT}, {"path": "d"}).warnings
    assert "link is a link to a folder, which is not followed" in said


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text("ab é你\u2028\n", max_size=3000).filter(str.strip),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    packed=st.sampled_from(["", ".gz"]),
)
def test_any_text_comes_as_it_is_whatever_it_is_written_in(tmp_path, text, end, encoding, packed):
    content = text.replace("\n", end).encode(encoding)
    files = {f"a.txt{packed}": gzip.compress(content) if packed else content}
    assert documents(source(tmp_path, files, {})) == [text]


@pytest.mark.parametrize(
    ("text", "parted"),
    [
        (TEXT, True),
        ("这是一个很长的中文句子，没有空格，所以不能分词。" * 50, False),
        ("这 是 一个 很 长 的 中文 句子 ， 有 空格 。 " * 50, True),  # split into words before
        ("นี่คือประโยคภาษาไทยที่ยาวมาก และไม่มีช่องว่างระหว่างคำ " * 50, False),
        ("이것은 한국어로 쓴 문장입니다 그리고 조금 깁니다 " * 50, True),
    ],
)
def test_words_are_counted_only_where_blanks_part_them(text, parted, tmp_path):
    assert ("words" in source(tmp_path, {"a.txt": text}, {}).facts) is not parted
    sums = {name: np.array([100.0]) for name in ("nats", "tokens", "characters", "top_1", "top_5")}
    scores = TASK.compute_metrics(pd.DataFrame({"text": [text]}), sums)
    assert np.isfinite(scores["word_perplexity"]) == parted
    assert np.isfinite(scores["bits_per_character"])


def test_a_text_that_was_split_before_keeps_its_tokens(tmp_path):
    text = "the u.s. company said it would n't <unk> the plan by N N next year \n mr. <unk> is chairman \n" * 20
    found = source(tmp_path, {"ptb.txt": text}, {})
    assert "preprocessing.level: token" in found.facts["tokens"]
    table = found.examples["all"]
    preprocessor = TextPreprocessor(
        level="token", vocabulary=18, algorithm="unigram", context=8, token_folder=str(tmp_path / "tokens")
    )
    preprocessor.adapt(table)
    tokens = [preprocessor.tokenizer.pieces[at] for at in preprocessor.ids(table)[1:]]  # after the mark of a document
    assert tokens == [each for line in text.splitlines() for each in [*line.split(), "\n"]]
