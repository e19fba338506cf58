"""Long texts in stretches."""

import gzip

import pytest

from pipelines.data.texts.files import Reading, find_texts
from pipelines.data.texts.read import STRETCH, cut_text, read_file, read_stretches
from pipelines.errors import UserError

TEXT = "Caf\u00e9 \u4f60\u597d and then some more words\n" * 40_000  # more than a block, with long characters


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_stretches_join_to_the_text(tmp_path, name):
    path = tmp_path / name
    (gzip.open if name.endswith("gz") else open)(path, "wb").write(TEXT.encode())
    (document,) = read_file(path, 200, Reading()).documents
    stretches = [str(stretch) for stretch in document]
    assert "".join(stretches) == TEXT
    assert max(len(stretch.encode()) for stretch in stretches) <= STRETCH + 4
    assert all(stretch[0] in " \n" for stretch in stretches[1:])


def test_a_text_that_need_not_be_split_stands_in_few_stretches(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some words\n" * 1000)
    assert len(read_stretches(path).documents[0]) >= 150
    assert len(read_stretches(path, least=1).documents[0]) == 3


@pytest.mark.parametrize("text", ["", "a", "no blank" * 2000, "\u4f60\u597d" * 9000])
def test_any_text_can_be_cut(text):
    assert "".join(cut_text(text)) == text


def test_a_damaged_file_says_so(tmp_path):
    content = bytearray(gzip.compress(b"a line\n" * 1000))
    content[20] ^= 0xFF
    (tmp_path / "t.txt.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"t\.txt\.gz: cannot be read"):
        read_file(tmp_path / "t.txt.gz", 1, Reading())


@pytest.mark.parametrize("name", ["b.txt", "b.txt.gz"])
def test_a_bad_byte_is_named_by_its_line(tmp_path, name):
    path = tmp_path / name
    with (gzip.open if name.endswith("gz") else open)(path, "wb") as file:
        file.write(b"first line\nsecond \xff line\n")
    with pytest.raises(UserError, match=r"b\.txt(\.gz)?:2: byte 0xff .*not valid UTF-8"):
        read_file(path, 1, Reading())


def test_a_folder_stands_for_its_files_by_name(tmp_path):
    for name in ("b/2.txt", "a.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [path.name for path in find_texts(tmp_path, ["."], Reading()).files] == ["a.txt", "2.txt"]
    with pytest.raises(UserError, match="no such file or folder"):
        find_texts(tmp_path, ["c"], Reading())
