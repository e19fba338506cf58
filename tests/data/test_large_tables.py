"""Tables larger than memory: read row by row from files, they give what a table in memory gives."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.data import conversion, load_dataset
from pipelines.data.batches import make_batches
from pipelines.data.stored import StoredTable
from pipelines.data.tables import cells, parquet
from pipelines.errors import UserError
from pipelines.tasks import load_task
from pipelines.tasks.house_prices.preprocessing import TablePreprocessor

ROWS, PART = 400, 70
SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 3}
SETTINGS = {"numeric_limit": 2.5, "target_scaling": "standard", "max_categories": 3, "min_count": 2}
SETTINGS |= {"ratios": [["area", "rooms"]], "neighbours": [], "text_columns": [], "text_preset": None}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cells, "AT_ONCE", PART)
    monkeypatch.setattr(parquet, "PART", PART)
    return tmp_path / "cache"


@pytest.fixture
def by_row(monkeypatch):
    return lambda on=True: monkeypatch.setattr(conversion, "LARGE", 0 if on else 1 << 40)


def table(rows=ROWS):
    random = np.random.default_rng(0)
    made = pd.DataFrame({"area": random.normal(100, 20, rows).round(3), "rooms": random.integers(1, 9, rows)})
    made["kind"] = random.choice(["flat", " house", "", "NA", "grün", "tower"], rows)
    made["street"] = [f"street {n}" for n in random.integers(0, 99, rows)]
    made["sold"] = pd.Timestamp("1969-12-25") + pd.to_timedelta(random.integers(0, 20, rows), unit="D")
    made["let"] = random.random(rows) < 0.5
    made.loc[random.random(rows) < 0.2, ["area", "sold"]] = None
    return made.assign(cost=(5 * made["rooms"] + random.normal(size=rows)).round(2))


def write(made, path):
    if path.suffix == ".csv":
        made.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        made.to_parquet(path)
    else:
        made.to_json(path, orient="records", lines=True, date_format="iso")


def load(tmp_path, name, **settings):
    data = {"source": "files", "root": str(tmp_path), "path": name, "target": "cost"}
    exclude = {"exclude": settings.pop("exclude")} if "exclude" in settings else {}
    return load_dataset({**data, **settings, **exclude}, SPLIT, load_task("house_prices"))


def both(tmp_path, by_row, name, **settings):
    by_row(False)
    whole = load(tmp_path, name, **settings)
    by_row()
    stored = load(tmp_path, name, **settings)
    assert isinstance(whole.train, pd.DataFrame) and isinstance(stored.train, StoredTable)
    return whole, stored


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_a_table_on_the_disk_has_the_same_splits_types_and_warnings(tmp_path, by_row, name):
    write(table(), tmp_path / name)
    whole, stored = both(tmp_path, by_row, name)
    for split in SPLIT.keys() - {"seed"}:
        pd.testing.assert_frame_equal(stored[split].frame(), whole[split])
        assert stored.rows[split].place(split, 5).file == whole.rows[split].place(split, 5).file
        if name != "t.parquet":  # the values of a Parquet file are hashed as they are
            assert stored.rows[split].id(7) == whole.rows[split].id(7)
    assert stored.record["reading"] == whole.record["reading"]
    assert stored.summary.columns == whole.summary.columns
    assert stored.summary.warnings == whole.summary.warnings


@pytest.mark.parametrize("scaling", ["log", "quantile"])
def test_what_is_learnt_and_every_mini_batch_are_the_same(tmp_path, by_row, scaling):
    write(table(), tmp_path / "t.parquet")
    learnt, drawn, warnings = [], [], []
    for dataset in both(tmp_path, by_row, "t.parquet"):
        preprocessor = TablePreprocessor(numeric_scaling=scaling, **SETTINGS)
        preprocessor.adapt(dataset.train)
        learnt.append(preprocessor.state)
        batches = make_batches(dataset.train, preprocessor, seed=1, size=64, cache=False)
        drawn.append([tf.nest.flatten(batch) for batch in batches.stream(2).take(5)])
        warnings.append([preprocessor.warnings, preprocessor.split_warnings("test", dataset.test)])
    assert warnings[0] == warnings[1]
    assert learnt[0].keys() == learnt[1].keys()
    for name, values in learnt[0].items():
        np.testing.assert_array_equal(values, learnt[1][name])
    for one, other in zip(*drawn, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_training_gives_the_same_metrics_from_memory_and_from_the_disk(tmp_path, by_row, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(table(), tmp_path / "t.csv")
    settings = ["data.source=files", "data.path=t.csv", "data.target=cost", "training.epochs=2", "batches.size=32"]
    settings += ["model=linear_regression", "batches.cache=false"]
    metrics = []
    for on, run in ((False, "memory"), (True, "disk")):
        by_row(on)
        arguments = ["train", "house_prices", "--run-dir", run, *(f"--set={each}" for each in settings)]
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        metrics.append(json.loads((tmp_path / run / "metrics.json").read_text()))
        assert len((tmp_path / run / "predictions.csv").read_text().splitlines()) == 1 + ROWS * 0.2
    assert metrics[0] == metrics[1]


def test_a_changed_file_is_converted_again_and_an_unchanged_one_is_not(tmp_path, by_row, cache):
    by_row()
    write(table(), tmp_path / "t.csv")
    first = load(tmp_path, "t.csv")
    (folder,) = (cache / "keras-task-pipelines" / "tables").iterdir()
    made = (folder / "about.json").stat().st_mtime_ns
    assert load(tmp_path, "t.csv").record["fingerprint"] == first.record["fingerprint"]
    assert (folder / "about.json").stat().st_mtime_ns == made
    write(table().assign(rooms=1), tmp_path / "t.csv")
    assert (load(tmp_path, "t.csv").train["rooms"] == 1).all()
    assert len(list(folder.parent.iterdir())) == 2


def test_several_files_are_one_table_and_splits_keep_the_types_of_train(tmp_path, by_row):
    for number, rows in enumerate(np.array_split(np.arange(ROWS), 3)):
        write(table().iloc[rows], tmp_path / f"part-{number}.parquet")
    whole, stored = both(tmp_path, by_row, "part-*.parquet")
    pd.testing.assert_frame_equal(stored.test.frame(), whole.test)
    whole, stored = both(tmp_path, by_row, {"train": "part-0.parquet", "test": "part-1.parquet"})
    pd.testing.assert_frame_equal(stored.test.frame(), whole.test)
    write(table().rename(columns={"rooms": "beds"}), tmp_path / "part-3.parquet")
    with pytest.raises(UserError, match=r"part-3\.parquet: its columns differ from those of .*part-0.*: beds, rooms"):
        load(tmp_path, "part-*.parquet")


FAULTY = {  # name -> cells of one row, settings, line of the fault, and what is said
    "text among numbers": ({"area": "oops"}, {}, 302, "column 'area' contains 'oops', not a number"),
    "no target": ({"cost": None}, {}, 302, "no target in column 'cost'"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_far_down_is_named_with_its_line_or_skipped(tmp_path, by_row, name):
    by_row()
    row, settings, line, said = FAULTY[name]
    made = table().astype(object)
    made.loc[300, list(row)] = list(row.values())
    write(made, tmp_path / "t.csv")
    with pytest.raises(UserError, match=rf"t\.csv:{line}: {said}"):
        load(tmp_path, "t.csv", **settings)
    skipped = load(tmp_path, "t.csv", bad_rows="skip", **settings)
    assert skipped.record["skipped"]["count"] == 1
    assert sum(skipped.record["examples"].values()) == ROWS - 1


def test_nothing_is_left_of_a_conversion_that_failed(tmp_path, by_row, cache):
    by_row()
    write(table().astype(object).assign(cost="free"), tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"t\.csv:2: no rows can be used"):
        load(tmp_path, "t.csv")
    made = table().astype(object)
    made.loc[300, "area"] = "oops"
    write(made, tmp_path / "t.csv")
    with pytest.raises(UserError, match="oops"):
        load(tmp_path, "t.csv")
    assert not list((cache / "keras-task-pipelines" / "tables").iterdir())


def test_the_types_of_a_parquet_file_count_unless_the_config_says_otherwise(tmp_path, by_row):
    made = table().assign(code=[f"{n:05}" for n in range(ROWS)], year=2000)
    write(made, tmp_path / "t.parquet")
    for dataset in both(tmp_path, by_row, "t.parquet", categorical=["year"], numeric=["code"], missing=["", "flat"]):
        assert {name: dataset.summary.columns[name] for name in ("code", "year", "let")} == {
            "code": "number", "year": "category", "let": "category",
        }  # fmt: skip
        assert "flat" not in set(dataset.train["kind"]) and set(dataset.train["year"]) == {"2000"}
    whole, stored = both(tmp_path, by_row, "t.parquet")
    assert whole.summary.columns["code"] == stored.summary.columns["code"] == "category"


def test_rows_are_excluded_by_id_and_by_place(tmp_path, by_row):
    by_row()
    write(table(), tmp_path / "t.parquet")
    rows = load(tmp_path, "t.parquet").rows
    exclude = [rows["train"].id(3), rows["test"].place("test", 2).file, "r0000000000000000"]
    left = load(tmp_path, "t.parquet", exclude=exclude)
    assert sum(left.record["examples"].values()) == ROWS - 2
    assert any("1 of 3 entries match no example (first: r0000000000000000)" in each for each in left.summary.warnings)


def test_a_stored_table_answers_as_a_table_in_memory_does(tmp_path, by_row):
    write(table(), tmp_path / "t.parquet")
    whole, stored = (dataset.train for dataset in both(tmp_path, by_row, "t.parquet"))
    other = pickle.loads(pickle.dumps(stored.take(np.array([3, 1]))))
    pd.testing.assert_frame_equal(other.frame(), whole.take([3, 1]).reset_index(drop=True))
    pd.testing.assert_series_equal(stored.iloc[4], whole.iloc[4], check_names=False)
    pd.testing.assert_frame_equal(stored.iloc[2:9:3], whole.iloc[2:9:3].reset_index(drop=True))
    pd.testing.assert_frame_equal(stored.drop(columns="price").head(3), whole.drop(columns="price").head(3))
    more = np.arange(len(whole)) / 2
    pd.testing.assert_frame_equal(stored.assign(more=more).frame(), whole.assign(more=more))
    assert list(stored.dtypes) == list(whole.dtypes) and len(stored) == len(whole) and "area" in stored
    with pytest.raises(KeyError):
        stored["nothing"]
