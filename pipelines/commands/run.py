"""`run`: the main job, from a config to a trained, measured and exported model that has shown a few answers."""

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
from pipelines.fit import fit
from pipelines.runs.run import Run
from pipelines.trained_model import load_run_dataset

SHOWN = 5


@dataclass(frozen=True)
class Finished:
    """What the main job leaves behind."""

    run: Run
    export: Path
    inputs: list[dict[str, Any]]  # of a few test examples
    targets: list[dict[str, Any]]
    answers: list[dict[str, Any]]  # the export's


def run(config: Config, show: Callable[[Summary], None] = lambda summary: None) -> Finished:
    """Train, evaluate and export, then answer a few test examples from the export.

    `show` is given the summary of the data before training.

    Raises:
        UserError: as `train` and `export` do.
    """
    folder, _ = find_run(config)
    dataset = load_run_dataset(config)
    trained = fit(config, folder, dataset, show)
    version = write_export(trained, folder, Path("exports") / config.task, dataset.test)
    examples = dataset.test.head(SHOWN)
    raw = trained.task.client_inputs(examples)
    exported = LoadedExport(version)
    answers = as_records(trained.task, exported.answer_table(raw))
    asked = [name for name in raw if name in exported.signature]  # in the order of the data
    # What a client sends may be made of an example's columns, such as a prompt of a text: none of these is a target.
    given = asked if set(asked) <= set(examples) else list(trained.preprocessor.signature)
    targets = examples.drop(columns=given).to_dict("records")
    return Finished(folder, version, raw[asked].to_dict("records"), targets, answers)
