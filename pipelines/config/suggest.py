"""Suggest a config for a file or a folder, with each guess as a comment."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.config.read import minimal_config
from pipelines.data.encodings import read_text
from pipelines.data.files import unpacked_suffix
from pipelines.data.images.kinds import is_image
from pipelines.data.sentences.headers import is_tag
from pipelines.data.sentences.spelling import SIGNS_FOR_O
from pipelines.data.tables.cells import read_cells
from pipelines.data.tables.numbers import decimal_marks, read_numbers
from pipelines.errors import UserError

TARGET_NAMES = ("target", "price", "y", "value", "sold", "salary", "cost", "amount", "label")
LOOKED_AT = 2000  # rows or lines
LOOKED_AT_CHARACTERS = 200_000
MOSTLY = 0.9  # share of a column's cells that decides what the column is
WORDS = 3  # mean words per cell, above which a column is running text
JSON = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv", ".xlsx", ".parquet", *JSON)
CONLL = (".conll", ".conllu", ".conllup", ".iob", ".iob2", ".bio")


def suggest_config(path: Path) -> str:
    """Look at data and return a short config for it.

    Raises:
        UserError: If there is no such file or folder, or it fits no task.
    """
    if not path.exists():
        raise UserError(str(path), "no such file or folder")
    if path.is_dir():
        return _for_folder(path)
    suffix = unpacked_suffix(path)
    if suffix == ".tmx":
        return _pairs(path, "a translation memory", "en", "de")
    if suffix in CONLL:
        return _sentences(path, "the suffix of the file")
    if suffix in TABLES:
        return _for_table(path)
    return _for_text(path)


def _for_folder(path: Path) -> str:
    subfolders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if any(_holds_images(folder) for folder in subfolders):
        names = ", ".join(folder.name for folder in subfolders[:8])
        return _fill(
            "cat_classifier",
            f"guess: a folder of images per class ({names})",
            {"path: images": f"path: {_quoted(path)}"},
        )
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    if not files:
        raise UserError(str(path), "contains no files and no image folders")
    suffix = unpacked_suffix(files[0])
    if suffix in CONLL:
        return _sentences(path, "the suffix of the files")
    if suffix in TABLES:
        return suggest_config(files[0]).replace(f"path: {_quoted(files[0])}", f"path: {_quoted(path)}")
    return _text(path, "a folder of texts")


def _holds_images(folder: Path) -> bool:
    return any(entry.is_file() and is_image(entry) for entry in sorted(folder.iterdir())[:20])


def _for_table(path: Path) -> str:
    if unpacked_suffix(path) in JSON:
        record = _first_record(read_text(path, "utf-8")[0])
        nested = [name for name, value in record.items() if isinstance(value, list)]
        if nested:
            return _sentences(path, f"the lists {', '.join(nested)}")
        languages = [name for name in record.get("translation", record) if len(name) == 2 and name.isalpha()]
        if len(languages) == 2:
            return _pairs(path, "texts in two languages", *languages)
        if list(record) == ["text"]:
            return _text(path, "one text per line")
    cells = read_cells(path, "auto", "utf-8", lambda header: True).cells.head(LOOKED_AT)
    columns = [list(cells[name]) for name in cells]
    if any(map(_are_tags, columns)):
        return _sentences(path, "a column of tags")
    if len(columns) == 2 and all(map(_is_running_text, columns)):
        first, second = (name if len(name) == 2 and name.isalpha() else None for name in cells)
        return _pairs(path, "two columns of text", first or "en", second or "de")
    return _table(path, cells)


def _table(path: Path, cells: pd.DataFrame) -> str:
    numbers = [name for name in cells if _is_numeric(cells[name])]
    if not numbers:
        raise UserError(str(path), "has no numeric column to predict")
    named = [name for wanted in TARGET_NAMES for name in numbers if wanted == name.lower()]
    named += [name for wanted in TARGET_NAMES for name in numbers if wanted in name.lower() and len(wanted) > 1]
    target = next(iter(named), numbers[-1])
    reason = "its name" if named else "the last column of numbers"
    others = ", ".join(name for name in numbers if name != target)
    unique = [name for name in cells if name != target and cells[name].is_unique and name.lower().endswith("id")]
    ignore = f"\n  ignore: [{', '.join(map(_quoted, unique))}]   # guess: ids" if unique else ""
    return _fill(
        "house_prices",
        f"guess: a table with {len(cells.columns)} columns, {len(numbers)} of them numbers",
        {
            "path: houses.csv": f"path: {_quoted(path)}",
            "target: price                # the column to predict": f"target: {_quoted(target)}   # guess: {reason};"
            f" other columns of numbers: {others or 'none'}{ignore}",
        },
    )


def _sentences(path: Path, reason: str) -> str:
    return _fill(
        "entity_tagger", f"guess: tagged sentences, by {reason}", {"path: tagged.conll": f"path: {_quoted(path)}"}
    )


def _pairs(path: Path, reason: str, first: str, second: str) -> str:
    return _fill(
        "translator",
        f"guess: translations, {reason}",
        {
            'path: "corpus.{language}"': f"path: {_quoted(path)}",
            "from_language: en": f"from_language: {first}            # guess",
            "to_language: de": f"to_language: {second}              # guess",
        },
    )


def _text(path: Path, reason: str) -> str:
    return _fill("language_model", f"guess: {reason}", {"path: book.txt": f"path: {_quoted(path)}"})


def _for_text(path: Path) -> str:
    text, _ = read_text(path, "utf-8")
    lines = [line for line in text[:LOOKED_AT_CHARACTERS].split("\n") if line.strip()][:LOOKED_AT]
    if not lines:
        raise UserError(str(path), "is empty")
    rows = [line.split("\t") if "\t" in line else line.split() for line in lines]
    width = min(map(len, rows))
    if width > 1 and any(_are_tags([row[at] for row in rows]) for at in (*range(width), -1)):
        return _sentences(path, "a column of tags")
    if all(line.count("\t") == 1 for line in lines):
        return _pairs(path, "two columns of text", "en", "de")
    return _text(path, "a text")


def _first_record(text: str) -> dict[str, Any]:
    """Return the first object of a JSON or JSON Lines file; empty if there is none, which the reader then reports."""
    try:
        first = json.loads(text if text.lstrip().startswith("[") else text.lstrip().split("\n", 1)[0])
    except ValueError:
        return {}
    first = first[0] if isinstance(first, list) and first else first
    return first if isinstance(first, dict) else {}


def _are_tags(column: Sequence[str]) -> bool:
    """Return whether nearly all cells are tags or signs for "no entity", and some have a prefix."""
    prefixed = sum(is_tag(cell) and cell != "O" for cell in column)
    outside = sum(cell in SIGNS_FOR_O for cell in column)
    return prefixed > 0 and prefixed + outside > MOSTLY * len(column)


def _is_running_text(cells: Sequence[str]) -> bool:
    return bool(cells) and sum(len(cell.split()) for cell in cells) > WORDS * len(cells)


def _is_numeric(column: pd.Series) -> bool:
    values = column.str.strip()
    reading = read_numbers(values, min(decimal_marks(values), default="."))
    known = int((values != "").sum()) - int(values.isin(reading.words).sum())
    return known > 0 and int(reading.numbers.notna().sum()) > MOSTLY * known


def _fill(task: str, guess: str, replacements: dict[str, str]) -> str:
    text = minimal_config(task)
    replacements = {f"task: {task}\n": f"task: {task}   # {guess}\n", **replacements}
    for old, new in replacements.items():
        text = text.replace(old, new, 1)
    return text


def _quoted(value: object) -> str:
    """Write a text as a YAML value."""
    text = str(value)
    plain = text.replace("_", "a").replace("/", "a").replace(".", "a").replace("-", "a")
    return text if plain.isalnum() and not plain.isdigit() else json.dumps(text, ensure_ascii=False)
