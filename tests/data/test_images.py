"""Images of every kind become the same pixels as in a reference library, and bad files are found and named."""

import io

import h5py
import numpy as np
import pytest
from PIL import Image

from pipelines.data.images.folders import image_folder
from pipelines.data.images.hdf5 import hdf5_images
from pipelines.data.images.read import decode_image, undecodable
from pipelines.errors import UserError


def picture(mode="RGB", size=(9, 6)):
    random = np.random.default_rng(0)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = random.integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def on_white(image):
    rgba = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB"))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("RGB", "BMP"), ("L", "BMP"), ("RGB", "GIF")],
)
def test_pixels_are_those_of_a_reference_library(mode, kind):
    encoded = encode(picture(mode), kind)
    expected = on_white(Image.open(io.BytesIO(encoded)))
    decoded = decode_image(encoded).numpy()
    assert decoded.shape == (6, 9, 3)
    np.testing.assert_allclose(decoded.astype(int), expected, atol=1)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_of_every_colour_is_decoded_to_rgb(mode):
    flat = Image.new("RGB", (16, 16), (200, 120, 40)).convert(mode)
    decoded = decode_image(encode(flat, "JPEG", quality=95)).numpy().astype(int)
    expected = np.asarray(flat.convert("RGB"), int)
    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded - expected).max() <= 6


def test_only_the_first_frame_of_an_animation_counts():
    red, blue = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    decoded = decode_image(encode(red, "GIF", save_all=True, append_images=[blue])).numpy()
    assert decoded[0, 0].tolist() == [255, 0, 0]


def test_what_cannot_be_decoded_is_found_with_its_reason(tmp_path):
    good = encode(picture(), "JPEG")
    contents = [good, b"", b"no image", good[: len(good) // 2], encode(picture(), "PNG")]
    paths = [tmp_path / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    paths.append(tmp_path / "missing")
    found = undecodable(paths)
    assert list(found) == [1, 2, 3, 5]
    assert found[1] == "an empty file" and "JPEG, PNG, GIF, BMP or WebP" in found[2] and "cannot be read" in found[5]
    assert "a truncated or damaged JPEG image" in found[3]
    assert undecodable(contents) == {number: found[number] for number in (1, 2, 3)}


def test_a_folder_lists_its_classes_and_their_files_at_any_depth(tmp_path):
    for name in ("cat/b.jpg", "cat/more/a.png", "dog/c.gif", "cat/.hidden", ".cache/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    listed, warnings = image_folder(tmp_path)
    assert [(str(path.relative_to(tmp_path)), label) for path, label in listed.to_numpy()] == [
        ("cat/b.jpg", "cat"),
        ("cat/more/a.png", "cat"),
        ("dog/c.gif", "dog"),
    ]
    assert warnings == [f"skipped 2 files (.cache, .hidden) in {tmp_path}: hidden or not images"]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (None, "no such folder"),
        ([], "contains no subfolders"),
        (["train", "val"], "set data.path: {train: train, validation: val}"),
        (["cat", "dog"], "its subfolders (cat, dog) contain no images"),
    ],
)
def test_a_folder_of_another_form_is_explained(tmp_path, folders, expected):
    root = tmp_path / "images"
    for name in folders or []:
        (root / name).mkdir(parents=True)
    if folders == []:
        root.mkdir()
    with pytest.raises(UserError) as error:
        image_folder(root)
    assert expected in str(error.value)


def write_hdf5(path, split, images, labels, classes=None):
    with h5py.File(path, "w") as file:
        file[f"{split}_set_x"], file[f"{split}_set_y"] = images, labels
        if classes:
            file["list_classes"] = np.array(classes)
    return path


def test_hdf5_images_keep_their_pixels_and_share_the_names_of_classes(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    train = write_hdf5(tmp_path / "a.h5", "train", images, [[0, 1, 1]])
    test = write_hdf5(tmp_path / "b.h5", "test", images[:2], [1, 0], [b"non-cat", b"cat"])
    tables = hdf5_images({"train": train, "test": test})
    assert tables["train"]["label"].tolist() == ["non-cat", "cat", "cat"]
    assert tables["test"]["label"].tolist() == ["cat", "non-cat"]
    np.testing.assert_array_equal([decode_image(image) for image in tables["train"]["image"]], images)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "expected"),
    [
        (np.zeros((2, 8, 8, 3), "float32"), [0, 1], None, "they should be uint8 (N, H, W, 3)"),
        (np.zeros((2, 8, 8), "uint8"), [0, 1], None, "they should be uint8 (N, H, W, 3)"),
        (np.zeros((2, 8, 8, 3), "uint8"), [0], None, "2 images, 1 label"),
        (
            np.zeros((2, 8, 8, 3), "uint8"),
            [0, 2],
            [b"a", b"b"],
            "labels range from 0 to 2, but the classes from 0 to 1",
        ),
    ],
)
def test_an_hdf5_file_of_another_form_is_explained(tmp_path, images, labels, classes, expected):
    path = write_hdf5(tmp_path / "a.h5", "train", images, labels, classes)
    with pytest.raises(UserError) as error:
        hdf5_images({"train": path})
    assert str(path) in str(error.value) and expected in str(error.value)


def test_no_hdf5_file_and_one_without_the_keys_are_explained(tmp_path):
    broken = tmp_path / "broken.h5"
    broken.write_text("no HDF5")
    with pytest.raises(UserError, match="cannot be read as an HDF5 file"):
        hdf5_images({"train": broken})
    with h5py.File(tmp_path / "keys.h5", "w") as file:
        file["pictures"] = [1]
    with pytest.raises(UserError, match="one key that ends in _set_x; it has pictures"):
        hdf5_images({"train": tmp_path / "keys.h5"})
