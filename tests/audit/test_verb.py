"""`audit` on the command line: its folder, its exit code, the config that it mends, and what loading the data says."""

import json

import pandas as pd
import pytest
from conftest import invoke, overrides, sets
from html_pages import read_page
from planted import RULE, dataset, houses
from ruamel.yaml import YAML

import pipelines
from pipelines.audit.findings import KINDS, Finding
from pipelines.audit.fix import fixed_config
from pipelines.config.read import read_config
from pipelines.data import Source, load_dataset
from pipelines.tasks import load_task


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A table with copies, a column that says nothing and one that says all."""
    table = houses(300).drop(columns="mark")
    table = table.assign(state="Iowa", fee=(table["price"] * 0.03).round(2))
    path = tmp_path_factory.mktemp("faulty") / "houses.csv"
    pd.concat([table, table.head(20)]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def audited(faulty, tmp_path_factory):
    """The folder of an audit of it, and what was printed."""
    folder = tmp_path_factory.mktemp("audits") / "first"
    result = invoke("audit", "house_prices", *sets(overrides(faulty)), "--audit-dir", folder, "--fix", "--json")
    assert result.exit_code == 0, result.output
    return folder, result


def test_the_folder_has_all_findings(audited):
    folder, result = audited
    record = json.loads((folder / "audit.json").read_text())
    assert json.loads(result.stdout) == record
    assert record["counts"]["constant_column"] == record["counts"]["leaking_column"] == 1
    assert record["counts"]["duplicate"] + record["counts"]["duplicate_across_splits"] == 20
    table = pd.read_csv(folder / "findings.csv", keep_default_na=False)
    assert len(table) == sum(record["counts"].values())
    copy = table[table["kind"].str.startswith("duplicate")].iloc[0]
    assert copy["file"].startswith(str(folder.parent.parent)) or "houses.csv:" in copy["file"]
    assert copy["remedy"] and copy["split"] and copy["other_id"] != copy["id"]


def test_its_page_says_what_to_do_about_each_kind(audited):
    folder, _ = audited
    text = read_page(folder / "report" / "index.html")
    record = json.loads((folder / "audit.json").read_text())
    assert all(KINDS[kind].remedy in text for kind in record["counts"])
    assert "pipelines audit house_prices" in text and f"pipelines train {folder / 'config.yaml'}" in text
    assert "houses.csv" in text and "'fee' alone explains" in text


def test_the_mended_config_has_no_more_findings(audited):
    folder, _ = audited
    mended = folder / "config.yaml"
    assert "# leaking_column: 'fee' alone explains" in mended.read_text()
    result = invoke("audit", mended, "--audit-dir", folder.parent / "second", "--fail-on", "all")
    assert result.exit_code == 0, result.output
    assert "no findings" in result.output and "20 examples by data.exclude" in result.output
    assert "copies" not in result.output and "also in" not in result.output


def test_the_part_of_train_that_is_put_aside_is_audited_too(faulty, tmp_path):
    settings = sets(overrides(faulty, "split.train_dev=0.3"))
    result = invoke("audit", "house_prices", *settings, "--audit-dir", tmp_path / "a", "--json")
    record = json.loads(result.stdout)
    assert record["examples"]["train_dev"] > 50
    assert record["counts"]["duplicate"] + record["counts"]["duplicate_across_splits"] == 20


def test_a_mended_config_splits_by_one_column_only():
    findings = [
        Finding("group_across_splits", 1.0, "rows of one owner", column="owner"),
        Finding("time_order", 1.0, "later rows in train", column="sold"),
    ]
    written = fixed_config(read_config("house_prices"), findings, load_task("house_prices").sources["files"])
    split = YAML(typ="safe").load(written)["split"]
    assert split["group"] == "owner" and "time" not in split


def test_kinds_to_fail_on_decide_the_exit_code(faulty, tmp_path):
    arguments = ["audit", "house_prices", *sets(overrides(faulty)), "--audit-dir"]
    failed = invoke(*arguments, tmp_path / "a", "--fail-on", "shift,leaking_column")
    assert failed.exit_code == 1 and "failed: leaking_column (1)" in failed.output
    assert "│ leaking_column" in failed.output
    assert (tmp_path / "a" / "findings.csv").is_file()
    wrong = invoke(*arguments, tmp_path / "b", "--fail-on", "leaks")
    assert wrong.exit_code == 1 and "error: --fail-on: no kind 'leaks'; did you mean" in wrong.output
    again = invoke(*arguments, tmp_path / "a")
    assert again.exit_code == 1 and "already exists; choose another --audit-dir" in again.output


def test_a_file_to_compare_with_may_have_a_target_or_not(faulty, tmp_path):
    new = pd.read_csv(faulty).assign(area=lambda table: table["area"] * 2)
    new.to_csv(tmp_path / "new.csv", index=False)
    new.drop(columns="price").to_csv(tmp_path / "bare.csv", index=False)
    for name in ("new", "bare"):
        arguments = ["audit", "house_prices", *sets(overrides(faulty)), "--audit-dir", tmp_path / name, "--json"]
        result = invoke(*arguments, "--against", tmp_path / f"{name}.csv")
        shifted = [each["column"] for each in json.loads(result.stdout)["findings"] if each["kind"] == "shifted_column"]
        assert shifted == ["area"], result.output
    missing = invoke(
        "audit", "house_prices", *sets(overrides(faulty)), "--audit-dir", tmp_path / "c", "--against", "nowhere.csv"
    )
    assert missing.exit_code == 1 and "error: nowhere.csv: no such file or folder" in missing.output


def test_a_run_judges_the_labels_of_test_and_validation(finished_run, csv, tmp_path):
    result = invoke(
        "audit", finished_run / "config.yaml", "--run", finished_run, "--audit-dir", tmp_path / "a", "--json"
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    judged = [each for each in record["findings"] if each["kind"] == "label_error"]
    assert all(each["split"] != "train" for each in judged) and record["run"] == str(finished_run)
    other = invoke("audit", "house_prices", "--run", finished_run, "--audit-dir", tmp_path / "b")
    assert other.exit_code == 1 and "the data has changed" in other.output


def test_rows_are_left_out_by_id_and_by_place():
    table = houses(100)
    whole = dataset("house_prices", table)
    id, place = whole.rows["train"].id(5), whole.rows["test"].place("test", 3).file
    source = Source({"all": table.drop(columns="mark")}, {}, places={"all": table["mark"].tolist()})
    left = load_dataset({"source": "given", "exclude": [id, place]}, RULE, load_task("house_prices"), source)
    assert (
        sum(left.record["examples"].values()) == 98 and left.summary.facts["excluded"] == "2 examples by data.exclude"
    )
    places = {rows.place(split, row).file for split, rows in left.rows.items() for row in range(len(rows))}
    assert place not in places and len(places) == 98
    unknown = load_dataset({"source": "given", "exclude": ["x"]}, RULE, load_task("house_prices"), source)
    assert any("data.exclude: 1 of 1 entries match no example (first: x)" in line for line in unknown.summary.warnings)


def test_an_id_stays_when_the_rows_are_in_another_order():
    table = houses(100)
    one, other = dataset("house_prices", table), dataset("house_prices", table.sample(frac=1, random_state=1))
    ids = [{data.rows[split].place(split, row).file: data.rows[split].id(row) for split in RULE if split != "seed"
            for row in range(len(data[split]))} for data in (one, other)]  # fmt: skip
    assert ids[0] == ids[1] and len(set(ids[0].values())) == 100


def test_loading_the_data_says_in_a_line_what_a_glance_shows():
    table = houses(200)
    table = pd.concat([table, table.head(9)]).assign(state="Iowa")
    table.iloc[50, table.columns.get_loc("price")] *= 1e4
    lines = dataset("house_prices", table).summary.warnings
    assert any("train rows are copies of another train row" in line for line in lines)
    assert any("the same value in every row, which carry no information: state" in line for line in lines)
    assert sum("far from all others" in line for line in lines) == 1
    assert dataset("house_prices", houses(200)).summary.warnings == []


def test_a_split_of_one_class_is_named():
    classes = pd.DataFrame({"image": [bytes([n]) for n in range(100)], "label": ["a"] * 80 + ["b"] * 20})
    lines = dataset("cat_classifier", classes, {**RULE, "shuffle": False}).summary.warnings
    assert "every test example is of the class 'b'" in lines


def test_python_finds_the_same(faulty, audited, tmp_path):
    settings = {
        path: YAML(typ="safe").load(value) for path, value in (each.split("=", 1) for each in overrides(faulty))
    }
    found = pipelines.audit_data("house_prices", fix=True, audit_dir=tmp_path / "audit", **settings)
    folder, _ = audited
    assert found.counts == json.loads((folder / "audit.json").read_text())["counts"]
    assert found.findings["about"].tolist() == pd.read_csv(folder / "findings.csv")["about"].tolist()
    assert found.config == tmp_path / "audit" / "config.yaml" and found.config.is_file()
