"""The `predict` command: predict raw inputs with a run or an export."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.errors import UserError
from pipelines.predictor import load_predictor
from pipelines.runs.run import Run
from pipelines.storage import as_json, write_text, write_whole
from pipelines.trained_model import load_trained_model

INPUT = "input"  # the column of the output file that names the input
ENDINGS = (".csv", ".json", ".jsonl")


@dataclass(frozen=True)
class Answers:
    """Predictions, and the name of each input: a file, `FILE:line`, or the given text."""

    names: list[str]
    records: list[dict[str, Any]]


def predict(
    run_or_export: str | Path,
    inputs: Sequence[str] = (),
    file: str | Path | None = None,
    attention: bool = False,
    allow_missing: bool = False,
) -> Answers:
    """Predict raw inputs given as text, then those in a file, and name each input.

    `allow_missing` accepts rows without columns that were never missing in training. With `attention`, each record is
    an attention map of a finished run's model: query tokens (`queries`, T), key tokens (`keys`, S), and `weights`
    (T, S), averaged over layers and heads.

    Raises:
        UserError: If the folder is neither a run nor an export, an input cannot be used, or the model has no
            attention.
    """
    _check_inputs(run_or_export, inputs, file)
    if attention:
        raw, records = _maps(run_or_export, inputs, file)
    else:
        predictor = load_predictor(run_or_export)
        raw = predictor.read(inputs, file, allow_missing)
        records = predictor.records(raw)
    return Answers(_names(raw, inputs), records)


def check_output(path: Path, inputs: Sequence[str], file: str | Path | None) -> None:
    """Check before prediction that the output path is valid.

    Raises:
        UserError: If its file extension is not supported, it is a folder, or it is one of the inputs.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--output {path}", f"should end in {', '.join(ENDINGS)}")
    if path.is_dir():
        raise UserError(f"--output {path}", "is a folder; name a file")
    if path.exists() and any(Path(given).exists() and path.samefile(given) for given in _files(inputs, file)):
        raise UserError(f"--output {path}", "is an input file, and would be overwritten; name another file")


def write_answers(path: Path, answers: Answers) -> None:
    """Write predictions and input names as CSV, JSON or JSON lines, by the extension of `path`, atomically.

    In CSV, lists and objects are written as JSON.

    Raises:
        UserError: If the file cannot be written.
    """
    rows = [{INPUT: name, **record} for name, record in zip(answers.names, answers.records, strict=True)]
    kind = path.suffix.lower()
    if kind == ".csv":
        table = pd.DataFrame([{key: _cell(value) for key, value in row.items()} for row in rows], dtype=object)
        write_whole(path, partial(table.to_csv, index=False))
    elif kind == ".json":
        write_text(path, as_json(rows, indent=2, ensure_ascii=False) + "\n")
    else:
        write_text(path, "".join(as_json(row, ensure_ascii=False) + "\n" for row in rows))


def _maps(run: str | Path, inputs: Sequence[str], file: str | Path | None) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    trained = load_trained_model(Run.open(run))
    if "attention" not in trained.endpoints:
        raise UserError("--attention", f"the task {trained.config.task} has no attention weights")
    answerer = trained.answerers["attention"]
    columns = {name: str if spec.dtype.name == "string" else float for name, spec in answerer.signature.items()}
    path = None if file is None else str(file)
    raw = trained.task.read_inputs(inputs, path, columns, trained.reading)
    answers = answerer.answer_table(raw)
    if not answers["weights"].shape[1]:
        name = trained.config.model
        raise UserError(
            "--attention", f"the model {name} was trained without attention; see its models.{name} settings"
        )
    maps = []
    for weights, *sides in zip(answers["weights"], answers["queries"], answers["keys"], strict=True):
        queries, keys = ([name.decode() for name in side if name] for side in sides)
        mean = weights.mean(axis=(0, 1))[: len(queries), : len(keys)]
        maps.append({"queries": queries, "keys": keys, "weights": mean.tolist()})
    return raw, maps


def _cell(value: Any) -> Any:
    return as_json(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _check_inputs(folder: str | Path, inputs: Sequence[str], file: str | Path | None) -> None:
    if not inputs and file is None:
        raise UserError("predict", "nothing to predict; give an INPUT or --file FILE")
    if not Path(folder).exists():
        raise UserError(str(folder), "no such folder; predict takes a run folder or an export first, then inputs")
    if file is not None and not Path(file).exists():
        raise UserError(str(file), "no such file")
    for number, text in enumerate(inputs, 1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"input {number}", f"{ascii(text)[:200]} is not valid UTF-8") from None


def _files(inputs: Sequence[str], file: str | Path | None) -> list[str | Path]:
    paths: list[str | Path] = [text for text in inputs if os.path.exists(text)]  # noqa: PTH110 - Path.exists raises on long strings
    return paths if file is None else [*paths, file]


def _names(raw: pd.DataFrame, inputs: Sequence[str]) -> list[str]:
    """Return the names in the table's index; without any, the given inputs, or numbers from 1."""
    if not isinstance(raw.index, pd.RangeIndex):
        return list(map(str, raw.index))
    return list(inputs) if len(raw) == len(inputs) else [str(number) for number in range(1, len(raw) + 1)]
