"""Encoded images from folders and HDF5 files, and which of them cannot be decoded."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import pandas as pd
import tensorflow as tf

from pipelines.errors import UserError

FORMATS = "JPEG, PNG, GIF or BMP"
SPLIT_FOLDERS = {"train", "validation", "val", "test"}


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decode one JPEG, PNG, GIF (its first frame) or BMP, of any kind of colour, in graph.

    Returns RGB, uint8 (H, W, 3); transparent pixels show white behind them.

    Raises:
        tf.errors.InvalidArgumentError: where the bytes are no such image.
    """
    return tf.cond(tf.io.is_jpeg(encoded), lambda: tf.io.decode_jpeg(encoded, channels=3), lambda: _decode(encoded))


def image_folder(folder: Path) -> pd.DataFrame:
    """List a folder with one subfolder a class: columns `image` (paths, sorted) and `label` (the subfolder's name).

    Files lie at any depth below their class; names that begin with a dot are passed over.

    Raises:
        UserError: where it is no such folder, or holds splits and not classes.
    """
    if not folder.is_dir():
        raise UserError(str(folder), "no such folder; data.path is a folder with one subfolder a class, or an .h5 file")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise UserError(str(folder), "holds no subfolder; put the images of each class in a folder of its own")
    if set(classes) <= SPLIT_FOLDERS:
        named = ", ".join(f"{name.replace('val', 'validation') if name == 'val' else name}: {name}" for name in classes)
        raise UserError(str(folder), f"holds splits, not classes; set data.path: {{{named}}}")
    rows = [(path, name) for name in classes for path in images_below(folder / name)]
    if not rows:
        raise UserError(str(folder), f"its subfolders ({', '.join(classes[:5])}) hold no file")
    return pd.DataFrame(rows, columns=["image", "label"])


def images_below(folder: Path) -> list[Path]:
    """List the files at any depth below a folder, sorted, but those hidden by a leading dot."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def hdf5_images(paths: dict[str, Path]) -> dict[str, pd.DataFrame]:
    """Read `<split>_set_x` (N, H, W, 3) uint8, `<split>_set_y` (N,) and `list_classes` of HDF5 files, a split a file.

    Images become PNG bytes. The names of the classes may stand in any one of the files.

    Raises:
        UserError: where a file cannot be read, lacks a key or holds something else under it.
    """
    arrays = {split: _read_hdf5(path) for split, path in paths.items()}
    classes = next((classes for _, _, classes in arrays.values() if classes), None)
    tables = {}
    for split, (images, labels, _) in arrays.items():
        names = classes or [str(number) for number in range(int(labels.max()) + 1)]
        if not (labels.min() >= 0 and labels.max() < len(names)):
            raise UserError(str(paths[split]), f"labels run to {labels.max()}, but list_classes names {len(names)}")
        encoded = [tf.io.encode_png(image).numpy() for image in images]
        tables[split] = pd.DataFrame({"image": encoded, "label": [names[int(label)] for label in labels]})
    return tables


def undecodable(images: Iterable[Path | bytes]) -> dict[int, str]:
    """Find the images that cannot be read or decoded: place in the sequence -> reason. All cores take part."""
    images = list(images)
    if not images:
        return {}
    from_files = isinstance(images[0], Path)
    given = tf.constant([str(image) if from_files else image for image in images], tf.string)

    def number_and_size(number: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number, tf.size(decode_image(tf.io.read_file(image) if from_files else image))

    decoded = tf.data.Dataset.from_tensor_slices(given).enumerate()
    decoded = decoded.map(number_and_size, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors().batch(1024)
    good = {int(number) for numbers, _ in decoded.as_numpy_iterator() for number in numbers}
    return {number: _reason(image) for number, image in enumerate(images) if number not in good}


def _reason(image: Path | bytes) -> str:
    try:
        content = image.read_bytes() if isinstance(image, Path) else image
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return f"no {FORMATS} image that can be decoded" if content else "an empty file"


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, expand_animations=False)
    image.set_shape([None, None, None])
    channels = tf.shape(image)[2]  # 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha
    has_alpha = channels % 2 == 0
    colour = tf.cast(image[:, :, : channels - tf.cast(has_alpha, tf.int32)], tf.float32)
    opacity = tf.where(has_alpha, tf.cast(image[:, :, -1:], tf.float32) / 255, 1.0)
    shown = tf.round(colour * opacity + 255 * (1 - opacity))
    return tf.cast(tf.broadcast_to(shown, tf.concat([tf.shape(image)[:2], [3]], 0)), tf.uint8)


def _read_hdf5(path: Path) -> tuple:
    try:
        with h5py.File(path, "r") as file:
            keys = list(file)
            images, labels = (_array(file, path, ending) for ending in ("_set_x", "_set_y"))
            classes = [name.decode() for name in file["list_classes"][:]] if "list_classes" in keys else None
    except OSError:
        raise UserError(str(path), "cannot be read as an HDF5 file") from None
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != "uint8":
        raise UserError(str(path), f"images are {images.dtype} {images.shape}; they should be uint8 (N, H, W, 3)")
    if len(images) != labels.size or not len(images):
        raise UserError(str(path), f"{len(images)} images, {labels.size} labels; each image needs one label")
    return images, labels.reshape(-1), classes


def _array(file: h5py.File, path: Path, ending: str) -> Sequence:
    names = [name for name in file if name.endswith(ending)]
    if len(names) != 1:
        raise UserError(str(path), f"should have one key that ends in {ending}; it has {', '.join(file)}")
    return file[names[0]][:]
