"""Predict raw inputs with a finished run or an export."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.evaluation import as_records
from pipelines.export.load import LoadedExport
from pipelines.runs.run import Run
from pipelines.task import Task
from pipelines.tasks import load_task
from pipelines.trained_model import load_trained_model


@dataclass(frozen=True)
class Predictor:
    """A task, the function that predicts its raw inputs, and how they are read."""

    task: Task
    signature: Mapping[str, tf.TensorSpec]
    answer_table: Callable[[pd.DataFrame], Mapping[str, np.ndarray]]
    reading: Mapping[str, Any]

    def read(self, inputs: Sequence[str], file: str | Path | None = None, allow_missing: bool = False) -> pd.DataFrame:
        """Read raw inputs given as text, and those in a file; the index names each.

        Raises:
            UserError: If an input cannot be used; the message names it.
        """
        columns = {name: str if spec.dtype.name == "string" else float for name, spec in self.signature.items()}
        path = None if file is None else str(file)
        raw = self.task.read_inputs(inputs, path, columns, {**self.reading, "allow_missing": allow_missing})
        if raw.empty:
            raise UserError(str(file), "contains no inputs")
        return raw

    def records(self, raw: pd.DataFrame) -> list[dict[str, Any]]:
        """Predict raw inputs; return one record each, in order."""
        return as_records(self.task, self.answer_table(raw))


def load_predictor(run_or_export: str | Path) -> Predictor:
    """Load the predictor of a run or an export.

    Raises:
        UserError: If the folder is neither a finished run nor an export.
    """
    if Run(run_or_export).started:
        trained = load_trained_model(Run.open(run_or_export))
        answerer = trained.answerers["serve"]
        return Predictor(trained.task, answerer.signature, answerer.answer_table, trained.reading)
    export = LoadedExport(run_or_export)
    return Predictor(load_task(export.task), export.signature, export.answer_table, export.reading)
