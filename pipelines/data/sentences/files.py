"""Find files of tagged sentences, and choose the reader for each."""

import glob
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pipelines.data.encodings import read_text
from pipelines.data.files import unpacked_suffix
from pipelines.data.sentences.annotations import Tokenize, looks_like_json, read_json
from pipelines.data.sentences.conll import read_conll
from pipelines.data.sentences.headers import ColumnRules
from pipelines.data.sentences.sentence import TaggedFile
from pipelines.errors import UserError, counted

JSON = {".json", ".jsonl", ".ndjson"}
ENDINGS = set(".conll .conllu .conllup .conll2002 .conll2003 .bio .bioes .iob .iob2 .ner .tsv .csv .txt".split()) | JSON
SPLITS = {"train": "train", "dev": "validation", "valid": "validation", "validation": "validation", "test": "test"}


def list_files(root: str, names: Iterable[str]) -> tuple[list[Path], list[str]]:
    """List the files that paths stand for: files, folders and patterns.

    A folder stands for the files at any depth below it that have a known suffix. Returns the files, and notes, such as
    on skipped files.

    Raises:
        UserError: If no file is found.
    """
    files: dict[Path, None] = {}
    notes: list[str] = []
    for name in names:
        path = Path(root) / name
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            known = [file for file in found if unpacked_suffix(file) in ENDINGS]
            notes += _passed_over(path, [file for file in found if file not in known])
            if not known:
                raise UserError(str(path), f"contains no file with a known suffix: {', '.join(sorted(ENDINGS))}")
        elif not path.exists() and glob.has_magic(name):
            pattern = str(Path(glob.escape(root)) / name)
            matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            known = [match for match in map(Path, sorted(matches)) if match.is_file()]
            if not known:
                raise UserError(str(path), "no file matches this pattern")
        else:
            known = [path]
        files |= dict.fromkeys(known)
    if not files:
        raise UserError("data.path", "contains no file")
    return list(files), [*notes, *_split_names(list(files))]


def read_tagged(path: Path, rules: ColumnRules, encoding: str, tokenize: Tokenize) -> TaggedFile:
    """Read the tagged sentences of a file with the reader for its suffix and content.

    Raises:
        UserError: If the file cannot be read; see `read_text`, `read_conll` and `read_json`.
    """
    text, odd = read_text(path, encoding)
    file = read_tagged_text(path, text, rules, tokenize)
    return replace(file, notes=[*(each.removeprefix(f"{path} ") for each in odd), *file.notes])


def read_tagged_text(
    path: Path, text: str, rules: ColumnRules, tokenize: Tokenize, by_line: bool = False
) -> TaggedFile:
    """Read the tagged sentences in the text of a file; `by_line` means that it is known to be JSON Lines."""
    text = re.sub(r"\r+\n|\r", "\n", text)  # line endings of several systems in one file, or converted twice
    notes = []
    if lost := text.count("\ufffd"):
        notes.append(f"contains {counted(lost, 'replacement character')} (U+FFFD): text was lost earlier")
    kind = unpacked_suffix(path)
    if kind in JSON or (kind != ".csv" and looks_like_json(text)):
        file = read_json(path, text, tokenize, by_line)
    else:
        file = read_conll(path, text, rules, kind)
    return replace(file, notes=[*notes, *file.notes])


def _passed_over(folder: Path, files: list[Path]) -> list[str]:
    if not files:
        return []
    listed = ", ".join(file.name for file in files[:3]) + ", ..." * (len(files) > 3)
    return [f"{folder}: skipped {counted(len(files), 'file')} with other suffixes: {listed}"]


def _split_names(files: list[Path]) -> list[str]:
    """Return a note if the files of one list are named after splits."""
    parts = [(part, file) for file in files for part in re.split(r"[\W_]+", file.name.lower())]
    named = {SPLITS[part]: file for part, file in parts if part in SPLITS}
    if len(named) < 2:
        return []
    mend = ", ".join(f"{split}: {file.name}" for split, file in named.items())
    return [f"files are named like splits, but read as one; to keep them apart, set data.path: {{{mend}}}"]
