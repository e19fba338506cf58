"""The `inspect` command: what a model is made of, what it costs, and what preprocessing makes of one example."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.config.load import Config, load_config
from pipelines.data import Dataset
from pipelines.data.batches import padded, raw_batches
from pipelines.errors import UserError
from pipelines.fit import adapt_preprocessor
from pipelines.inspection.costs import Costs, count_costs
from pipelines.runs.run import Run
from pipelines.tasks import load_task
from pipelines.trained_model import TrainedModel, build_model, load_run_dataset, load_trained_model

SHOWN = 12  # values of a tensor


@dataclass(frozen=True)
class Given:
    """A tensor that the model is given for one example: its shape without the batch, its type and its first values."""

    shape: list[int]
    dtype: str
    values: list


@dataclass(frozen=True)
class Inspection:
    """A model's layers and costs, and an example on its way into it."""

    task: str
    model: str
    costs: Costs
    example: dict[str, Any]  # the raw example, by column
    steps: dict[str, list[dict[str, Any]]]  # what preprocessing makes of it, as readable tables
    tensors: dict[str, Given]  # the model's inputs, then the label and its weight

    def record(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return asdict(self)


def inspect(config_or_run: str | Path, overrides: Sequence[str] = (), row: int = 1) -> Inspection:
    """Build the model of a config, or load that of a finished run, and lead one example of its test split into it.

    `row` is the number of the example in the split, from 1. The model of a config is not trained.

    Raises:
        UserError: If the config, the run or the data cannot be used, or the split has no such row.
    """
    if Path(config_or_run).is_dir():
        if overrides:
            raise UserError("--set", "is of no use for a finished run; inspect its config.yaml instead")
        trained = load_trained_model(Run.open(config_or_run))
        dataset = load_run_dataset(trained.config)
    else:
        config = load_config(config_or_run, overrides)
        dataset = load_run_dataset(config)
        trained = _untrained(config, dataset)
    if not 1 <= row <= len(dataset.test):
        raise UserError("--row", f"must be from 1 to {len(dataset.test):,}, the number of test examples; not {row}")
    example = dataset.test.iloc[[row - 1]].reset_index(drop=True)
    (raw,) = raw_batches(example)  # which reads files
    given = padded(trained.preprocessor.example(raw, training=False))
    inputs, label, weight = given
    return Inspection(
        trained.config.task,
        trained.config.model,
        count_costs(trained.model, inputs),
        {str(name): _plain(value) for name, value in example.iloc[0].items()},
        {name: _records(table) for name, table in trained.preprocessor.steps(example).items()},
        {name: _given(each) for name, each in [*inputs.items(), ("label", label), ("weight", weight)]},
    )


def _untrained(config: Config, dataset: Dataset) -> TrainedModel:
    task, preprocessor = load_task(config.task), adapt_preprocessor(config, dataset)
    return TrainedModel(config, task, preprocessor, build_model(config, task, preprocessor), {})


def _given(value: tf.Tensor) -> Given:
    flat = value[0].numpy().ravel()
    return Given(list(value.shape[1:]), value.dtype.name, flat[:SHOWN].tolist())


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    """Return a value of a table as JSON has it."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | bool | None) else str(value)
