"""Long texts in stretches."""

import gzip

import pytest

from pipelines.data.texts import STRETCH, cut_text, read_stretches, text_files
from pipelines.errors import UserError

TEXT = "Caf\u00e9 \u4f60\u597d and then some more words\n" * 40_000  # more than a block, with long characters


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_stretches_join_to_the_text(tmp_path, name):
    path = tmp_path / name
    (gzip.open if name.endswith("gz") else open)(path, "wb").write(TEXT.encode())
    stretches = [str(stretch) for stretch in read_stretches(path)]
    assert "".join(stretches) == TEXT
    assert max(len(stretch.encode()) for stretch in stretches) <= STRETCH + 4
    assert all(stretch[0] in " \n" for stretch in stretches[1:])


def test_a_text_that_need_not_be_split_stands_in_few_stretches(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some words\n" * 1000)
    assert len(read_stretches(path)) >= 150
    assert len(read_stretches(path, least=1)) == 3


@pytest.mark.parametrize("text", ["", "a", "no blank" * 2000, "\u4f60\u597d" * 9000])
def test_any_text_can_be_cut(text):
    assert "".join(cut_text(text)) == text


def test_a_damaged_file_says_so(tmp_path):
    content = bytearray(gzip.compress(b"a line\n" * 1000))
    content[20] ^= 0xFF
    (tmp_path / "t.txt.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"t\.txt\.gz: cannot be read"):
        read_stretches(tmp_path / "t.txt.gz")


@pytest.mark.parametrize("name", ["b.txt", "b.txt.gz"])
def test_a_bad_byte_is_named_by_its_line(tmp_path, name):
    path = tmp_path / name
    with (gzip.open if name.endswith("gz") else open)(path, "wb") as file:
        file.write(b"first line\nsecond \xff line\n")
    with pytest.raises(UserError, match=r"b\.txt(\.gz)?:2: byte 0xff .*no UTF-8"):
        read_stretches(path)


def test_a_folder_stands_for_its_files_by_name(tmp_path):
    for name in ("b/2.txt", "a.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [path.name for path in text_files(tmp_path)] == ["a.txt", "2.txt"]
    with pytest.raises(UserError, match="no such file or folder"):
        text_files(tmp_path / "c")
