"""Odd tables: each is read as its clean twin is, refused in one line, or read with a warning."""

import bz2
import gzip
import io
import lzma
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import CONFIG, invoke, overrides, sets
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data import load_dataset
from pipelines.data.tables.numbers import decimal_marks, read_numbers
from pipelines.errors import UserError
from pipelines.tasks import load_task

SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 0}


def clean() -> pd.DataFrame:
    """A table of thirty houses with a number, a category and a target."""
    random = np.random.default_rng(0)
    area, kind = 31 + 5 * random.permutation(30), random.choice(["flat", "house"], 30)
    return pd.DataFrame({"area": area, "kind": kind, "y": 1000 * area + 5000 * (kind == "house")})


def load(folder, path="t.csv", **data):
    """Load a table as the house-price task does."""
    whole = {"source": "files", "root": str(folder), "path": path, "target": "y", "delimiter": "auto", "ignore": []}
    whole |= {"numeric": [], "categorical": [], "missing": ["", "NA", "?"], "bad_rows": "error", **data}
    return load_dataset(whole, SPLIT, load_task("house_prices"))


def text(table: pd.DataFrame | None = None, **form) -> str:
    return (clean() if table is None else table).to_csv(index=False, **form)


def same(dataset, wanted: pd.DataFrame) -> None:
    """Compare a loaded table with one that was written plainly."""
    expected = wanted.rename(columns={"y": "price"})
    order = np.random.default_rng(0).permutation(len(wanted))
    loaded = pd.concat([dataset.train, dataset.validation, dataset.test], ignore_index=True)
    pd.testing.assert_frame_equal(loaded, expected.iloc[order].reset_index(drop=True)[list(loaded)], check_dtype=False)


def table_of(**columns) -> pd.DataFrame:
    return clean().assign(**columns)[[*columns, *(name for name in clean() if name not in columns)]]


SAME = {  # bytes of a table that is the clean one, written otherwise
    "commas": text().encode(),
    "semicolons": text(sep=";").encode(),
    "tabs": text(sep="\t").encode(),
    "bars": text(sep="|").encode(),
    "line ends of Windows": text(lineterminator="\r\n").encode(),
    "line ends of old Macs": text(lineterminator="\r").encode(),
    "byte order mark": text().encode("utf-8-sig"),
    "UTF-16 with a mark": text().encode("utf-16"),
    "UTF-16 without": text().encode("utf-16-le"),
    "UTF-16 big-endian": text().encode("utf-16-be"),
    "all quoted": text(quoting=1).encode(),
    "blanks around cells": text().replace(",", " , ").encode(),
    "blank lines": text().replace("\n", "\n\n").encode(),
    "no line end at the end": text().rstrip("\n").encode(),
    "a delimiter ends each row": "\n".join(
        [text().splitlines()[0], *(f"{r}," for r in text().splitlines()[1:])]
    ).encode(),
    "a delimiter ends header and rows": text().replace("\n", ",\n").encode(),
    "hint of Excel": b"sep=;\n" + text(sep=";").encode(),
    "comments": b"# from the registry\n# 2024, checked\n" + text().encode(),
    "comment signs before the header": b"#" + text().encode(),
    "decimal commas": text(clean().assign(area=clean()["area"].map("{:.1f}".format)), sep=";")
    .replace(".", ",")
    .encode(),
    "thousands by comma": text(clean().assign(y=clean()["y"].map("{:,}".format))).encode(),
    "thousands by blank": text(clean().assign(y=clean()["y"].map(lambda y: f"{y:,}".replace(",", " ")))).encode(),
    "thousands by no-break space": text(
        clean().assign(y=clean()["y"].map(lambda y: f"{y:,}".replace(",", "\u202f")))
    ).encode(),
    "thousands by apostrophe": text(clean().assign(y=clean()["y"].map(lambda y: f"{y:,}".replace(",", "'")))).encode(),
    "dollars": text(clean().assign(y=clean()["y"].map("${:,}".format))).encode(),
    "euros behind": text(clean().assign(y=clean()["y"].map("{} €".format))).encode(),
    "codes of currencies": text(clean().assign(y=clean()["y"].map("USD {}".format))).encode(),
    "a unit": text(clean().assign(area=clean()["area"].map("{} m2".format))).encode(),
    "a unit with a superscript": text(clean().assign(area=clean()["area"].map("{}m²".format))).encode(),
    "percent": text(clean().assign(area=clean()["area"].map("{} %".format))).encode(),
    "plus signs": text(clean().assign(area=clean()["area"].map("+{}".format))).encode(),
    "scientific": text(clean().assign(y=clean()["y"].map("{:e}".format))).encode(),
    "Arabic digits": text(
        clean().assign(area=[str(a).translate({48 + d: 0x660 + d for d in range(10)}) for a in clean()["area"]])
    ).encode(),
    "full-width digits": text(
        clean().assign(area=[str(a).translate({48 + d: 0xFF10 + d for d in range(10)}) for a in clean()["area"]])
    ).encode(),
}


