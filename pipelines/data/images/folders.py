"""List folders of images with one subfolder per class, and warn about what looks wrong in them."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd

from pipelines.data.images.kinds import HEAD, decoded_format, is_image, no_image_kind, other_format
from pipelines.errors import UserError

LAYOUT = "set data.path to a folder with one subfolder per class, or to an HDF5 file"
SPLITS = {  # folder name -> the split that it stands for
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
    """List the images of a folder that has one subfolder per class.

    Returns a table and warnings. The table has the columns `image` (paths, sorted) and `label` (name of the subfolder).
    Images may be at any depth below their class. Links are followed, but no folder of a class is read twice. Files that
    are not images are skipped and named in the warnings.

    Raises:
        UserError: If there is no such folder, or it holds splits instead of classes.
    """
    if not folder.is_dir():
        _refuse_place(folder)
    beside, passed_over = _divided(path for path in folder.iterdir() if _is_hidden(path) or not path.is_dir())
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path))
    if not classes:
        raise UserError(str(folder), "contains no subfolders; put the images of each class in a separate folder")
    _refuse_splits(folder, [path.name for path in classes])
    warnings = [f"skipped {_some(beside, 'image')} in {folder}, outside the class folders"] if beside else []
    warnings += [f"skipped {path}, a broken link" for path in passed_over if path.is_symlink()]
    rows = []
    for place in classes:
        label = _class_name(place)
        images, others = images_below(place)
        rows += [(image, label) for image in images]
        passed_over += others
        warnings += _layout_warnings(place, images)
    if not rows:
        names = ", ".join(path.name for path in classes[:5])
        found = f", only {_some(passed_over, 'other file')}" if passed_over else ""
        raise UserError(str(folder), f"its subfolders ({names}) contain no images{found}")
    if len(classes) == 1 and len(within := _subfolders(classes[0], [image for image, _ in rows])) > 1:
        problem = f"its only subfolder '{classes[0].name}' has the subfolders {', '.join(within[:5])}"
        raise UserError(str(folder), f"{problem}; set data.path to that subfolder")
    table = pd.DataFrame(rows, columns=["image", "label"])
    return table, [*warnings, *_spelling_warnings(table["label"].unique()), *passed_over_warnings(passed_over, folder)]


def images_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the images at any depth below a folder, and the files that are skipped: other files and hidden ones.

    Both lists are sorted. Links are followed, but no folder is read twice.

    Raises:
        UserError: If a folder cannot be read.
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
    """Return a warning that names the skipped files below a folder."""
    return [f"skipped {_some(others, 'file')} in {folder}: hidden or not images"] if others else []


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _divided(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    images: list[Path] = []
    others: list[Path] = []
    for path in sorted(paths):
        (images if is_image(path) else others).append(path)
    return images, others


def _refuse_place(place: Path) -> NoReturn:
    """Raise an error that says what `data.path` names, because it is not a folder."""
    if not place.is_file():
        raise UserError(str(place), f"no such folder; {LAYOUT}")
    try:
        with place.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        _refuse_folder(error)
    kind = decoded_format(head) or other_format(head)
    what = f"a single image ({kind})" if kind else no_image_kind(head) or "a file"
    raise UserError(str(place), f"is {what}; {LAYOUT}")


def _refuse_folder(error: OSError) -> NoReturn:
    raise UserError(str(error.filename), f"cannot be read ({error.strerror})") from None


def _refuse_splits(folder: Path, names: Sequence[str]) -> None:
    """Refuse folders of splits: all names are those of splits, or train is beside another split."""
    splits = {SPLITS[name.lower()]: name for name in names if name.lower() in SPLITS}
    if splits and (len(splits) == len(names) or ("train" in splits and len(splits) > 1)):
        named = ", ".join(f"{split}: {name}" for split, name in splits.items())
        raise UserError(str(folder), f"contains splits, not classes; set data.path: {{{named}}}")


def _class_name(place: Path) -> str:
    """Return the name of a class in Unicode form NFC, because macOS may store the same letters in form NFD."""
    try:
        place.name.encode()
    except UnicodeEncodeError:
        raise UserError(repr(str(place)), "the name of this folder is not valid UTF-8; rename it") from None
    return unicodedata.normalize("NFC", place.name)


def _layout_warnings(place: Path, images: Sequence[Path]) -> list[str]:
    if not images:
        return [f"{place} contains no images: there is no class '{place.name}'"]
    within = _subfolders(place, images)
    if len(within) < 2 or any(image.parent == place for image in images):
        return []
    return [f"{place} contains images only in subfolders ({', '.join(within[:NAMED])}): read as one class"]


def _subfolders(place: Path, images: Sequence[Path]) -> list[str]:
    """Return the names of a class's direct subfolders that hold images at any depth."""
    depth = len(place.parts)
    return sorted({image.parts[depth] for image in images if len(image.parts) > depth + 1})


def _spelling_warnings(classes: Sequence[str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name in classes:
        names.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [
        f"classes {' and '.join(map(repr, alike))} differ only in case or blanks: read as {len(alike)} classes"
        for alike in names.values()
        if len(alike) > 1
    ]


def _some(paths: Sequence[Path], what: str) -> str:
    """Return the number of files and the names of the first few."""
    names = ", ".join(path.name for path in paths[:NAMED])
    more = f" and {len(paths) - NAMED:,} more" if len(paths) > NAMED else ""
    return f"{len(paths):,} {what}{'s' if len(paths) > 1 else ''} ({names}{more})"
