"""The log of requests that `serve` writes, and how it is read: a JSON line for each row, with inputs and answers."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

FILES = "requests-*.jsonl"
DEFAULT = "serving_default"
KEYS = {"time", "model", "version", "signature", "inputs", "answers"}


def make_folder(folder: Path) -> None:
    """Make the folder of a model's log, which only the user of the server can read.

    Raises:
        UserError: If it cannot be made, or not be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(str(folder), f"cannot create this folder for requests ({error.strerror})") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(str(folder), "cannot write requests to this folder; change its owner or its mode")


def is_request_log(path: Path) -> bool:
    """Return whether a file, or a folder by its files, is a log of requests."""
    files = _files(path)
    if not files or files[0].suffix != ".jsonl" or not files[0].is_file():
        return False
    try:
        with files[0].open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and first.keys() >= KEYS


def read_requests(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the raw inputs of each row that the default signature was asked for, with its place `FILE:line`.

    Raises:
        UserError: If a line is not one of the log; it names the line.
    """
    for file in _files(path):
        lines = file.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):  # after the last end of a line, a server may be writing
            place = f"{file}:{number}"
            try:
                request = json.loads(line)
                inputs, signature = request["inputs"], request["signature"]
            except (ValueError, KeyError, TypeError):
                raise UserError(place, "is not a line of a log of requests") from None
            if signature == DEFAULT:
                _check_texts(place, inputs)
                yield place, inputs


def _check_texts(place: str, inputs: dict[str, Any]) -> None:
    for name, value in inputs.items():
        if isinstance(value, dict):
            raise UserError(place, f"'{name}' has bytes that are no text, such as an image; they cannot be read here")


def _files(path: Path) -> list[Path]:
    """Return the files of a log, the oldest first."""
    return sorted(path.glob(FILES)) if path.is_dir() else [path]