@pytest.mark.parametrize("name", SAME)
def test_the_clean_table_written_otherwise_is_the_same(tmp_path, name):
    (tmp_path / "t.csv").write_bytes(SAME[name])
    same(load(tmp_path), clean())


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".zip"):
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w") as archive:
            archive.writestr("inner.csv", content)
        return memory.getvalue()
    return {".gz": gzip, ".bz2": bz2, ".xz": lzma}[f".{name.rpartition('.')[2]}"].compress(content)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.bz2", "t.csv.xz", "t.zip", "t.csv.zip"])
def test_packed_tables_are_unpacked(tmp_path, name):
    (tmp_path / name).write_bytes(packed(name, text().encode()))
    same(load(tmp_path, name), clean())


def test_excel_parquet_and_json_are_read_as_a_csv_file_is(tmp_path):
    dated = clean().assign(sold=pd.date_range("2020-01-31", periods=30, freq="W"))
    dated.loc[3, "kind"] = None
    dated.to_csv(tmp_path / "t.csv", index=False)
    dated.to_excel(tmp_path / "t.xlsx", index=False)
    dated.to_parquet(tmp_path / "t.parquet")
    dated.to_json(tmp_path / "t.jsonl", orient="records", lines=True, date_format="iso")
    dated.to_json(tmp_path / "t.json", orient="records", date_format="iso")
    wanted = load(tmp_path)
    assert wanted.summary.columns["sold"].startswith("date")
    for name in ("t.xlsx", "t.parquet", "t.jsonl", "t.json"):
        for split in ("train", "validation", "test"):
            pd.testing.assert_frame_equal(load(tmp_path, name)[split], wanted[split], check_dtype=False)


def test_a_sign_that_ends_lines_elsewhere_ends_none_of_json(tmp_path):
    kinds = [f"a\u2028{kind}" for kind in clean()["kind"]]
    clean().assign(kind=kinds).to_json(tmp_path / "t.jsonl", orient="records", lines=True, force_ascii=False)
    assert "\u2028" in (tmp_path / "t.jsonl").read_text()
    read = load(tmp_path, "t.jsonl")
    assert sorted({*read.train["kind"], *read.test["kind"]}) == sorted(set(kinds))


def test_of_an_excel_file_of_several_sheets_the_first_is_read_and_that_is_said(tmp_path):
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        clean().to_excel(book, sheet_name="sales", index=False)
        clean().head(3).to_excel(book, sheet_name="notes", index=False)
    dataset = load(tmp_path, "t.xlsx")
    same(dataset, clean())
    assert any("only the first of 2 sheets is read, 'sales'" in warning for warning in dataset.summary.warnings)


@settings(max_examples=40)
@given(
    sep=st.sampled_from(list(",;\t|")),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
    lines=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([0, 1, 2]),
    kinds=st.lists(st.sampled_from(["plain", "große Straße", 'say "no"', "a,b;c|d", "two\nlines", " "]), min_size=2),
)
def test_every_way_of_writing_a_table_is_read_back(tmp_path_factory, sep, encoding, lines, quoting, kinds):
    folder = tmp_path_factory.mktemp("dialect")
    kinds = [kind.replace("\n", lines) for kind in kinds]  # the line end that pandas knows to quote
    table = clean().assign(kind=[kinds[n % len(kinds)] for n in range(30)])
    content = table.to_csv(index=False, sep=sep, lineterminator=lines, quoting=quoting)
    (folder / "t.csv").write_bytes(content.encode(encoding))
    same(load(folder), table.assign(kind=table["kind"].str.strip().str.replace(lines, "\n")))


