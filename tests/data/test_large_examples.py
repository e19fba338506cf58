"""Sentences and pairs larger than memory: read from files by position, they give what they give in memory."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.data import blocks, conversion, load_dataset, stored
from pipelines.data.batches import make_token_batches
from pipelines.data.pairs import large as large_pairs
from pipelines.data.stored import StoredTable
from pipelines.errors import UserError
from pipelines.tasks import load_task
from pipelines.tasks.translator.preprocessing import PairPreprocessor

ROWS, PART = 300, 40
SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 3}
PAIRS = {"from_language": "en", "to_language": "fr", "most_characters": 200, "most_ratio": 9}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module, name in ((blocks, "LINES"), (large_pairs, "LINES"), (stored, "AT_ONCE")):
        monkeypatch.setattr(module, name, PART)
    return tmp_path / "cache" / "keras-task-pipelines"


@pytest.fixture
def by_position(monkeypatch):
    return lambda on=True: monkeypatch.setattr(conversion, "LARGE", 0 if on else 1 << 40)


def load(task, tmp_path, path, **settings):
    data = {"source": "files", "root": str(tmp_path), "path": path, **settings}
    return load_dataset(data, SPLIT, load_task(task))


def both(by_position, *given, **settings):
    by_position(False)
    whole = load(*given, **settings)
    by_position()
    stored = load(*given, **settings)
    assert isinstance(whole.train, pd.DataFrame) and isinstance(stored.train, StoredTable)
    return whole, stored


def same(whole, stored):
    for split in ("train", "validation", "test"):
        pd.testing.assert_frame_equal(stored[split].frame(), whole[split])
        assert stored.rows[split].id(5) == whole.rows[split].id(5)
        assert stored.rows[split].place(split, 5).file == whole.rows[split].place(split, 5).file
    assert stored.record["fingerprint"] == whole.record["fingerprint"]
    assert stored.record["skipped"] == whole.record["skipped"]


def made_pairs():
    random = np.random.default_rng(0)
    words = [f"w{n}" for n in range(30)] + ["grün", "&amp;"]
    sources = [" ".join(random.choice(words, random.integers(1, 9))) for _ in range(ROWS)]
    sources[7] = sources[201] = ""
    return [(text, text.upper()) for text in sources]


def write_pairs(kind, folder):
    pairs = made_pairs()
    if kind == "lines":
        for at, language in enumerate(("en", "fr")):
            (folder / f"c.{language}").write_text("".join(f"{pair[at]}\n" for pair in pairs))
        return "c.{language}"
    if kind == "tsv":
        (folder / "c.tsv").write_text("id\ten\tfr\n" + "".join(f"{n}\t{a}\t{b}\n" for n, (a, b) in enumerate(pairs)))
        return "c.tsv"
    if kind == "jsonl":
        lines = [json.dumps({"fr": b, "en": a} if n % 50 else {"en": a, "fr": b}) for n, (a, b) in enumerate(pairs)]
        (folder / "c.jsonl").write_text("\n".join(lines))
        return "c.jsonl"
    (folder / "c").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(ROWS), 3)):
        text = "".join(json.dumps({"en": pairs[row][0], "fr": pairs[row][1]}) + "\n" for row in rows)
        with gzip.open(folder / "c" / f"part-{number}.jsonl.gz", "wt") as file:
            file.write(text)
    return "c" if kind == "folder" else "c/part-*.jsonl.gz"


@pytest.mark.parametrize("kind", ["lines", "tsv", "jsonl", "folder", "pattern"])
def test_pairs_in_files_have_the_same_examples_places_and_warnings(tmp_path, by_position, kind):
    whole, stored = both(by_position, "translator", tmp_path, write_pairs(kind, tmp_path), **PAIRS)
    same(whole, stored)
    facts = stored.summary.facts
    assert "read from files" in facts.pop("memory") and facts == whole.summary.facts
    assert stored.groups["train"]["file"].astype(str).tolist() == whole.groups["train"]["file"].tolist()


@pytest.mark.parametrize("shared", [True, False])
def test_vocabularies_and_mini_batches_of_pairs_are_the_same(tmp_path, by_position, shared):
    learnt, drawn = [], []
    settings = {"level": "word", "vocabulary": 40, "algorithm": "unigram", "split_digits": False, "shared": shared}
    for dataset in both(by_position, "translator", tmp_path, write_pairs("folder", tmp_path), **PAIRS):
        preprocessor = PairPreprocessor(**settings, lower_case=True, longest=12)
        preprocessor.adapt(dataset.train)
        learnt.append(preprocessor.state)
        batches = make_token_batches(dataset.train, preprocessor, seed=1, tokens=50, cache=False)
        drawn.append([tf.nest.flatten(batch) for batch in batches.stream(2).take(9)])
    for one, other in ((list(learnt[0].values()), list(learnt[1].values())), *zip(*drawn, strict=True)):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_training_on_pairs_gives_the_same_metrics(tmp_path, by_position, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"source": "files", "path": write_pairs("folder", tmp_path), **PAIRS}
    settings = ["preprocessing.level=subword", "preprocessing.vocabulary=60", "batches.cache=false"]
    settings += ["model=seq2seq", "models.seq2seq.units=8", "models.seq2seq.width=8"]
    metrics(tmp_path, by_position, "translator", data, settings)


def metrics(tmp_path, by_position, task, data, settings):
    found = []
    (tmp_path / "c.yaml").write_text(json.dumps({"task": task, "data": data, "training": {"epochs": 1}}))
    for on, run in ((False, "memory"), (True, "disk")):
        by_position(on)
        arguments = ["train", "c.yaml", "--run-dir", run, *(f"--set={each}" for each in settings)]
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        found.append(json.loads((tmp_path / run / "metrics.json").read_text()))
    assert found[0] == found[1]


def made_sentences():
    random = np.random.default_rng(1)
    words = ["Ann", "runs", "to", "Oslo", ",", "Łódź", "x&y"]
    rows = []
    for _ in range(ROWS):
        tokens = [str(word) for word in random.choice(words, random.integers(1, 9))] + ["."]
        tags = ["B-PER" if token == "Ann" else "B-LOC" if token[0] in "OŁ" else "O" for token in tokens]
        rows.append((tokens, tags))
    return rows


def write_sentences(kind, folder):
    rows = made_sentences()
    if kind == "jsonl":
        text = "".join(json.dumps({"tokens": t, "ner_tags": g, "doc": n // 9}) + "\n" for n, (t, g) in enumerate(rows))
        (folder / "s.jsonl").write_text(text)
        return "s.jsonl"
    if kind == "texts":
        lines = []
        for tokens, tags in rows:
            ends = np.cumsum([len(token) + 1 for token in tokens]) - 1
            found = [
                [int(end) - len(token), int(end), tag[2:]]
                for token, tag, end in zip(tokens, tags, ends, strict=True)
                if tag != "O"
            ]
            lines.append(json.dumps({"text": " ".join(tokens), "entities": found}))
        (folder / "s.jsonl").write_text("\n".join(lines))
        return "s.jsonl"
    head = "tag token\n" if kind == "header" else ""
    for number, own in enumerate(np.array_split(np.arange(ROWS), 2)):
        blocks = ["".join(f"{g} {t}\n" for t, g in zip(*rows[row], strict=True)) for row in own]
        (folder / f"part-{number}.conll").write_text(head + "\n".join(blocks))
    return "part-*.conll"


@pytest.mark.parametrize("kind", ["jsonl", "texts", "conll", "header"])
def test_sentences_in_files_have_the_same_examples_places_and_classes(tmp_path, by_position, kind):
    columns = {"tag_column": "tag" if kind == "header" else 0} if kind in ("conll", "header") else {}
    whole, stored = both(by_position, "entity_tagger", tmp_path, write_sentences(kind, tmp_path), **columns)
    same(whole, stored)
    assert stored.summary.classes == whole.summary.classes
    assert stored.record["origin"] == whole.record["origin"]
    assert stored.summary.columns == whole.summary.columns


def test_training_on_sentences_gives_the_same_metrics(tmp_path, by_position, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"source": "files", "path": write_sentences("jsonl", tmp_path)}
    settings = ["model=window", "batches.cache=false", "batches.size=32"]
    metrics(tmp_path, by_position, "entity_tagger", data, settings)


def test_faults_of_tags_name_the_line_of_the_file_or_are_skipped(tmp_path, by_position, cache):
    by_position()
    write_sentences("conll", tmp_path)
    path = tmp_path / "part-1.conll"
    lines = path.read_text().split("\n")
    at = max(number for number, line in enumerate(lines) if line.startswith("O "))
    lines[at] = "X-1 oops"
    path.write_text("\n".join(lines))
    columns = {"tag_column": 0}
    with pytest.raises(UserError, match=rf"part-1\.conll:{at + 1}: 'X-1' is not valid in"):
        load("entity_tagger", tmp_path, "part-*.conll", **columns)
    assert not list((cache / "sentences").iterdir())
    skipped = load("entity_tagger", tmp_path, "part-*.conll", bad_tags="skip", **columns)
    assert sum(skipped.record["examples"].values()) == ROWS - 1


def test_faults_of_pairs_name_the_line_of_the_file_and_leave_nothing(tmp_path, by_position, cache):
    by_position()
    name = write_pairs("jsonl", tmp_path)
    lines = (tmp_path / name).read_text().splitlines()
    (tmp_path / name).write_text("\n".join([*lines[:210], "{oops", *lines[210:]]))
    with pytest.raises(UserError, match=r"c\.jsonl:211: is not valid JSON"):
        load("translator", tmp_path, name, **PAIRS)
    pattern = write_pairs("lines", tmp_path)
    with (tmp_path / "c.en").open("a") as file:
        file.write("one more\n")
    with pytest.raises(UserError, match=r"c\.fr: has 300 lines, but c\.en has 301 lines"):
        load("translator", tmp_path, pattern, **PAIRS)
    assert not list((cache / "pairs").iterdir())


def prepare(tmp_path, task, data, *options):
    (tmp_path / "c.yaml").write_text(json.dumps({"task": task, "data": {"source": "files", **data}}))
    done = CliRunner().invoke(main, ["prepare", "c.yaml", *options], catch_exceptions=False)
    return done.exit_code, done.output


WORKERS = {  # name -> options of `prepare`
    "processes": ["--processes", "2"],
    "ray": ["--ray", "local", "--processes", "1"],
    "beam": ["--beam-runner", "DirectRunner"],
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in WORKERS])
def test_prepared_data_is_what_a_training_would_convert(tmp_path, by_position, monkeypatch, cache, name):
    if name == "beam":
        pytest.importorskip("apache_beam")
    monkeypatch.chdir(tmp_path)
    by_position()
    write_sentences("conll", tmp_path)
    code, output = prepare(tmp_path, "entity_tagger", {"path": "part-*.conll", "tag_column": 0}, *WORKERS[name])
    assert code == 0, output
    assert f"examples  all {ROWS}" in output and str(cache) in output
    (folder,) = (cache / "sentences").iterdir()
    made = (folder / "about.json").stat().st_mtime_ns
    whole, stored = both(by_position, "entity_tagger", ".", "part-*.conll", tag_column=0)
    same(whole, stored)
    assert (folder / "about.json").stat().st_mtime_ns == made
    path = tmp_path / "part-1.conll"
    path.write_text(path.read_text() + "X-1 oops\n")
    code, output = prepare(tmp_path, "entity_tagger", {"path": "part-*.conll", "tag_column": 0}, *WORKERS[name])
    assert code == 1 and "'X-1' is not valid in" in output


def test_small_data_and_two_kinds_of_workers_need_no_preparation(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    data = {"path": write_sentences("conll", tmp_path), "tag_column": 0}
    code, output = prepare(tmp_path, "entity_tagger", data, "--processes", "1")
    assert code == 0 and "the data is small, so it is read into memory" in output
    code, output = prepare(tmp_path, "entity_tagger", data, "--ray", "auto", "--beam-runner", "DirectRunner")
    assert code == 1 and "--beam-runner: cannot be combined with --ray" in output
    assert not cache.exists()
