"""The `audit` command: find faults of the data of a config."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.audit.audit import Audit, audit_data
from pipelines.audit.findings import as_table, counts, kinds_named
from pipelines.audit.fix import fixed_config
from pipelines.audit.labels import Beliefs
from pipelines.config.load import Config, check
from pipelines.config.read import read_config
from pipelines.data import Dataset, read_source
from pipelines.data.summary import Summary
from pipelines.errors import UserError
from pipelines.pages.audit_page import write_audit_page
from pipelines.runs.run import Run
from pipelines.storage import make_folder, write_json, write_text, write_whole
from pipelines.task import Task
from pipelines.tasks import load_task
from pipelines.trained_model import load_run_dataset, load_trained_model

LISTED = 100  # findings of each kind in audit.json; findings.csv has all


@dataclass(frozen=True)
class Audited:
    """The result of the `audit` command, and where it was written."""

    folder: Path
    record: dict[str, Any]  # the content of audit.json
    audit: Audit
    config: Path | None  # the fixed config
    failing: dict[str, int]  # kind -> number of findings of the kinds in `fail_on`


def audit(
    config: str | Path,
    overrides: Sequence[str] = (),
    run: str | Path | None = None,
    against: str | Path | None = None,
    fail_on: Iterable[str] = (),
    fix: bool = False,
    audit_dir: str | Path | None = None,
    show: Callable[[Summary], None] = lambda summary: None,
) -> Audited:
    """Look for faults of the data of a config, and write them to a folder.

    `run` is a finished run on the same data, whose model judges the labels of validation and test. Train is compared
    with the file `against` instead of validation and test. `fail_on` names kinds of findings. `fix` writes a config
    without the faulty examples and columns. `show` is called with the summary of the data.

    Raises:
        UserError: If the config, the data, the run or a kind cannot be used.
    """
    wanted = kinds_named(fail_on)
    unresolved = read_config(config, overrides)
    checked = check(read_config(config, overrides))
    task = load_task(checked.task)
    data = load_run_dataset(checked).in_memory()  # its checks compare all examples
    show(data.summary)
    beliefs = None if run is None else _beliefs(run, checked, task, data)
    new = None if against is None else _new_examples(str(against), checked, task, data)
    found = audit_data(data, task.fields, checked.seed, beliefs, new)
    folder = audit_folder(checked.task, audit_dir)
    write_whole(folder / "findings.csv", partial(as_table(found.findings).to_csv, index=False))
    record = _record(config, checked, data, found, run, against)
    write_json(folder / "audit.json", record)
    fixed = folder / "config.yaml" if fix else None
    if fixed is not None:
        write_text(fixed, fixed_config(unresolved, found.findings, task.sources[checked.data["source"]]))
    failing = {kind: count for kind, count in counts(found.findings).items() if kind in wanted}
    again = [str(config), *(part for each in overrides for part in ("--set", each))]
    again += [part for name, value in (("--run", run), ("--against", against)) if value for part in (name, str(value))]
    page = folder / "report" / "index.html"
    write_audit_page(page, record, found.findings, data.summary, checked.to_yaml(), fixed, again)
    return Audited(folder, record, found, fixed, failing)


def audit_folder(task: str, audit_dir: str | Path | None) -> Path:
    """Make the folder of an audit.

    Raises:
        UserError: If it exists, or cannot be made.
    """
    folder = Path(audit_dir or Path("audits") / task / datetime.now().strftime("%Y-%m-%dT%H-%M-%S"))
    if audit_dir is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(str(folder), "already exists; choose another --audit-dir")
    make_folder(folder)
    return folder


def _record(
    config: str | Path,
    checked: Config,
    data: Dataset,
    found: Audit,
    run: str | Path | None,
    against: str | Path | None,
) -> dict[str, Any]:
    listed = [each.record() for each in found.findings]
    table = pd.Series([each["kind"] for each in listed], dtype=object)
    first = table.groupby(table).cumcount() < LISTED
    return {
        "config": str(config),
        "task": checked.task,
        "run": None if run is None else str(run),
        "against": None if against is None else str(against),
        "examples": data.record["examples"],
        "fingerprint": data.record["fingerprint"],
        "counts": counts(found.findings),
        "notes": found.notes,
        "seconds": found.seconds,
        "findings": [each for each, kept in zip(listed, first, strict=True) if kept],
    }


def _beliefs(run: str | Path, checked: Config, task: Task, data: Dataset) -> Beliefs | None:
    """Return what the model of a run answers to test and validation, which it was not trained on."""
    opened = Run.open(run)
    trained = load_trained_model(opened)
    if trained.config.task != checked.task:
        raise UserError("--run", f"is a run of the task {trained.config.task}, but the config of {checked.task}")
    opened.check_data(data.record)
    examples = pd.concat([data.test, data.validation], ignore_index=True)
    answers = trained.answerer.answer_table(examples)
    judged = task.beliefs(examples, answers)
    if judged is None:
        raise UserError("--run", f"the predictions of {checked.task} say nothing about wrong targets; leave it out")
    return Beliefs(np.arange(len(examples)), *judged)


def _new_examples(file: str, checked: Config, task: Task, data: Dataset) -> pd.DataFrame:
    """Read a file like the data of the config or, if it has no targets, like the files that `predict` takes.

    Raises:
        UserError: If both fail; the message is that of the first.
    """
    if not Path(file).exists():
        raise UserError(file, "no such file or folder")
    try:
        if checked.data["source"] != "files":
            raise UserError("--against", "can only read files like the data if data.source is files")
        source = read_source({**checked.data, "root": ".", "path": file}, task)
        return pd.concat(source.examples.values(), ignore_index=True)
    except UserError as error:
        try:
            return _raw_inputs(file, task, data.train, data.record["reading"])
        except UserError:
            raise error from None


def _raw_inputs(file: str, task: Task, train: pd.DataFrame, reading: Mapping[str, Any]) -> pd.DataFrame:
    inputs = task.fields.input_columns(list(train)) if task.fields is not None else list(train)
    columns = {name: float if pd.api.types.is_numeric_dtype(train[name]) else str for name in inputs}
    given: tuple[list[str], str | None] = ([file], None) if Path(file).is_dir() else ([], file)
    found = task.read_inputs(*given, columns, {**reading, "allow_missing": True}).reset_index(drop=True)
    if not set(found) & set(inputs):
        raise UserError(file, f"has none of the inputs {', '.join(inputs)}")
    return found
