"""The Python API: what the command line does, as functions.

    import pipelines

    run = pipelines.train("house_prices", model="mlp", **{"optimizer.learning_rate": 3e-4})
    run.metrics["test"]
    run.predict([{"area": 1500, "Overall_Qual": 7}], allow_missing=True)
    run.export("exports/houses").serve()

TensorFlow is imported by the first function that is called, not by `import pipelines`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.tensorflow_startup import import_tensorflow

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from pipelines.commands.audit import Audited
    from pipelines.commands.inspect import Inspection
    from pipelines.comparison.results import Results
    from pipelines.comparison.runs import ComparedRuns
    from pipelines.data import Dataset
    from pipelines.diagnosis.results import Diagnosis
    from pipelines.predictor import Inputs, Predictor
    from pipelines.runs.run import Run
    from pipelines.trained_model import TrainedModel
    from pipelines.tuning.search import Search


class Answering:
    """Base class of `TrainedRun` and `ExportedModel`, which both predict raw inputs."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @cached_property
    def _predictor(self) -> "Predictor":
        from pipelines.predictor import load_predictor

        return load_predictor(self.folder)

    def predict(self, inputs: "Inputs", allow_missing: bool = False) -> list[dict[str, Any]]:
        """Predict raw inputs; return one record each, in order.

        `inputs` are rows (a DataFrame, or mappings of columns), or texts, or paths of images; one of them or several.
        `allow_missing` accepts rows without columns that were never missing in training.

        Raises:
            UserError: If an input cannot be used. The message names it.
        """
        predictor = self._predictor
        return predictor.records(predictor.read(predictor.as_texts(inputs), allow_missing=allow_missing))


class TrainedRun(Answering):
    """A finished run: its metrics, its history, its report and its model."""

    @cached_property
    def _run(self) -> "Run":
        from pipelines.runs.run import Run

        return Run.open(self.folder)

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics by split: `run.metrics["test"]["rmse"]`."""
        return self._run.metrics()

    @cached_property
    def history(self) -> "pd.DataFrame":
        """One row per epoch: loss and validation metrics."""
        return self._run.history()

    @cached_property
    def folds(self) -> dict[str, dict[str, float]]:
        """Spread of each test metric over the folds, if `split.folds` is set: `run.folds["rmse"]["mean"]`."""
        return self._run.folds_spread()

    @property
    def report(self) -> Path:
        """The folder of figures and pages."""
        return self._run.report

    @property
    def config(self) -> Path:
        """The config as it was trained: train it again, or change it."""
        return self._run.config

    @cached_property
    def trained(self) -> "TrainedModel":
        """The model with its task, its preprocessor and its config."""
        from pipelines.trained_model import load_trained_model

        return load_trained_model(self._run)

    @property
    def model(self) -> "keras.Model":
        """The Keras model."""
        return self.trained.model

    def evaluate(self, split: str = "test", threshold: str | None = None) -> dict[str, float]:
        """Evaluate a split, optionally with another threshold: a number, or a rule such as `f1`."""
        from pipelines.commands.evaluate import evaluate

        return evaluate(self.folder, split, threshold).metrics

    def attention(self, inputs: "Inputs") -> list[dict[str, Any]]:
        """Return the attention weights of each input: query tokens, key tokens and the weights between them.

        Raises:
            UserError: If the model has no attention.
        """
        from pipelines.commands.predict import predict

        return predict(self.folder, self._predictor.as_texts(inputs), attention=True).records

    def export(
        self, to: str | Path | None = None, formats: Sequence[str] = ("saved_model",), threshold: str | None = None
    ) -> "ExportedModel":
        """Write the model as the next version in `to`, by default `exports/TASK`.

        Raises:
            UserError: If `to` cannot be written, or the predictions of the export differ from the run's.
        """
        from pipelines.commands.export import export

        version, _ = export(self.folder, to, formats, threshold=threshold)
        return ExportedModel(version)

    def serve(self, **options: Any) -> None:
        """Export the run to `exports/TASK`, and serve it until interrupted, with the options of `pipelines serve`.

        Raises:
            UserError: If the run cannot be exported, a port is taken or a package is missing.
        """
        self.export().serve(**options)


class ExportedModel(Answering):
    """An export: the folder of a version, or a folder of versions, of which the newest is used."""

    def serve(self, **options: Any) -> None:
        """Serve it over HTTP and gRPC until interrupted; `options` are those of `pipelines serve`, such as `port`.

        Raises:
            UserError: If a port is taken or a package is missing.
        """
        from pipelines.commands.serve import serve

        folder = self.folder.resolve()
        serve([str(folder.parent if folder.name.isdigit() else folder)], **options)


class FinishedSearch:
    """A search: its trials, and the config of the best one."""

    def __init__(self, search: "Search"):
        self.folder: Path = search.folder.folder
        self.best: Path = search.folder.best
        self.report: Path = search.folder.report
        self._table: Path = search.folder.table

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """One row per trial: values and metrics."""
        import pandas as pd

        return pd.read_csv(self._table)

    def train(self, run_dir: str | Path | None = None) -> TrainedRun:
        """Train the best config."""
        return train(self.best, run_dir=run_dir)


class FinishedComparison:
    """A comparison: what it tells about the models, its training runs, and the config of the best model."""

    def __init__(self, results: "Results"):
        self.folder: Path = results.ladder.folder.folder
        self.best: Path = results.ladder.folder.best
        self.report: Path = results.ladder.folder.report
        self.conclusions: list[str] = results.lines()
        self._results = results

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row per model, best first, as it is printed."""
        import pandas as pd

        return pd.DataFrame(self._results.rows, columns=self._results.heads)

    @cached_property
    def runs(self) -> "pd.DataFrame":
        """One row per training run: model, seed and metrics."""
        return self._results.frame()

    def train(self, run_dir: str | Path | None = None) -> TrainedRun:
        """Train the best config."""
        return train(self.best, run_dir=run_dir)


