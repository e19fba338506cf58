"""Sketches of training data: what they find in new data, what they do not, and how an export is audited by its own."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import houses, invoke
from html_pages import read_page

from pipelines.audit.sketch import Sketch, sketch_of
from pipelines.data.fields import Fields

CELLS = Fields("cells", target="price", target_is="number")


def table(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "area": random.normal(100, 20, count),
            "rooms": random.integers(1, 8, count).astype(float),
            "sold": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 900, count), "D"),
            "district": random.choice([*"abcdefghij"], count),
            "gaps": np.where(random.random(count) < 0.2, np.nan, random.random(count)),
            "price": random.random(count),
        }
    )


def written(sketch: Sketch) -> Sketch:
    return Sketch.read(json.loads(json.dumps(sketch.record())))


@pytest.fixture(scope="module")
def sketch():
    return written(sketch_of(CELLS, table(3000, 0)))


def test_data_of_the_same_kind_is_hardly_ever_told_apart(sketch):
    false = sum(bool(sketch.findings(table(count, seed), "new")) for seed in range(1, 51) for count in (100, 1000))
    assert false <= 2


SHIFTS = {
    "area": lambda new: new.assign(area=new["area"] + 15),
    "rooms": lambda new: new.assign(rooms=new["rooms"].clip(upper=4)),
    "sold": lambda new: new.assign(sold=new["sold"] + pd.Timedelta(days=300)),
    "district": lambda new: new.assign(district=new["district"].replace({"a": "z", "b": "z", "c": "z"})),
    "gaps": lambda new: new.assign(gaps=new["gaps"].where(np.arange(len(new)) % 2 == 0)),
}


@pytest.mark.parametrize("column", SHIFTS)
def test_what_has_shifted_is_found_and_nothing_else(sketch, column):
    found = sketch.findings(SHIFTS[column](table(500, 7)), "the new data")
    assert [each.column for each in found] == [column] and "in train" in found[0].about.replace("of train", "in train")


def test_a_client_sends_dates_and_gaps_as_text(sketch):
    new = table(500, 8)
    as_text = new.assign(sold=new["sold"].dt.strftime("%Y-%m-%d"), district=new["district"].where(new.index > 2, ""))
    assert not sketch.findings(as_text.drop(columns="price"), "new")


def test_words_and_lengths_of_sentences_are_compared():
    def sentences(words, count, seed):
        random = np.random.default_rng(seed)
        return pd.DataFrame({"tokens": [list(random.choice(words, random.integers(4, 9))) for _ in range(count)]})

    made = written(sketch_of(Fields("tokens", ["tokens"], "tags", "tags"), sentences([*"abcdef"], 800, 0)))
    assert not made.findings(sentences([*"abcdef"], 300, 1), "new")
    as_text = sentences([*"abcdef"], 300, 2)["tokens"].map(" ".join).to_frame("text")  # as a client sends them
    assert not made.findings(as_text, "new")
    found = {each.column for each in made.findings(sentences([*"abcdeg"], 300, 3), "new")}
    assert found == {"f", "g"}


def test_running_text_has_no_sketch():
    assert sketch_of(Fields("running_text", ["text"]), pd.DataFrame({"text": ["some text"]})) is None


def test_an_export_is_audited_by_its_own_sketch(finished_export, tmp_path):
    new = houses(200, seed=5).drop(columns="price")
    new.to_csv(tmp_path / "same.csv", index=False)
    new.assign(**{"Area (m2)": new["Area (m2)"] * 1.5}).to_csv(tmp_path / "larger.csv", index=False)
    same = invoke("audit", finished_export, "--against", tmp_path / "same.csv", "--audit-dir", tmp_path / "a")
    assert same.exit_code == 0 and "no findings" in same.output
    how = ["--against", tmp_path / "larger.csv", "--audit-dir", tmp_path / "b", "--fail-on", "shift", "--json"]
    larger = invoke("audit", finished_export, *how)
    assert larger.exit_code == 1
    record = json.loads(larger.stdout)
    assert record["counts"] == {"shifted_column": 1} and record["findings"][0]["column"] == "Area__m2_"
    assert "Area__m2_" in read_page(tmp_path / "b" / "report" / "index.html")


def test_what_an_export_cannot_be_asked_is_said_in_one_line(finished_export, tmp_path):
    for arguments, said in [
        ([], "is a folder; an export is compared with new data, given by --against"),
        (["--against", "nowhere.csv"], "nowhere.csv: no such file or folder"),
        (["--against", "nowhere.csv", "--fix"], "--fix: is of no use with an export"),
    ]:
        result = invoke("audit", finished_export, *arguments, "--audit-dir", tmp_path / "a")
        assert result.exit_code == 1 and said in result.stderr and len(result.stderr.splitlines()) == 1, result.output
    assert not (tmp_path / "a").exists()