def test_lists_folders_and_patterns_of_files_are_one_table(tmp_path):
    for number, part in enumerate(np.array_split(np.arange(30), 3)):
        clean().iloc[part].to_csv(tmp_path / f"part-{number}.csv", index=False)
    (tmp_path / "notes.md").write_text("no table")
    for path in ("part-*.csv", ["part-0.csv", "part-1.csv", "part-2.csv"], "."):
        same(load(tmp_path, path), clean())
    (tmp_path / "part-3.csv").write_text("area,kind,z\n1,flat,2\n")
    with pytest.raises(UserError, match=r"part-3\.csv: its columns differ from those of .*part-0\.csv: y, z"):
        load(tmp_path, "part-*.csv")


WARNED = {  # cells of `area` -> what they are, and what is said
    "NaN": ("NaN", float("nan"), "read as missing values (NaN)"),
    "null": ("null", float("nan"), "read as missing values (null)"),
    "N/A": ("N/A", float("nan"), "N/A"),
    "dash": ("-", float("nan"), "read as missing values (-)"),
    "error of Excel": ("#DIV/0!", float("nan"), "#DIV/0!"),
    "None": ("None", float("nan"), "None"),
}


@pytest.mark.parametrize("name", WARNED)
def test_words_for_missing_among_numbers_are_missing_and_said(tmp_path, name):
    cell, value, said = WARNED[name]
    odd, wanted = clean().astype({"area": object}), clean().astype({"area": float})
    odd.loc[::4, "area"], wanted.loc[::4, "area"] = cell, value
    odd.to_csv(tmp_path / "t.csv", index=False)
    dataset = load(tmp_path)
    same(dataset, wanted)
    assert any(said in warning and "'area'" in warning for warning in dataset.summary.warnings)


