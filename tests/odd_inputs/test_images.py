"""Odd folders and files of images: each is read as what it is, refused in one line, or passed over and said."""

import io
import json
import os
import struct
import tarfile
import unicodedata
import zipfile
import zlib

import h5py
import numpy as np
import pytest
from cats import CONFIG
from conftest import invoke, sets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import TRACED_ONCE

from pipelines.data import load_dataset
from pipelines.data.images.kinds import MOST_PIXELS
from pipelines.data.images.read import decode_image, undecodable
from pipelines.errors import UserError
from pipelines.tasks.cat_classifier.sources import files
from pipelines.tasks.cat_classifier.task import TASK


def picture(seed=0, mode="RGB", size=(9, 6)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(pixels)
    return Image.fromarray(pixels[..., 0].astype("uint16") * 257) if mode == "I;16" else image.convert(mode)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Three cats and three dogs."""
    for number in range(6):
        place = tmp_path / "images" / ("cat" if number < 3 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(encode(picture(number)))
    return tmp_path / "images"


def read(folder, path=None, positive=(), bad_files="error"):
    path = folder.name if path is None else path
    return files(root=str(folder.parent), path=path, positive=list(positive), bad_files=bad_files)


def held(source):
    table = source.examples["all"]
    return sorted((path.read_bytes(), label) for path, label in zip(table["image"], table["label"], strict=True))


def write(place, content=b"xx"):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def move(place, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    place.rename(to)


PASSED_OVER = {  # what is done to the folder -> what is said; what is read stays as it was
    "Windows thumbnails": (lambda f: write(f / "cat/Thumbs.db"), "1 file (Thumbs.db)"),
    "Windows folder settings": (lambda f: write(f / "cat/desktop.ini"), "(desktop.ini)"),
    "Finder's notes": (lambda f: write(f / "dog/.DS_Store"), "(.DS_Store)"),
    "notes": (lambda f: write(f / "dog/notes.txt", b"good dogs"), "(notes.txt)"),
    "a readme": (lambda f: write(f / "readme.md", b"# Cats"), "(readme.md)"),
    "labels": (lambda f: write(f / "labels.csv", b"file,label\n"), "(labels.csv)"),
    "labels in each class": (
        lambda f: [write(f / kind / f"{n}.json", b"{}") for kind in ("cat", "dog") for n in range(4)],
        "8 files (0.json, 1.json, 2.json and 5 more)",
    ),
    "a text without an ending": (lambda f: write(f / "cat/LICENSE", b"all rights"), "(LICENSE)"),
    "a document": (lambda f: write(f / "cat/paper.pdf", b"%PDF-1.7"), "(paper.pdf)"),
    "a video": (lambda f: write(f / "cat/film.mp4", b"\0\0\0\x18ftypmp42"), "(film.mp4)"),
    "a hidden image": (lambda f: write(f / "cat/.7.png", encode(picture(7))), "(.7.png)"),
    "a hidden folder": (lambda f: write(f / ".thumbs/cat/0.png", encode(picture(7))), "(.thumbs)"),
    "what a Mac's zip holds": (lambda f: write(f / "__MACOSX/cat/._0.png"), "there is no class '__MACOSX'"),
    "an image beside the classes": (lambda f: write(f / "7.png", encode(picture(7))), "outside the class folders"),
    "an empty class": (lambda f: (f / "rabbit").mkdir(), "rabbit contains no images: there is no class 'rabbit'"),
    "a class without an image": (lambda f: write(f / "bird/list.txt"), "there is no class 'bird'"),
    "a link that leads nowhere": (lambda f: (f / "owl").symlink_to(f / "gone"), "owl, a broken link"),
    "a pipe": (lambda f: os.mkfifo(f / "cat/pipe.png"), "(pipe.png)"),
    "subfolders of a class": (
        lambda f: [move(f / f"dog/{n}.png", f / f"dog/{kind}/{n}.png") for n, kind in ((3, "a"), (4, "b"), (5, "b"))],
        "contains images only in subfolders (a, b): read as one class",
    ),
}


@pytest.mark.parametrize("odd", PASSED_OVER)
def test_what_is_no_image_is_passed_over_and_said(odd, folder):
    change, said = PASSED_OVER[odd]
    before = held(read(folder))
    change(folder)
    source = read(folder)
    assert held(source) == before and not source.skipped
    assert len(source.warnings) in (1, 2) and said in " | ".join(source.warnings), source.warnings
    assert all("\n" not in line for line in source.warnings)


def test_links_are_followed_each_folder_once(folder, tmp_path):
    before = held(read(folder))
    move(folder / "dog", tmp_path / "elsewhere")
    (folder / "dog").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "again").symlink_to(folder / "cat")
    (folder / "cat" / "up").symlink_to(folder / "cat" / "up")
    assert held(read(folder)) == before


def test_a_loop_to_a_folder_above_ends(folder):
    (folder / "cat" / "all").symlink_to(folder)
    labels = read(folder).examples["all"]["label"]
    assert labels.value_counts().to_dict() == {"cat": 6, "dog": 3}  # which are contradictory, and said as such


def test_names_of_classes_are_the_same_however_their_letters_are_written(folder):
    for form in ("NFC", "NFD"):
        write(folder / unicodedata.normalize(form, "Hündchen") / f"{form}.png", encode(picture(len(form))))
    source = read(folder, positive=[unicodedata.normalize("NFD", "Hündchen")])
    assert (source.examples["all"]["kind"] == "Hündchen").sum() == 2


@pytest.mark.parametrize("other", ["Cat", "cat ", "CAT", "ｃａｔ"])
def test_classes_that_differ_in_case_or_blanks_alone_are_said(other, folder):
    write(folder / other / "7.png", encode(picture(7)))
    assert f"classes {' and '.join(map(repr, sorted(['cat', other])))} differ only in case" in " ".join(
        read(folder).warnings
    )


def bomb(width, height):
    """A PNG of a few bytes that says that it is large."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def rle_bmp():
    plain = bytearray(encode(picture(mode="L"), "BMP"))
    plain[30] = 1
    return bytes(plain)


BAD = {  # content of a file called .jpg -> what is said of it
    "TIFF": (encode(picture(), "TIFF"), "an image in an unsupported format (TIFF); convert it to PNG or JPEG"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "an image in an unsupported format (HEIC); convert it"),
    "HEIF by its second brand": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "an image in an unsupported format (HEIC)"),
    "AVIF": (encode(picture(), "AVIF"), "an image in an unsupported format (AVIF)"),
    "Photoshop": (b"8BPS\0\1", "an image in an unsupported format (Photoshop)"),
    "ICO": (encode(picture(size=(16, 16)), "ICO"), "an image in an unsupported format (ICO)"),
    "JPEG XL": (b"\xff\x0a\xfa", "an image in an unsupported format (JPEG XL)"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "an image in an unsupported format (JPEG 2000)"),
    "SVG": (
        b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "an image in an unsupported format (SVG)",
    ),
    "PDF": (b"%PDF-1.7 ...", "a PDF document, not an image; save its pages as PNG"),
    "MP4": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video, not an image"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST", "a video, not an image"),
    "WebM": (b"\x1aE\xdf\xa3\x01", "a video (Matroska or WebM), not an image"),
    "web page": (
        b"<!DOCTYPE html><html><title>404</title>",
        "a web page (HTML), not an image; download the image itself",
    ),
    "ZIP": (b"PK\x03\x04....", "a ZIP archive, not an image; extract it"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "text": (b"not found", "a text file, not a JPEG, PNG, GIF, BMP or WebP image"),
    "noise": (bytes(range(1, 200)), "not a JPEG, PNG, GIF, BMP or WebP image"),
    "nothing": (b"", "an empty file"),
    "cut JPEG": (encode(picture(), "JPEG")[:-40], "a truncated or damaged JPEG image"),
    "cut PNG": (encode(picture())[:-60], "a truncated or damaged PNG image"),
    "cut GIF": (encode(picture(), "GIF")[:-40], "a truncated or damaged GIF image"),
    "cut BMP": (encode(picture(), "BMP")[:-20], "a truncated or damaged BMP image"),
    "cut WebP": (encode(picture(), "WEBP")[:-20], "a truncated or damaged WebP image"),
    "head of a JPEG": (b"\xff\xd8\xff", "a truncated or damaged JPEG image"),
    "animated WebP": (
        encode(picture(), "WEBP", save_all=True, append_images=[picture(1)]),
        "an animated WebP image, which is not supported; save its first frame",
    ),
    "BMP of two colours": (
        encode(picture(mode="1"), "BMP"),
        "a BMP image with 1 bit per pixel, which is not supported",
    ),
    "packed BMP": (rle_bmp(), "a BMP image with compression"),
    "bomb": (bomb(60000, 60000), "an image with over 134 million pixels, which needs too much memory; resize it"),
    "small bomb": (bomb(MOST_PIXELS // 1000 + 1, 1000), "an image with over 134 million pixels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_decoded_is_named_with_its_cause(kind, folder):
    content, said = BAD[kind]
    before = held(read(folder))
    odd = folder / "cat" / "9.jpg"
    odd.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(folder)
    assert str(error.value).startswith(f"{odd}: ") and said in str(error.value)
    assert str(error.value).endswith("remove it, or set data.bad_files: skip") and "\n" not in str(error.value)
    source = read(folder, bad_files="skip")
    assert held(source) == before
    assert [skip["place"] for skip in source.skipped] == [str(odd)] and said in source.skipped[0]["reason"]


def test_a_link_to_no_image_is_bad_and_not_absent(folder):
    (folder / "cat" / "9.jpg").symlink_to(folder / "gone.jpg")
    with pytest.raises(UserError, match=r"9\.jpg: cannot be read \(No such file or directory\)"):
        read(folder)


def test_an_image_is_found_by_its_first_bytes_whatever_it_is_called(folder):
    move(folder / "cat" / "0.png", folder / "cat" / "download")
    write(folder / "dog" / "scan.tmp", encode(picture(), "TIFF"))
    source = read(folder, bad_files="skip")
    assert len(source.examples["all"]) == 6 and len(source.skipped) == 1


def test_the_decoder_itself_refuses_what_harms_it():
    animated = bytearray(BAD["animated WebP"][0])
    for flags in (animated[20], animated[20] | 0xC0):  # reserved bits change nothing
        animated[20] = flags
        with pytest.raises(Exception, match="Unknown image file format"):
            decode_image(bytes(animated))
    assert undecodable([bytes(animated)])[0].startswith("an animated WebP image")


READ = {  # format -> modes of colour and how far pixels may lie apart
    "PNG": (["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], {}, 1),
    "BMP": (["L", "P", "RGB", "RGBA"], {}, 1),
    "GIF": (["1", "L", "P", "RGB"], {}, 1),
    "WEBP": (["L", "RGB", "RGBA"], {"lossless": True, "exact": True}, 1),
    "JPEG": (["L", "RGB", "CMYK"], {"quality": 95}, 12),
}


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(kind, mode) for kind, (modes, *_) in READ.items() for mode in modes]),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 99),
)
def test_every_kind_of_colour_is_read_as_by_a_reference_library(form, width, height, seed):
    kind, mode = form
    _, options, most = READ[kind]
    encoded = encode(picture(seed, mode, (width, height)), kind, **options)
    reference = Image.open(io.BytesIO(encoded))
    if mode == "I;16":
        reference = Image.fromarray((np.asarray(reference) // 257).astype("uint8"))
    shown = Image.alpha_composite(Image.new("RGBA", reference.size, "white"), reference.convert("RGBA")).convert("RGB")
    decoded = decode_image(encoded).numpy().astype(int)
    assert decoded.shape == (height, width, 3)
    assert np.abs(decoded - np.asarray(shown)).max() <= most


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    encoded = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert not undecodable([encoded]) and decode_image(encoded).numpy()[0, 0].tolist() == [255, 0, 0]


def zipped(place):
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("cat/0.png", encode(picture()))


def packed(place):
    with tarfile.open(place, "w:gz") as archive:
        archive.add(__file__, "cat/0.png")


def hdf5(place, **arrays):
    with h5py.File(place, "w") as file:
        for name, array in arrays.items():
            file[name] = array


IMAGES, LABELS = np.zeros((2, 8, 8, 3), "uint8"), np.array([0, 1])
PLACES = {  # what data.path names -> what is said
    "nothing": ("x", lambda p: None, "no such folder; set data.path to a folder with one subfolder per class"),
    "an image": ("x.png", lambda p: write(p, encode(picture())), "a single image (PNG); set data.path to a folder"),
    "an image in an unsupported format (HEIC)": ("x.heic", lambda p: write(p, BAD["HEIC"][0]), "a single image (HEIC)"),
    "a zip": ("x.zip", zipped, "a ZIP archive, not an image; extract it"),
    "a tar": ("x.tar.gz", packed, "is compressed, so its images cannot be read by position; run: gunzip FILE"),
    "a list": ("x.txt", lambda p: write(p, b"cat/0.png\n"), "a file; set data.path to a folder"),
    "a table": ("x.csv", lambda p: write(p, b"file,label\n"), "a file; set data.path to a folder"),
    "an empty folder": (
        "x",
        lambda p: p.mkdir(),
        "contains no subfolders; put the images of each class in a separate folder",
    ),
    "images alone": ("x", lambda p: write(p / "a.png", encode(picture())), "contains no subfolders"),
    "one class": ("x", lambda p: write(p / "cat/a.png", encode(picture())), "the only class is cat"),
    "texts alone": ("x", lambda p: write(p / "cat/a.txt"), "its subfolders (cat) contain no images, only 1 other file"),
    "splits": (
        "x",
        lambda p: [write(p / each / "cat/a.png", encode(picture())) for each in ("Train", "valid", "Test")],
        "contains splits, not classes; set data.path: {test: Test, train: Train, validation: valid}",
    ),
    "splits beside notes": (
        "x",
        lambda p: [write(p / each / "cat/a.png", encode(picture())) for each in ("train", "test", "annotations")],
        "contains splits, not classes",
    ),
    "a folder around the classes": (
        "x",
        lambda p: [write(p / "x" / each / "a.png", encode(picture())) for each in ("cat", "dog")],
        "its only subfolder 'x' has the subfolders cat, dog; set data.path to",
    ),
    "no HDF5": ("x.h5", lambda p: write(p, b"no HDF5"), "cannot be read as an HDF5 file"),
    "other keys": ("x.h5", lambda p: hdf5(p, x=IMAGES, y=LABELS), "one key that ends in _set_x; it has x, y"),
    "a group": ("x.h5", lambda p: hdf5(p, **{"a_set_x/b": IMAGES, "a_set_y": LABELS}), "'a_set_x' is a group"),
    "one number": ("x.h5", lambda p: hdf5(p, a_set_x=3, a_set_y=LABELS), "images are int64 ()"),
    "labels of text": (
        "x.h5",
        lambda p: hdf5(p, a_set_x=IMAGES, a_set_y=np.array([b"cat", b"dog"])),
        "they should be whole numbers",
    ),
    "labels between": ("x.h5", lambda p: hdf5(p, a_set_x=IMAGES, a_set_y=[0.5, 1.0]), "they should be whole numbers"),
    "classes in Latin-1": (
        "x.h5",
        lambda p: hdf5(p, a_set_x=IMAGES, a_set_y=LABELS, list_classes=np.array([b"caf\xe9", b"b"])),
        "not valid UTF-8",
    ),
    "HDF5 of another ending": ("x.data", lambda p: hdf5(p, x=IMAGES), "one key that ends in _set_x"),
}


@pytest.mark.parametrize("named", PLACES)
def test_what_data_path_names_is_explained_in_one_line(named, tmp_path):
    name, make, said = PLACES[named]
    make(tmp_path / name)
    with pytest.raises(UserError) as error:
        files(root=str(tmp_path), path=name, positive=[], bad_files="error")
    assert said in str(error.value) and "\n" not in str(error.value)
    assert name in str(error.value) or named == "one class"


def test_names_of_classes_in_hdf5_may_be_texts(tmp_path):
    hdf5(tmp_path / "x.h5", a_set_x=IMAGES, a_set_y=LABELS, list_classes=["猫", "Hund"])
    source = files(root=str(tmp_path), path="x.h5", positive=["猫"], bad_files="error")
    assert source.examples["all"]["label"].tolist() == ["猫", "not 猫"]


def dataset(folder, **data):
    data = {
        "source": "files",
        "root": str(folder.parent),
        "path": folder.name,
        "positive": [],
        "bad_files": "error",
    } | data
    return load_dataset(data, {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 0}, TASK)


@pytest.mark.parametrize("positive", [[], ["cat"]])
def test_an_image_in_two_classes_is_said(positive, folder):
    for number in range(10, 30):
        write(folder / ("cat" if number % 2 else "dog") / f"{number}.png", encode(picture(number)))
    assert "label" not in " ".join(dataset(folder, positive=positive).summary.warnings)
    write(folder / "dog" / "copy.png", encode(picture(0)))
    said = dataset(folder, positive=positive).summary.warnings
    assert "1 input occurs with more than one label: no model can predict all of them correctly" in said


def test_rare_classes_and_those_of_two_images_are_said(folder):
    for number in range(10, 210):
        write(folder / "cat" / f"{number}.png", encode(picture(number)))
    for number in range(300, 309):
        write(folder / "owl" / f"{number}.png", encode(picture(number)))
    summary = dataset(folder).summary
    assert sum(summary.classes["cat"].values()) == 203
    said = " | ".join(summary.warnings)
    assert "class 'dog' has only" in said and "class 'owl' is rare in train" in said


NAMES = ["猫", "Hündchen", "not cat", "a, b", 'say "x"', "[red]", "[bold]", ":smile:", "$x$ ${", "_under", "x" * 120]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A finished run and its export on classes with names of every kind."""
    root = tmp_path_factory.mktemp("named")
    for place, name in enumerate(NAMES):
        for number in range(5):
            write(root / "images" / name / f"{number}.png", encode(picture(10 * place + number)))
    data = f"data={{source: files, root: '{root}', path: images, positive: [], bad_files: error}}"
    split = "split={train: 0.6, validation: 0.2, test: 0.2, seed: 0}"
    small = ["model=logistic_regression", "preprocessing.image_size=8", "training.epochs=1", TRACED_ONCE]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("COLUMNS", "400")
        return root, invoke("run", CONFIG, *sets([data, split, *small]))


def test_classes_may_have_any_name(named):
    root, result = named
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert [name for name in NAMES if f"class     {name}: train" not in result.stderr] == []
    assert f"predict exports/cat_classifier/1 '{root}/images/" in result.stdout.replace(f" {root}", f" '{root}")
    report = (next((root / "runs/cat_classifier").iterdir()) / "report" / "by_class.html").read_text()
    assert all(name in report for name in ("猫", "Hündchen", "[bold]", ":smile:"))


def test_evaluate_measures_each_class_and_shows_its_name(named, monkeypatch):
    root, _ = named
    monkeypatch.setenv("COLUMNS", "400")
    run = next((root / "runs/cat_classifier").iterdir())
    printed = invoke("evaluate", run, "--split", "train").stdout
    assert [name for name in NAMES if name not in printed] == []
    by_class = json.loads(invoke("evaluate", run, "--split", "train", "--json").stdout)["by_class"]
    assert set(by_class) == set(NAMES)
    examples = json.loads((run / "data.json").read_text())["examples"]["train"]
    assert sum(each["count"] for each in by_class.values()) == examples


def test_predict_answers_what_can_be_answered_of_a_folder(named, folder):
    root, _ = named
    write(folder / "cat" / "Thumbs.db")
    write(folder / "cat" / "cut.jpg", encode(picture(), "JPEG")[:-40])
    result = invoke("predict", root / "exports/cat_classifier", folder)
    assert result.exit_code == 0, result.output
    names = [line.partition(": ")[0] for line in result.stdout.splitlines()]
    assert len(names) == 6 and all(name.endswith(f"/{n}.png") for n, name in enumerate(names))
    assert "(Thumbs.db)" in result.stderr and "cut.jpg skipped: a truncated or damaged JPEG image" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.png", None, "gone.png: no such file or folder; give an image file"),
        ("x" * 300, None, "xxx ...: File name too long"),
        ("a.jpg", BAD["HEIC"][0], "a.jpg: an image in an unsupported format (HEIC)"),
        ("t/a.txt", b"xx", "t: this folder contains no images; skipped 1 file (a.txt)"),
        ("t/a.jpg", b"xx", "a.jpg: a text file, not a JPEG, PNG, GIF, BMP or WebP image"),
        ("t/.a.png", encode(picture()), "t: this folder contains no images; skipped 1 file (.a.png)"),
    ],
)
def test_an_input_that_cannot_be_answered_is_named(name, content, said, named, tmp_path):
    root, _ = named
    if content is not None:
        write(tmp_path / name, content)
    given = tmp_path / name.partition("/")[0]
    result = invoke("predict", root / "exports/cat_classifier", given)
    assert result.exit_code == 1 and said in result.stderr, result.output + repr(result.exception)
    assert [line[:7] for line in result.stderr.splitlines() if not line.startswith("warning: ")] == ["error: "]


def test_a_list_of_images_may_begin_with_a_byte_order_mark(named, folder, tmp_path):
    root, _ = named
    (tmp_path / "list.txt").write_text(f"\ufeff{folder}/cat/0.png\r\n\n{folder}/dog/3.png\n", encoding="utf-8")
    result = invoke("predict", root / "exports/cat_classifier", "--file", tmp_path / "list.txt")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 2, result.output
