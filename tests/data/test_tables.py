"""CSV tables: types by content, overrides, gaps, rows that cannot be used."""

import gzip

import numpy as np
import pytest

from pipelines.data import fingerprint
from pipelines.data.rows import row_hashes
from pipelines.data.tables.cells import read_cells
from pipelines.data.tables.columns import TableRules, input_name, type_table
from pipelines.errors import UserError


def table(tmp_path, text, delimiter=",", name="t.csv", encoding="utf-8", **changes):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    rules = TableRules(**{"target": "price", "missing": ["", "NA", "?"], **changes})
    typed = type_table(read_cells(path, delimiter, encoding, lambda names: "price" in names), rules)
    return typed.frame, typed.skipped


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_numbers_and_categories_are_told_apart_and_may_both_be_missing(tmp_path, name):
    frame, skipped = table(tmp_path, "a,b,price\n1,x,10\n NA ,,20\n2.5e1,?,30\n", name=name)
    assert frame.dtypes.map(str).tolist()[0] == "float64"
    np.testing.assert_array_equal(frame["a"], [1, np.nan, 25])
    assert frame["b"].tolist() == ["x", "", ""]
    assert frame["price"].tolist() == [10, 20, 30] and not skipped


def test_types_can_be_overridden_and_columns_left_out(tmp_path):
    frame, _ = table(tmp_path, "id;zip;price\n1;02134;10\n2;99999;20\n", ";", categorical=["zip"], ignore=["id"])
    assert frame["zip"].tolist() == ["02134", "99999"]
    assert list(frame) == ["zip", "price"]


def test_a_stray_text_in_a_column_of_numbers_is_named_with_its_line(tmp_path):
    text = (
        'a,note,price\n1,"two\nlines",10\n2,x,20\n' + "\n" + "".join(f"{i},x,{i}\n" for i in range(20)) + "oops,x,5\n"
    )
    with pytest.raises(UserError, match=r"t\.csv:26: column 'a' contains 'oops', not a number"):
        table(tmp_path, text)
    frame, skipped = table(tmp_path, text, bad_rows="skip")
    assert len(frame) == 22
    assert skipped == [{"place": f"{tmp_path}/t.csv:26", "reason": "column 'a' contains 'oops', not a number"}]


def test_rows_with_no_target_are_counted_and_skipped_where_allowed(tmp_path):
    text = "a,price\n1,10\n2,\n3,inf\n4,x\n"
    with pytest.raises(UserError, match=r"t\.csv:3: no target in column 'price' \(and 2 similar rows\)"):
        table(tmp_path, text)
    frame, skipped = table(tmp_path, text, bad_rows="skip")
    assert frame["a"].tolist() == [1]
    assert [skip["place"].rsplit(":", 1)[1] for skip in skipped] == ["3", "4", "5"]


def test_names_suit_a_signature_and_stay_apart(tmp_path):
    names = list(map(input_name, ["Lot.Frontage", "1st floor", "größe", "面积", "卧室", ""]))
    assert names == ["Lot_Frontage", "_1st_floor", "gru00f6u00dfe", "u9762u79ef", "u5367u5ba4", "_"]
    with pytest.raises(UserError, match=r"t\.csv: columns 'a\.b' and 'a b' would both be named 'a_b'; rename one"):
        table(tmp_path, "a.b,a b,price\n1,2,3\n")


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
def test_a_table_of_which_no_row_can_be_used_says_why(tmp_path, bad_rows):
    with pytest.raises(UserError, match=r"t\.csv:2: no rows can be used: column 'a' contains 'x', not a number"):
        table(tmp_path, "a,price\nx,1\n", numeric=["a"], bad_rows=bad_rows)
    with pytest.raises(UserError, match=r"t\.csv:2: column 'a' contains 'x', not a number; fix it"):
        table(tmp_path, "a,price\nx,1\n", numeric=["a"], target=None)


def test_a_damaged_table_says_so(tmp_path):
    content = bytearray(gzip.compress(b"a,price\n" + b"1,2\n" * 1000))
    content[20] ^= 0xFF
    (tmp_path / "t.csv.gz").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_cells(tmp_path / "t.csv.gz", ",", "utf-8", bool)


def test_line_numbers_count_lines_and_not_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a;b\n1; "x,\ny"\n\n  \n2;z\n')
    cells = read_cells(path, ";", "utf-8", bool)
    assert [cells.place(row) for row in (0, 1)] == [f"{path}:2", f"{path}:6"]


def test_the_fingerprint_follows_the_content(tmp_path):
    def digest(text):
        frame, _ = table(tmp_path, text)
        return fingerprint(frame.columns, row_hashes(frame))

    same = digest("a,price\n1,10\n2,20\n")
    assert same == digest("a,price\n1.0,10\n2,20\n")
    assert (
        len({same, digest("a,price\n1,10\n2,21\n"), digest("b,price\n1,10\n2,20\n"), digest("a,price\n2,20\n1,10\n")})
        == 4
    )