SAID = {  # a table that is read, with what is said of it
    "a column of several units": (table_of(size=["1 bed", "2 beds", "3 km"] * 10), "'size' is read as a category"),
    "text in a third of a column": (
        table_of(size=["1", "2", "many"] * 10),
        "20 of 30 cells are numbers .others: 'many'",
    ),
    "codes with zeros": (table_of(zip=[f"0{n}" for n in range(2000, 2030)]), "'zip': some numbers have leading zeros"),
    "a constant": (table_of(state="Iowa"), "the same value in every row.*: state"),
    "ids": (table_of(name=[f"N-{n}x" for n in range(30)]), "a different text in every row.*: name"),
    "row numbers": (table_of(number=range(1, 31)), "only count the rows.*: number"),
    "nothing in a column": (table_of(lot=""), "empty columns: lot"),
    "dates of two meanings": (table_of(sold=["1/2/2024", "3/4/2024"] * 15), "'sold': dates are read as %m/%d/%Y"),
    "a mark of two meanings": (table_of(size=["1,200", "3,400"] * 15), "'size': 1,200 is read as 1,200"),
    "a column without a name": (clean().rename(columns={"kind": ""}), "1 column without a name"),
    "the same rows": (pd.concat([clean().head(3)] * 10), "also in train"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_odd_in_a_table_is_said(tmp_path, name):
    table, said = SAID[name]
    table.to_csv(tmp_path / "t.csv", index=False)
    warnings = load(tmp_path).summary.warnings
    assert any(re.search(said, warning) for warning in warnings), warnings


def test_the_clean_table_gives_no_warning(tmp_path):
    clean().to_csv(tmp_path / "t.csv", index=False)
    assert load(tmp_path).summary.warnings == []


DATES = {
    "%Y-%m-%d": "ISO8601",
    "%d.%m.%Y": "%d.%m.%Y",
    "%d/%m/%Y": "%d/%m/%Y",
    "%m/%d/%Y": "%m/%d/%Y",
    "%Y%m%dT000000": "ISO8601",
    "%Y%m%d": "ISO8601",
    "%d %b %Y": "%d %b %Y",
    "%B %d, %Y": "%B %d, %Y",
    "%Y-%m-%d %H:%M:%S": "ISO8601",
}


@pytest.mark.parametrize("form", DATES)
def test_dates_are_told_and_read(tmp_path, form):
    days = pd.date_range("2020-01-05", periods=30, freq="8D")
    table_of(sold=days.strftime(form)).to_csv(tmp_path / "t.csv", index=False)
    dataset = load(tmp_path)
    assert dataset.summary.columns["sold"] == f"date ({DATES[form]})"
    same(dataset, table_of(sold=days.astype("datetime64[s]")))


REFUSED = {  # bytes, and what the one line says
    "a wide row": (
        b"area,kind,y\n1,flat,2\n3,flat,4,5\n6,flat,7\n",
        r"t\.csv:3: has 4 cells, but the header has 3",
    ),
    "the first row alone wide": (b"area,kind,y\n1,a,flat,2\n3,flat,4\n6,flat,7\n", r"t\.csv:2: has 4 cells"),
    "all rows wide": (b"area,y\n" + b"1,2,3\n" * 9, r"t\.csv:2: no rows can be used: has 3 cells"),
    "a narrow row": (b"area,kind,y\n1,flat,2\n3\n6,flat,7\n", r"t\.csv:3: has 1 cell, but the header has 3"),
    "two columns of a name": (b"area,area,y\n1,2,3\n", r"two columns are named 'area'"),
    "Excel, old": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99),
        r"is an old Office file; save it as plain text or CSV",
    ),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), r"is an image"),
    "PDF": (b"%PDF-1.7 ...", r"is a PDF"),
    "gzip by another name": (gzip.compress(b"area,y\n1,2\n"), r"is compressed with gzip; rename it to end in \.gz"),
    "latin-1": (
        "area,kind,y\n1,größe,2\n".encode("latin-1"),
        r"t\.csv:2: byte 0xf6 .* is not valid UTF-8; set data\.encoding",
    ),
    "an open quote": (b'area,kind,y\n1,"flat,2\n3,flat,4\n', r"t\.csv:2: is not valid CSV: unexpected end of data"),
    "a header below others": (b"Report,2024,Q1\narea,kind,y\n1,flat,2\n", r"t\.csv:2: this looks like the header"),
    "no header": (b"1,flat,2\n3,flat,4\n", r"no column 'y', as set in data\.target"),
    "a header alone": (b"area,kind,y\n", r"a header but no row"),
    "nothing": (b"", r"this table is empty"),
    "blank lines": (b"\n\n \n", r"this table is empty"),
    "a text as the target": (
        b"area,y\n" + b"1,2\n" * 20 + b"3,dear\n",
        r"t\.csv:22: column 'y' contains 'dear', not a number",
    ),
    "a stray text": (
        b"area,y\n" + b"1,2\n" * 20 + b"big,3\n",
        r"t\.csv:22: column 'area' contains 'big', not a number",
    ),
    "a stray date": (
        b"sold,y\n" + b"2024-05-01,2\n" * 20 + b"2024-02-31,3\n",
        r"column 'sold' contains '2024-02-31', not a date",
    ),
    "a target too large": (b"area,y\n" + b"1,2\n" * 20 + b"1,1e300\n", r"t\.csv:22: column 'y' contains '1e300'"),
    "the target alone": (b"y\n1\n2\n3\n", r"no columns are left besides the target"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, name):
    content, said = REFUSED[name]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        load(tmp_path)
    assert len(error.value.problems) == 1 and "\n" not in str(error.value)


OTHER_REFUSED = {
    "a delimiter that is not the table's": (
        {"delimiter": ","},
        text(sep=";"),
        r"the header has only one column.*data\.delimiter: ';'",
    ),
    "a target that is ignored": ({"ignore": ["y"]}, text(), r"data\.ignore: contains the target 'y'"),
    "a target as a category": ({"categorical": ["y"]}, text(), r"data\.categorical: contains the target 'y'"),
    "one mark for two": ({"decimal": ",", "thousands": ","}, text(), r"data\.thousands: ','"),
    "an unknown column": ({"ignore": ["aera"]}, text(), r"no column 'aera'.*did you mean 'area'"),
    "a file that is not there": ({"path": "u.csv"}, text(), r"u\.csv: cannot be read \(No such file"),
    "a pattern of nothing": ({"path": "u*.csv"}, text(), r"no file matches this pattern"),
    "JSON that is none": ({"path": "t.jsonl"}, '{"area": 1, "y": 2}\n{"area": 1', r"t\.jsonl:2: is not valid JSON"),
    "JSON with lists": ({"path": "t.jsonl"}, '{"area": [1], "y": 2}\n', r"t\.jsonl:1: column 'area' contains"),
    "JSON after empty lines": (
        {"path": "t.jsonl"},
        '\n\n{"area": [1], "y": 2}\n',
        r"t\.jsonl:3: column 'area' contains a list",
    ),
    "JSON of numbers": ({"path": "t.jsonl"}, "1\n2\n", r"t\.jsonl:1: is not a JSON object"),
}


