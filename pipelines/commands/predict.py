"""`predict`: answers of a run or an export to raw inputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.evaluation import Answerer, as_records
from pipelines.export import Export
from pipelines.fit import load_fitted
from pipelines.run import Run
from pipelines.tasks import load_task


def predict(
    run_or_export: str | Path, inputs: Sequence[str] = (), file: str | Path | None = None
) -> list[dict[str, Any]]:
    """Answer raw inputs given as text, and those in a file; one answer each, in that order.

    Raises:
        UserError: where the folder is neither a run nor an export, or an input cannot be read.
    """
    if not inputs and file is None:
        raise UserError("predict", "nothing to answer; give an INPUT or --file FILE")
    if Run(run_or_export).started:
        fitted = load_fitted(Run.open(run_or_export))
        answerer = Answerer(fitted.endpoints["serve"])
        task, signature, answer, reading = fitted.task, answerer.signature, answerer.answer_table, fitted.reading
    else:
        export = Export(run_or_export)
        task, signature, answer = load_task(export.task), export.signature, export.answer_table
        reading = export.reading
    columns = {name: str if spec.dtype.name == "string" else float for name, spec in signature.items()}
    raw = task.read_inputs(inputs, file, columns, reading)
    if raw.empty:
        raise UserError(str(file), "holds nothing to answer")
    return as_records(task, answer(raw))


def predict_attention(
    run: str | Path, inputs: Sequence[str] = (), file: str | Path | None = None
) -> list[dict[str, Any]]:
    """Tell where a finished run's model looks as it answers raw inputs, one map each, in that order.

    A map names the tokens that look (`queries`, T), those looked at (`keys`, S), and has `weights` (T, S), the mean of
    all layers and heads.

    Raises:
        UserError: where the folder is no finished run, its model has no attention, or an input cannot be read.
    """
    if not inputs and file is None:
        raise UserError("predict", "nothing to answer; give an INPUT or --file FILE")
    fitted = load_fitted(Run.open(run))
    if "attention" not in fitted.endpoints:
        raise UserError("--attention", f"the task {fitted.config.task} shows none")
    answerer = Answerer(fitted.endpoints["attention"])
    columns = {name: str if spec.dtype.name == "string" else float for name, spec in answerer.signature.items()}
    answers = answerer.answer_table(fitted.task.read_inputs(inputs, file, columns, fitted.reading))
    if not answers["weights"].shape[1]:
        raise UserError("--attention", f"the model {fitted.config.model} has none as it is set")
    maps = []
    for weights, *sides in zip(answers["weights"], answers["queries"], answers["keys"], strict=True):
        queries, keys = ([name.decode() for name in side if name] for side in sides)
        mean = weights.mean(axis=(0, 1))[: len(queries), : len(keys)]
        maps.append({"queries": queries, "keys": keys, "weights": mean.tolist()})
    return maps
