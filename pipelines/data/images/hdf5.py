"""Read arrays of images from HDF5 files."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from pipelines.errors import UserError, counted
from pipelines.tensorflow_startup import import_tensorflow


def is_hdf5(path: Path) -> bool:
    """Return whether a file is an HDF5 file, by its suffix or its first bytes."""
    return path.suffix.lower() in (".h5", ".hdf5") or (path.is_file() and h5py.is_hdf5(path))


def hdf5_images(paths: dict[str, Path]) -> dict[str, pd.DataFrame]:
    """Read images and their labels from HDF5 files, one file per split.

    The keys are `<split>_set_x` (N, H, W, 3) uint8, `<split>_set_y` (N,) and `list_classes`, which may be in any one of
    the files. Images become PNG bytes.

    Raises:
        UserError: If a file cannot be read, lacks a key, or holds something else under it.
    """
    arrays = {split: _read_hdf5(path) for split, path in paths.items()}
    classes = next((classes for _, _, classes in arrays.values() if classes is not None), None)
    import_tensorflow()
    import tensorflow as tf

    tables = {}
    for split, (images, labels, _) in arrays.items():
        names = classes or [str(number) for number in range(int(labels.max()) + 1)]
        if not (labels.min() >= 0 and labels.max() < len(names)):
            problem = f"labels range from {labels.min()} to {labels.max()}, but the classes from 0 to {len(names) - 1}"
            raise UserError(str(paths[split]), problem)
        encoded = [tf.io.encode_png(image).numpy() for image in images]
        tables[split] = pd.DataFrame({"image": encoded, "label": [names[int(label)] for label in labels]})
    return tables


def _read_hdf5(path: Path) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    try:
        with h5py.File(path, "r") as file:
            images, labels = (_array(file, path, ending) for ending in ("_set_x", "_set_y"))
            names = _array(file, path, "list_classes") if "list_classes" in file else None
    except OSError:
        raise UserError(str(path), "cannot be read as an HDF5 file") from None
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != "uint8":
        raise UserError(str(path), f"images are {images.dtype} {images.shape}; they should be uint8 (N, H, W, 3)")
    if len(images) != labels.size or not len(images):
        found = f"{counted(len(images), 'image')}, {counted(labels.size, 'label')}"
        raise UserError(str(path), f"{found}; each image needs one label")
    if labels.dtype.kind not in "iufb" or (labels != labels.astype("int64")).any():
        problem = f"labels are {labels.dtype}; they should be whole numbers, positions in list_classes"
        raise UserError(str(path), problem)
    return images, labels.reshape(-1).astype("int64"), None if names is None else _class_names(names, path)


def _class_names(names: np.ndarray, path: Path) -> list[str]:
    try:
        return [name.decode() if isinstance(name, bytes) else str(name) for name in names.reshape(-1)]
    except UnicodeDecodeError:
        raise UserError(str(path), "list_classes contains a name that is not valid UTF-8") from None


def _array(file: h5py.File, path: Path, ending: str) -> np.ndarray:
    names = [name for name in file if name.endswith(ending)]
    if len(names) != 1:
        raise UserError(str(path), f"should have one key that ends in {ending}; it has {', '.join(file) or 'none'}")
    found = file[names[0]]
    if not isinstance(found, h5py.Dataset):
        raise UserError(str(path), f"'{names[0]}' is a group; it should be an array")
    return np.asarray(found[()])