@pytest.mark.parametrize("name", OTHER_REFUSED)
def test_settings_that_do_not_fit_are_refused_in_one_line(tmp_path, name):
    data, content, said = OTHER_REFUSED[name]
    (tmp_path / ("t.jsonl" if name.startswith("JSON") else "t.csv")).write_text(content)
    with pytest.raises(UserError, match=said):
        load(tmp_path, **data)


def test_a_zip_of_several_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", text())
        archive.writestr("b.csv", text())
    with pytest.raises(UserError, match=r"t\.zip: contains 2 files: a\.csv, b\.csv; extract it"):
        load(tmp_path, "t.zip")


def test_bad_rows_are_left_out_and_said_where_allowed(tmp_path):
    (tmp_path / "t.csv").write_text(text() + "1,flat\n2,flat,3,4\n,house,\n")
    dataset = load(tmp_path, bad_rows="skip")
    same(dataset, clean())
    assert any(
        "3 examples skipped" in warning and "t.csv:32: has 2 cells" in warning for warning in dataset.summary.warnings
    )


def test_marks_may_be_set(tmp_path):
    marked = clean().assign(area=clean()["area"].map("{}.000".format))
    marked.to_csv(tmp_path / "t.csv", index=False)
    same(load(tmp_path, thousands="."), clean().assign(area=clean()["area"] * 1000))
    same(load(tmp_path, decimal="."), clean())


def test_later_files_are_read_as_the_first(tmp_path):
    clean().assign(area=clean()["area"].map("{:.1f}".format)).to_csv(tmp_path / "a.csv", index=False, sep=";")
    content = (tmp_path / "a.csv").read_text().replace(".", ",")
    (tmp_path / "a.csv").write_text(content)
    (tmp_path / "b.csv").write_text("y;kind;area;more\n1;flat;1,200;x\n2;flat;3;x\n")
    dataset = load(tmp_path, {"train": "a.csv", "test": "b.csv"})
    assert dataset.test["area"].tolist() == [1.2, 3]
    assert any("b.csv: columns that are not in the first file are ignored: more" in w for w in dataset.summary.warnings)


NUMBERS = st.floats(-1e12, 1e12, allow_nan=False).map(lambda value: round(value, 3))


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.sampled_from([".", ","]), st.sampled_from(["", "any", " ", "'"]),
       st.sampled_from(["", "$", "€ ", "USD "]), st.sampled_from(["", " m2", " %", " kr"]))  # fmt: skip