class FinishedAudit:
    """An audit: its findings, what was not checked, and the config without the faults if one was asked for."""

    def __init__(self, audited: "Audited"):
        self.folder: Path = audited.folder
        self.config: Path | None = audited.config
        self.counts: dict[str, int] = audited.record["counts"]  # findings of each kind
        self.notes: list[str] = audited.record["notes"]
        self._audited = audited

    @cached_property
    def findings(self) -> "pd.DataFrame":
        """One row per finding: kind, score, places, what is wrong, remedy."""
        from pipelines.audit.findings import as_table

        return as_table(self._audited.audit.findings)


def train(
    config: str | Path,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    show: Callable[[str], None] | None = None,
    **settings: Any,
) -> TrainedRun:
    """Train the model of a config and evaluate it on every split.

    `config` is a YAML file, or the name of a task for the config that comes with it. `settings` override it by dotted
    path: `model="mlp"`, `**{"optimizer.learning_rate": 3e-4}`. `show` is called with each line about the data.

    Raises:
        UserError: If there is a mistake in the config, the data or the run folder.
    """
    import_tensorflow(verbose=False)
    from pipelines.commands.train import train as train_config

    say = show or (lambda line: None)
    _, run = train_config(config, _overrides(settings), run_dir, resume, _shown(show), say)
    return TrainedRun(run.folder)


def tune(
    config: str | Path,
    *,
    workers: int = 1,
    ray: str | None = None,
    search_dir: str | Path | None = None,
    resume: bool = False,
    show: Callable[[str], None] | None = None,
    **settings: Any,
) -> FinishedSearch:
    """Search the hyperparameters that a config marks with `tune`.

    Raises:
        UserError: If there is a mistake in the config, the data or the folder, or too many trials in a row fail.
    """
    import_tensorflow(verbose=False)
    from pipelines.commands.tune import tune as tune_config

    say = show or (lambda line: None)
    return FinishedSearch(tune_config(config, _overrides(settings), workers, ray, search_dir, resume, say=say))


def compare(
    config: str | Path,
    *,
    models: Sequence[str] | None = None,
    seeds: int | None = None,
    budget: str | int | None = None,
    tune_trials: int = 0,
    test: bool = False,
    workers: int = 1,
    ray: str | None = None,
    comparison_dir: str | Path | None = None,
    resume: bool = False,
    show: Callable[[str], None] | None = None,
    **settings: Any,
) -> FinishedComparison:
    """Train the models of a config with several seeds each (by default 5), and say which are as good as the best one.

    `budget` limits each training: a number of epochs, or a time such as `5m`. With `tune_trials`, the hyperparameters
    of each model are searched first, with that many trials. With `test`, the test split is measured
    too, at the end.

    Raises:
        UserError: If there is a mistake in an option, the config, the data or the folder.
    """
    import_tensorflow(verbose=False)
    from pipelines.commands.compare import compare as compare_models

    names = ",".join(models) if models is not None else None
    limit = str(budget) if budget is not None else None
    options = names, seeds, limit, tune_trials, test, workers, ray, comparison_dir, resume
    say = show or (lambda line: None)
    return FinishedComparison(compare_models(config, _overrides(settings), *options, say=say))


def compare_runs(*runs: str | Path, split: str = "validation") -> "ComparedRuns":
    """Compare two or more finished runs on the same examples, with intervals.

    Raises:
        UserError: If a folder is not a finished run, the runs have different tasks or data, or their data is missing.
    """
    import_tensorflow(verbose=False)
    from pipelines.comparison.runs import compare_runs

    return compare_runs(runs, split)


