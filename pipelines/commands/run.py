"""The `run` command: train, evaluate and export a model, then show a few predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.commands.train import find_run, lead_or_follow
from pipelines.comparison.folds import cross_validate
from pipelines.config.load import Config
from pipelines.data.summary import Summary
from pipelines.evaluation import as_records
from pipelines.export.load import LoadedExport
from pipelines.export.write import write_export
from pipelines.fit import check_other_runs, fit
from pipelines.runs.run import Run
from pipelines.trained_model import load_source, split_source

SHOWN = 5


@dataclass(frozen=True)
class Finished:
    """The results of the `run` command."""

    run: Run
    export: Path
    inputs: list[dict[str, Any]]  # raw inputs of a few test examples
    targets: list[dict[str, Any]]
    answers: list[dict[str, Any]]  # predictions of the export


def run(
    config: Config,
    show: Callable[[Summary], None] = lambda summary: None,
    say: Callable[[str], None] = lambda line: None,
) -> Finished:
    """Train, evaluate and export a model, then predict a few test examples with the export.

    If its split has folds, a model is also trained for each of them; the export is that of the model of the ordinary
    split. `show` is called with the summary of the data before training, and `say` with a line for each fold.

    Raises:
        UserError: For the same reasons as `train` and `export`.
    """
    on = lead_or_follow(config)
    new_run, finished = find_run(config)
    on.from_chief(finished)
    with new_run.locked():
        check_other_runs(config)
        source = load_source(config)
        dataset = split_source(config, source)
        trained = fit(config, new_run, dataset, show, on)
        cross_validate(new_run, source, say)
        on.part()
    version = write_export(trained, new_run, Path("exports") / config.task, dataset)
    examples = dataset.test.head(SHOWN)
    raw = trained.task.client_inputs(examples)
    exported = LoadedExport(version)
    answers = as_records(trained.task, exported.answer_table(raw))
    asked = [name for name in raw if name in exported.signature]  # in the column order of the data
    # A client input may be derived from example columns, such as a prompt from a text. Such columns are not targets.
    given = asked if set(asked) <= set(examples) else list(trained.preprocessor.signature)
    targets = examples.drop(columns=given).to_dict("records")
    return Finished(new_run, version, raw[asked].to_dict("records"), targets, answers)
