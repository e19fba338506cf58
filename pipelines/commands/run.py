"""The `run` command: train, evaluate and export a model, then show a few predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.commands.train import find_run
from pipelines.config.load import Config
from pipelines.data.summary import Summary
from pipelines.evaluation import as_records
from pipelines.export.load import LoadedExport
from pipelines.export.write import write_export
from pipelines.fit import check_other_runs, fit
from pipelines.runs.run import Run
from pipelines.trained_model import load_run_dataset

SHOWN = 5


@dataclass(frozen=True)
class Finished:
    """The results of the `run` command."""

    run: Run
    export: Path
    inputs: list[dict[str, Any]]  # raw inputs of a few test examples
    targets: list[dict[str, Any]]
    answers: list[dict[str, Any]]  # predictions of the export


def run(config: Config, show: Callable[[Summary], None] = lambda summary: None) -> Finished:
    """Train, evaluate and export a model, then predict a few test examples with the export.

    `show` is called with the summary of the data before training.

    Raises:
        UserError: For the same reasons as `train` and `export`.
    """
    new_run, _ = find_run(config)
    with new_run.locked():
        check_other_runs(config)
        dataset = load_run_dataset(config)
        trained = fit(config, new_run, dataset, show)
    version = write_export(trained, new_run, Path("exports") / config.task, dataset.test)
    examples = dataset.test.head(SHOWN)
    raw = trained.task.client_inputs(examples)
    exported = LoadedExport(version)
    answers = as_records(trained.task, exported.answer_table(raw))
    asked = [name for name in raw if name in exported.signature]  # in the column order of the data
    # A client input may be derived from example columns, such as a prompt from a text. Such columns are not targets.
    given = asked if set(asked) <= set(examples) else list(trained.preprocessor.signature)
    targets = examples.drop(columns=given).to_dict("records")
    return Finished(new_run, version, raw[asked].to_dict("records"), targets, answers)
