"""Predict raw inputs with a finished run or an export."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.evaluation import as_records
from pipelines.export.load import LoadedExport
from pipelines.logged_requests import is_request_log, read_requests
from pipelines.runs.run import Run
from pipelines.storage import as_json
from pipelines.task import Task
from pipelines.tasks import load_task
from pipelines.trained_model import load_trained_model

Inputs: TypeAlias = pd.DataFrame | Mapping[str, Any] | str | Path | Iterable[Mapping[str, Any] | str | Path]


@dataclass(frozen=True)
class Predictor:
    """A task, the function that predicts its raw inputs, and how they are read."""

    task: Task
    signature: Mapping[str, tf.TensorSpec]
    answer_table: Callable[[pd.DataFrame], Mapping[str, np.ndarray]]
    reading: Mapping[str, Any]

    def read(self, inputs: Sequence[str], file: str | Path | None = None, allow_missing: bool = False) -> pd.DataFrame:
        """Read raw inputs given as text, and those in a file or in a log of requests; the index names each.

        Raises:
            UserError: If an input cannot be used; the message names it.
        """
        if file is not None and is_request_log(Path(file)):
            logged = dict(read_requests(Path(file)))
            if not logged:
                raise UserError(str(file), "contains no requests to the default signature")
            raw = self._read(self.as_texts(logged.values()), None, True).set_axis([*logged])
            raw = pd.concat([self._read(inputs, None, allow_missing), raw]) if inputs else raw
        else:
            raw = self._read(inputs, file, allow_missing)
        if raw.empty:
            raise UserError(str(file), "contains no inputs")
        return raw

    def _read(self, inputs: Sequence[str], file: str | Path | None, allow_missing: bool) -> pd.DataFrame:
        columns = {name: str if spec.dtype.name == "string" else float for name, spec in self.signature.items()}
        path = None if file is None else str(file)
        return self.task.read_inputs(inputs, path, columns, {**self.reading, "allow_missing": allow_missing})

    def as_texts(self, inputs: "Inputs") -> list[str]:
        """Return inputs as command-line arguments: texts, paths, or JSON objects of columns.

        Raises:
            UserError: If an input lacks the one that the model needs.
        """
        if isinstance(inputs, pd.DataFrame):
            dates = inputs.select_dtypes(["datetime", "datetimetz"]).columns
            inputs = inputs.assign(**{name: inputs[name].dt.strftime("%Y-%m-%d") for name in dates})
            inputs = inputs.astype(object).where(inputs.notna(), None).to_dict("records")
        if isinstance(inputs, Mapping | str | Path):
            inputs = [inputs]
        first, texts = next(iter(self.signature)), []
        for number, given in enumerate(inputs, 1):
            if not isinstance(given, Mapping):
                texts.append(str(given))
            elif len(self.signature) > 1:
                texts.append(as_json(given, ensure_ascii=False))
            elif first in given:
                texts.append(str(given[first]))
            else:
                keys = ", ".join(map(str, given)) or "none"
                raise UserError(f"input {number}", f"lacks '{first}'; its keys are {keys}")
        return texts

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