def test_numbers_are_read_back_however_they_are_written(values, decimal, thousands, prefix, suffix):
    thousands = {"any": "," if decimal == "." else "."}.get(thousands, thousands)
    marks = {",": thousands, ".": decimal}
    written = [f"{value:,.3f}" for value in values]
    cells = [prefix * (not suffix) + "".join(marks.get(sign, sign) for sign in each) + suffix for each in written]
    column = pd.Series(cells, dtype=str)
    assert decimal in decimal_marks(column)
    reading = read_numbers(column, decimal)
    np.testing.assert_array_equal(reading.numbers, values)
    assert not reading.stray.any() and not reading.words


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a table with a date, a unit, a category and a column with gaps."""
    folder = tmp_path_factory.mktemp("trained")
    days = pd.date_range("2020-01-05", periods=60, freq="8D").strftime("%d.%m.%Y")
    table = pd.concat([clean()] * 2, ignore_index=True).assign(sold=days, number=range(60))
    table["lot"] = [None if n % 5 == 0 else n % 7 for n in range(60)]
    table["area"] = table["area"].map("{} m2".format)
    table.to_csv(folder / "t.csv", index=False, sep=";")
    more = (
        "data.target=y",
        "data.delimiter=';'",
        "data.ignore=[number]",
        "model=linear_regression",
        "training.epochs=1",
    )
    result = invoke("train", CONFIG, *sets([*overrides(folder / "t.csv"), *more]), "--run-dir", folder / "run")
    assert result.exit_code == 0, result.output
    return folder


HOUSE = '{"area": 100, "kind": "flat", "sold": "2020-03-05", "lot": 3}'
ALIKE = {
    "another order, unit, and what training put aside": "number;lot;kind;sold;area;y\n7;3;flat;05.03.2020;100 m2;1\n",
    "no unit": "lot;kind;sold;area\n3;flat;05.03.2020;100\n",
    "another delimiter": "lot,kind,sold,area\n3,flat,05.03.2020,100\n",
}


def answer(folder, *arguments):
    result = invoke("predict", folder / "run", *arguments)
    assert result.exit_code == 0, result.output
    return result.output.split("price ")[1].split()[0]


@pytest.mark.parametrize("name", ALIKE)
def test_a_file_is_answered_as_the_same_house_in_json(trained, tmp_path, name):
    (tmp_path / "new.csv").write_text(ALIKE[name])
    assert answer(trained, "--file", tmp_path / "new.csv") == answer(trained, HOUSE)


def test_what_training_saw_missing_may_be_left_out(trained, tmp_path):
    (tmp_path / "new.csv").write_text("kind;sold;area\nflat;05.03.2020;100\n")
    absent = HOUSE.replace(', "lot": 3', "")
    null = HOUSE.replace("3}", "null}")
    assert answer(trained, "--file", tmp_path / "new.csv") == answer(trained, absent) == answer(trained, null)


UNANSWERABLE = {
    "a column is absent": ("kind;sold;lot\nflat;05.03.2020;3\n", r"missing column 'area', which had no missing values"),
    "a column is misspelt": ("aera;kind;sold\n1;flat;05.03.2020\n", r"unknown column 'aera'; did you mean 'area'"),
    "no column is known": ("a;b\n1;2\n", r"unknown column 'a'"),
    "a text for a number": ("area;kind;sold\nbig;flat;05.03.2020\n", r"new\.csv:2: column 'area' contains 'big'"),
    "a text for a date": ("area;kind;sold\n1;flat;soon\n", r"new\.csv:2: column 'sold' contains 'soon', not a date"),
    "a wide row": ("area;kind;sold\n1;flat;05.03.2020;9\n", r"new\.csv:2: has 4 cells"),
    "an empty file": ("", r"this table is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNANSWERABLE)
def test_a_file_that_does_not_fit_is_refused_in_one_line(trained, tmp_path, name):
    content, said = UNANSWERABLE[name]
    (tmp_path / "new.csv").write_text(content)
    result = invoke("predict", trained / "run", "--file", tmp_path / "new.csv")
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line]
    assert len(lines) == 1 and re.search(said, lines[0]), result.output


UNREADABLE = {
    "{'area': 1}": "is not a JSON object",
    "[1]": "is not a JSON object",
    '{"area": 100}': "missing columns 'sold', 'kind'",
    HOUSE.replace("100", "NaN"): "NaN is not valid JSON",
    HOUSE.replace("100", "1e300"): "the number is too large; use at most 3.403e+38",
    HOUSE.replace("100", "9" * 400): "the number is too large",
    HOUSE.replace("100", '"100"'): "must be a number",
    HOUSE.replace("100", "true"): "must be a number",
    HOUSE.replace('"flat"', '["flat"]'): "must be a single value",
    HOUSE.replace("2020-03-05", "yesterday"): "'yesterday' is not a date; write it as YYYY-MM-DD",
    HOUSE.replace('"lot"', '"area"'): "contains a column twice",
    HOUSE.replace('"lot"', '"plot"'): "unknown column 'plot'; did you mean 'lot'",
}


@pytest.mark.parametrize("house", UNREADABLE)
def test_a_house_in_json_that_does_not_fit_is_refused_in_one_line(trained, house):
    result = invoke("predict", trained / "run", house)
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line]
    assert len(lines) == 1 and UNREADABLE[house] in lines[0], result.output
