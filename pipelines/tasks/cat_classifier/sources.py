"""Sources of images: generated drawings, folders, HDF5 files and TensorFlow Datasets."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Literal, Unpack
from unicodedata import normalize

import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.fields import Fields
from pipelines.data.files import Root, Split, paths_by_split
from pipelines.data.images.folders import image_folder
from pipelines.data.images.hdf5 import hdf5_images, is_hdf5
from pipelines.data.images.shards import Shard, sharded_images, tar_files
from pipelines.data.tfds import Prepared, load_tfds, tfds_files
from pipelines.errors import UserError, did_you_mean
from pipelines.tasks.cat_classifier.drawings import drawn_pictures
from pipelines.tensorflow_startup import import_tensorflow

LABEL = "label"  # the name of the target among raw examples
KIND = "kind"  # the original class of an image, if `positive` groups several classes
FIELDS = Fields("image", ["image"], LABEL, "class")
NO_CLASSES: list[str] = []
NOT = "not "  # prefix of the negative label; the positive label follows

Positive = Annotated[
    list[str],
    Field(description="classes that count as positive; all others are negative; empty list: tell all classes apart"),
]
BadFiles = Annotated[
    Literal["error", "skip"],
    Field(description="what to do with files that cannot be decoded: error stops, skip leaves them out"),
]


def embedded(
    *,
    count: Annotated[int, Field(ge=10, description="number of pictures")],
    positive: Positive,
) -> Source:
    """Draw pictures of cats, dogs, rabbits, birds, houses, cars and blobs. They are drawings, not photographs."""
    examples = pd.DataFrame(_drawn(count), columns=["image", LABEL])
    origin = {"drawn by": "pipelines.tasks.cat_classifier.drawings", "licence": "Apache-2.0, as this project"}
    return _source({"all": examples}, positive, "error", origin)


def files(
    *,
    root: Root = ".",
    path: Annotated[
        str | dict[Split, str],
        Field(
            description="folder with one subfolder per class; tar files, as a file, a folder or a pattern such as"
            " train-*.tar, in which the class of KEY.jpg is in KEY.cls or KEY.json; or an HDF5 file with the keys"
            " <split>_set_x, <split>_set_y and list_classes; or one of these for each split by name"
        ),
    ],
    positive: Positive = NO_CLASSES,
    bad_files: BadFiles = "error",
) -> Source:
    """Read JPEG, PNG, GIF, BMP and WebP files of any size and colour, or arrays from HDF5 files."""
    places = paths_by_split(root, path)
    warnings: list[str] = []
    if archives := {split: found for split, place in places.items() if (found := tar_files(place))}:
        if without := [str(place) for split, place in places.items() if split not in archives]:
            raise UserError(without[0], "contains no tar files, unlike the path of another split")
        shards = {split: [Shard(file) for file in found] for split, found in archives.items()}
        names = {split: [file.name for file in found] for split, found in archives.items()}
        return _sharded_source(shards, positive, bad_files, {"files": names})
    if any(is_hdf5(place) for place in places.values()):
        tables = hdf5_images(places)
    else:
        tables = {}
        for split, place in places.items():
            tables[split], odd = image_folder(place)
            warnings += odd
    origin = {"files": {split: place.name for split, place in places.items()}}
    return _source(tables, positive, bad_files, origin, warnings)


def tfds(
    *,
    image: Annotated[str, Field(description="feature that contains the image")],
    label: Annotated[str, Field(description="feature that contains the class")],
    positive: Positive,
    bad_files: BadFiles,
    **prepared: Unpack[Prepared],
) -> Source:
    """Read images and their classes from TensorFlow Datasets."""
    if large := tfds_files(image, label, **prepared):
        files, names, origin = large
        shards = {
            split: [Shard(file.path, image, label, names, file.skip, file.take) for file in each]
            for split, each in files.items()
        }
        return _sharded_source(shards, positive, bad_files, origin)
    tables, origin = load_tfds({"image": image, LABEL: label}, **prepared)
    return _source(tables, positive, bad_files, origin)


def positive_of(labels: Sequence[str]) -> str | None:
    """Return the positive one of two labels, or None if the labels are not a class and its opposite."""
    pairs = [name for name in labels if f"{NOT}{name}" in labels]
    return pairs[0] if len(labels) == 2 and pairs else None


@cache
def _drawn(count: int) -> list[tuple[bytes, str]]:
    return drawn_pictures(count, seed=0)


def _source(
    tables: dict[str, pd.DataFrame], positive: list[str], bad_files: str, origin: dict, warnings: Sequence[str] = ()
) -> Source:
    group = _grouping(positive, sorted({kind for table in tables.values() for kind in table[LABEL]}))
    import_tensorflow()
    from pipelines.data.images.read import undecodable

    skipped: list[dict[str, str]] = []
    for split, table in tables.items():
        faults = undecodable(table["image"])
        skipped += [{"place": _place(table["image"][row], split, row), "reason": faults[row]} for row in faults]
        tables[split] = group(table.drop(index=list(faults)).reset_index(drop=True))
    _refuse(skipped, bad_files)
    return Source(tables, origin, skipped, warnings=list(warnings))


def _sharded_source(shards: dict[str, list[Shard]], positive: list[str], bad_files: str, origin: dict) -> Source:
    """Return images in shards as a source."""
    read = sharded_images(shards, FIELDS, partial(_grouping, positive), positive)
    _refuse(read.faults, bad_files)
    facts = {"memory": "the images are read from their shards"}
    return Source(dict(read.tables), origin, read.faults, facts=facts, places=read.places, hashes=read.hashes)


def _grouping(positive: Sequence[str], kinds: Sequence[str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the function that gives images of these classes their labels.

    Raises:
        UserError: If the labels would not be two or more.
    """
    positive = [normalize("NFC", name) for name in positive]  # like the names of folders
    for name in positive:
        if name not in kinds:
            raise UserError("data.positive", f"no class '{name}'{did_you_mean(name, list(kinds))}")
    if len(kinds) < 2:
        raise UserError("data", f"the only class is {' or '.join(kinds)}, but at least two are required")
    if set(positive) == set(kinds):
        raise UserError("data.positive", "lists every class; leave at least one out")
    return partial(_grouped, positive=positive)


def _refuse(skipped: Sequence[dict[str, str]], bad_files: str) -> None:
    if skipped and bad_files == "error":
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise UserError(skipped[0]["place"], f"{skipped[0]['reason']}{more}; remove it, or set data.bad_files: skip")


def _place(image: Path | bytes, split: str, row: int) -> str:
    return str(image) if isinstance(image, Path) else f"{split}, image {row + 1}"


def _grouped(table: pd.DataFrame, positive: list[str]) -> pd.DataFrame:
    if not positive:
        return table
    name = " or ".join(positive)
    labels = table[LABEL].map(lambda kind: name if kind in positive else f"{NOT}{name}")
    return table.rename(columns={LABEL: KIND}).assign(**{LABEL: labels})
