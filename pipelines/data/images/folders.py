"""Folders of images, one subfolder a class: what they hold, and what in them is odd."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd

from pipelines.data.images.kinds import HEAD, decoded_format, is_image, no_image_kind, other_format
from pipelines.errors import UserError

LAYOUT = "data.path is a folder with one subfolder a class, or an HDF5 file"
SPLITS = {  # names of folders that hold a split, and the split
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
NAMED = 3  # files or folders that a warning names


def image_folder(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """List a folder with one subfolder a class: columns `image` (paths, sorted) and `label` (the subfolder's name).

    Images lie at any depth below their class; links are followed, each folder once. What is no image is passed over
    and stands in the warnings, which are given too.

    Raises:
        UserError: where it is no such folder, or holds splits and not classes.
    """
    if not folder.is_dir():
        _refuse_place(folder)
    beside, passed_over = _divided(path for path in folder.iterdir() if _is_hidden(path) or not path.is_dir())
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path))
    if not classes:
        raise UserError(str(folder), "holds no subfolder; put the images of each class in a folder of its own")
    _refuse_splits(folder, [path.name for path in classes])
    warnings = [f"{_some(beside, 'image')} in {folder} beside the folders of classes: passed over"] if beside else []
    warnings += [f"{path} is a link that leads nowhere: passed over" for path in passed_over if path.is_symlink()]
    rows = []
    for place in classes:
        label = _class_name(place)
        images, others = images_below(place)
        rows += [(image, label) for image in images]
        passed_over += others
        warnings += _layout_warnings(place, images)
    if not rows:
        names = ", ".join(path.name for path in classes[:5])
        found = f"; there is {_some(passed_over, 'other file')}" if passed_over else ""
        raise UserError(str(folder), f"its subfolders ({names}) hold no image{found}")
    if len(classes) == 1 and len(within := _subfolders(classes[0], [image for image, _ in rows])) > 1:
        raise UserError(
            str(folder), f"its only subfolder '{classes[0].name}' holds {', '.join(within[:5])}; name it in data.path"
        )
    table = pd.DataFrame(rows, columns=["image", "label"])
    return table, [*warnings, *_spelling_warnings(table["label"].unique()), *passed_over_warnings(passed_over, folder)]


def images_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the images at any depth below a folder, and what was passed over: other files, and what a dot hides.

    Both are sorted. Links are followed, and a folder that was met before is not entered again.

    Raises:
        UserError: where a folder cannot be read.
    """
    found: list[Path] = []
    met: set[str] = set()
    for where, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        if os.path.realpath(where) in met:
            folders.clear()
            continue
        met.add(os.path.realpath(where))
        found += [Path(where, name) for name in names + [name for name in folders if name.startswith(".")]]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return _divided(found)


def passed_over_warnings(others: Sequence[Path], folder: Path) -> list[str]:
    """Say which files below a folder were passed over."""
    return [f"{_some(others, 'file')} in {folder}, hidden or no images: passed over"] if others else []


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _divided(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    images, others = [], []
    for path in sorted(paths):
        (images if is_image(path) else others).append(path)
    return images, others


def _refuse_place(place: Path) -> NoReturn:
    """Say what `data.path` names that is no folder."""
    if not place.is_file():
        raise UserError(str(place), f"no such folder; {LAYOUT}")
    try:
        with place.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        _refuse_folder(error)
    kind = decoded_format(head) or other_format(head)
    what = f"a single image ({kind})" if kind else no_image_kind(head) or "a file"
    raise UserError(str(place), f"{what}; {LAYOUT}")


def _refuse_folder(error: OSError) -> NoReturn:
    raise UserError(str(error.filename), f"cannot be read ({error.strerror})") from None


def _refuse_splits(folder: Path, names: Sequence[str]) -> None:
    """Refuse folders of splits in place of classes: nothing but such names, or train beside another split."""
    splits = {SPLITS[name.lower()]: name for name in names if name.lower() in SPLITS}
    if splits and (len(splits) == len(names) or ("train" in splits and len(splits) > 1)):
        named = ", ".join(f"{split}: {name}" for split, name in splits.items())
        raise UserError(str(folder), f"holds splits, not classes; set data.path: {{{named}}}")


def _class_name(place: Path) -> str:
    """Give a class's name, in the one form that a Mac's and other machines' letters share."""
    try:
        place.name.encode()
    except UnicodeEncodeError:
        raise UserError(repr(str(place)), "the name of this folder is no UTF-8 text; rename it") from None
    return unicodedata.normalize("NFC", place.name)


def _layout_warnings(place: Path, images: Sequence[Path]) -> list[str]:
    if not images:
        return [f"{place} holds no image: there is no class '{place.name}'"]
    within = _subfolders(place, images)
    if len(within) < 2 or any(image.parent == place for image in images):
        return []
    return [f"{place} holds images in its subfolders alone ({', '.join(within[:NAMED])} ...): they count as one class"]


def _subfolders(place: Path, images: Sequence[Path]) -> list[str]:
    """Name the folders right below a class's that hold images at any depth."""
    depth = len(place.parts)
    return sorted({image.parts[depth] for image in images if len(image.parts) > depth + 1})


def _spelling_warnings(classes: Sequence[str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name in classes:
        names.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [
        f"classes {' and '.join(map(repr, alike))} differ in case or blanks alone: they count as {len(alike)} classes"
        for alike in names.values()
        if len(alike) > 1
    ]


def _some(paths: Sequence[Path], what: str) -> str:
    """Count files and name the first few."""
    names = ", ".join(path.name for path in paths[:NAMED])
    more = f" and {len(paths) - NAMED:,} more" if len(paths) > NAMED else ""
    return f"{len(paths):,} {what}{'s' if len(paths) > 1 else ''} ({names}{more})"
