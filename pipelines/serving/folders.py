"""Check the folders of the models to serve. Needs no TensorFlow."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.errors import UserError, did_you_mean
from pipelines.export_folder import ExportVersion, is_number

NAME = "[^/:]+"  # of a model, which stands in the paths of requests


def checked_folders(exports: Sequence[str]) -> dict[str, Path]:
    """Return the resolved folder of each model, from folders such as `exports/houses` or `houses=exports/houses`.

    Raises:
        UserError: If a folder or name is not usable, or two models have one name; it names the folder and a fix.
    """
    folders: dict[str, Path] = {}
    for given in exports:
        name, equals, folder = ("", "", given) if Path(given).is_dir() else given.partition("=")
        path = Path(folder).resolve()
        check_folder(given, path)
        name = name if equals else path.name
        if not re.fullmatch(NAME, name):
            raise UserError(given, "a model's name cannot be empty or contain '/' or ':'; name it with NAME=FOLDER")
        if name in folders:
            raise UserError(given, f"two models are named {name}; name one of them with NAME=FOLDER")
        folders[name] = path
    return folders


def check_folder(given: str, path: Path) -> None:
    """Check that a folder has versions of a model.

    Raises:
        UserError: If it has none; it begins with `given`.
    """
    if not path.is_dir():
        raise UserError(given, "no such folder; name a folder that `export` wrote, such as exports/my_model")
    if ExportVersion(path).is_complete:
        raise UserError(given, f"is a single version; name the folder of versions instead: {path.parent}")
    if not any(ExportVersion(version).is_complete for version in path.iterdir()):
        raise UserError(given, "contains no version (a subfolder with a numeric name); create one with `export`")


def read_labels(labels: Sequence[str], models: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """Parse labels such as `houses:stable=3` to {model: {label: version}}; `models` maps names to folders.

    Raises:
        UserError: If a label is malformed, or names an unknown model or a version that is not there.
    """
    read: dict[str, dict[str, int]] = {}
    for text in labels:
        model, _, rest = text.partition(":")
        label, _, version = rest.partition("=")
        if not label or not is_number(version):
            raise UserError(f"--label {text}", "should be MODEL:LABEL=VERSION, such as houses:stable=3")
        if model not in models:
            raise UserError(f"--label {text}", f"no model '{model}' is served{did_you_mean(model, sorted(models))}")
        check_version(f"--label {text}", models[model], int(version))
        read.setdefault(model, {})[label] = int(version)
    return read


def check_version(given: str, folder: Path, number: int) -> None:
    """Check that a version is there.

    Raises:
        UserError: If it is not; it begins with `given`.
    """
    if not ExportVersion(folder / str(number)).is_complete:
        raise UserError(given, f"there is no version {number} in {folder}")
