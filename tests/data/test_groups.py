"""What examples belong together by, and splits by it, for each kind of data."""

import json

import pandas as pd
import pytest

from pipelines.data.groups import group_columns
from pipelines.errors import UserError
from pipelines.tasks import load_task

RULE = {"train": 0.5, "validation": 0.25, "test": 0.25, "seed": 0}


def loaded(task: str, source: str, group: str, **data):
    from pipelines.data import load_dataset

    return load_dataset({"source": source, **data}, {**RULE, "group": group}, load_task(task))


def assert_apart(dataset, group):
    values = [set(dataset.groups[split][group]) for split in ("train", "validation", "test")]
    assert all(values) and sum(map(len, values)) == len(set.union(*values))


def test_sentences_are_split_by_file_and_by_a_key_of_their_records(tmp_path):
    for number in range(6):
        lines = "".join(f"Ann{number}x{line} B-PER\nruns O\n\n" for line in range(5))
        (tmp_path / f"{number}.conll").write_text(lines)
    read = loaded("entity_tagger", "files", "file", root=str(tmp_path), path="*.conll")
    assert_apart(read, "file")
    assert sum(len(read[split]) for split in read.splits) == 30 and list(read.train) == ["tokens", "tags"]
    records = [{"tokens": [f"Ann{n}"], "ner_tags": ["B-PER"], "document": f"d{n // 5}"} for n in range(30)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert_apart(loaded("entity_tagger", "files", "document", root=str(tmp_path), path="all.jsonl"), "document")
    texts = [{"text": f"Ann{n} runs", "entities": [[0, 5, "PER"]], "document": f"d{n // 5}"} for n in range(10, 40)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, texts)))
    assert_apart(loaded("entity_tagger", "files", "document", root=str(tmp_path), path="texts.jsonl"), "document")


def test_pairs_are_split_by_a_column_and_by_file(tmp_path):
    sides = {"from_language": "en", "to_language": "fr", "most_characters": 99, "most_ratio": 9.0}
    rows = "".join(f"the house {n}\tla maison {n}\tbook {n // 5}\n" for n in range(30))
    named = {"source_column": "en", "target_column": "fr"}
    (tmp_path / "all.tsv").write_text(f"en\tfr\tbook\n{rows}")
    read = loaded("translator", "files", "book", root=str(tmp_path), path="all.tsv", **named, **sides)
    assert_apart(read, "book")
    assert list(read.train) == ["source", "target"]
    for number in range(4):
        rows = "".join(f"a house {number} {n}\tune maison {number} {n}\n" for n in range(5))
        (tmp_path / f"{number}.tsv").write_text(rows)
    names = [f"{number}.tsv" for number in range(4)]
    assert_apart(loaded("translator", "files", "file", root=str(tmp_path), path=names, **sides), "file")


def test_texts_are_split_by_document(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"text {number} " * 200)
    assert_apart(loaded("language_model", "files", "file", root=str(tmp_path), path="*.txt"), "file")
    read = loaded("language_model", "files", "document", root=str(tmp_path), path="*.txt")
    assert not set(read.train["document"]) & set(read.test["document"])


def test_files_have_a_folder_and_a_name_without_its_number(tmp_path):
    paths = [tmp_path / "ill" / name for name in ("patient12_3.jpg", "patient12-4.jpg", "patient7 (1).png")]
    found = group_columns(pd.DataFrame({"image": paths}), None)
    assert found["folder"].tolist() == [str(tmp_path / "ill")] * 3
    assert [name.rpartition("/")[2] for name in found["name"]] == ["patient12", "patient12", "patient7"]


def test_a_group_that_is_not_known_is_named_with_those_that_are(tmp_path):
    (tmp_path / "a.conll").write_text("".join(f"Ann{n} B-PER\nruns O\n\n" for n in range(9)))
    with pytest.raises(UserError, match=r"split\.group: there is no column 'fil'; did you mean 'file'"):
        loaded("entity_tagger", "files", "fil", root=str(tmp_path), path="a.conll")