def audit_data(
    config: str | Path,
    *,
    run: str | Path | TrainedRun | None = None,
    against: str | Path | None = None,
    fix: bool = False,
    audit_dir: str | Path | None = None,
    show: Callable[[str], None] | None = None,
    **settings: Any,
) -> FinishedAudit:
    """Check for duplicates, leakage, label errors and distribution shift in the data of a config.

    `run` is a finished run on the same data, whose model judges the labels of validation and test. `against` is a file
    of new data to compare train with. `fix` writes a config without the faulty examples and columns.

    Raises:
        UserError: If there is a mistake in the config, the data, the run or the folder.
    """
    import_tensorflow(verbose=False)
    from pipelines.commands.audit import audit

    judge = run.folder if isinstance(run, TrainedRun) else run
    return FinishedAudit(audit(config, _overrides(settings), judge, against, (), fix, audit_dir, _shown(show)))


def diagnose(
    run: str | Path | TrainedRun,
    human: float | None = None,
    *,
    tries: int = 0,
    curve: bool = False,
    batch_sizes: bool = False,
    seeds: int = 3,
    workers: int = 1,
) -> "Diagnosis":
    """Say whether a finished run's model has high bias, high variance or a data mismatch, and write what to do next.

    `human` is the error of people, such as 0.01 if they are right for 99 % of the examples. The result has `verdict`, a
    sentence, `gaps`, `signs`, `steps` and `configs`, the configs to train next.

    `tries` of these configs are trained, each with `seeds` seeds: `tried` says which helped. With `curve`, the run's
    own config is trained with less data: `curve.doubled` is the error that twice the data would give. With
    `batch_sizes`, it is trained with other sizes of the mini-batches: `batch_sizes.fastest` learns most per second.

    Raises:
        UserError: If the run is not finished, its data is missing or has changed, `human` is not an error, or there is
            nothing to try.
    """
    import_tensorflow(verbose=False)
    from pipelines.commands.diagnose import Further
    from pipelines.commands.diagnose import diagnose as diagnose_run

    further = Further(tries, curve, batch_sizes, seeds, workers)
    return diagnose_run(run.folder if isinstance(run, TrainedRun) else run, human, further)


def inspect(config_or_run: str | Path | TrainedRun, *, row: int = 1, **settings: Any) -> "Inspection":
    """Return a model's layers with their shapes, parameters and multiply-adds, and an example on its way into it.

    The model of a config is built, but not trained. `row` is the number of the test example, from 1. The result has
    `costs` (`layers`, `parameters`, `multiply_adds`), `example`, `steps` and `tensors`.

    Raises:
        UserError: If the config, the run or the data cannot be used, or the test split has no such row.
    """
    import_tensorflow(verbose=False)
    from pipelines.commands.inspect import inspect as inspect_model

    given = config_or_run.folder if isinstance(config_or_run, TrainedRun) else config_or_run
    return inspect_model(given, _overrides(settings), row)


def load_data(config: str | Path, **settings: Any) -> "Dataset":
    """Load the raw examples of a config, split as in training: `data.train`, `data.validation`, `data.test`.

    Raises:
        UserError: If there is a mistake in the config or the data.
    """
    import_tensorflow(verbose=False)
    from pipelines.config.load import load_config
    from pipelines.trained_model import load_run_dataset

    return load_run_dataset(load_config(config, _overrides(settings)))


def models(task: str) -> dict[str, dict[str, Any]]:
    """List a task's models, simplest first, with a description of each model and its hyperparameters.

    Raises:
        UserError: If the task is unknown.
    """
    import_tensorflow(verbose=False)
    from pipelines.commands.tasks import models

    return models(task)


def load_code(*paths: str | Path) -> None:
    """Import Python files with custom models or tasks; a config can then name them, such as `my_models.wide`.

    Raises:
        UserError: If a path is not a Python file or package, or another module has its name.
    """
    import_tensorflow(verbose=False)
    from pipelines.extensions import load_code

    load_code(paths)


def load(folder: str | Path) -> TrainedRun | ExportedModel:
    """Load a finished run, or an export.

    Raises:
        UserError: If the folder is neither.
    """
    import_tensorflow(verbose=False)
    from pipelines.export.load import newest_version
    from pipelines.runs.run import Run

    if Run(folder).started:
        return TrainedRun(Run.open(folder).folder)
    newest_version(Path(folder))
    return ExportedModel(folder)


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as command-line overrides; JSON is valid YAML."""
    return [f"{path}={json.dumps(value, default=str)}" for path, value in settings.items()]


def _shown(show: Callable[[str], None] | None) -> Callable[[Any], None]:
    def show_lines(summary: Any) -> None:
        if show is not None:
            for line in summary.lines():
                show(line)

    return show_lines
