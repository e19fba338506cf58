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
    return as_records(task, answer(task.read_inputs(inputs, file, columns, reading)))
