"""Run one trial in a process that does nothing else."""

import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipelines.config.load import Config, load_config
from pipelines.data import Dataset, Source, load_dataset
from pipelines.errors import UserError
from pipelines.extensions import load_code
from pipelines.fit import adapt_preprocessor, calibrate_model, train_model
from pipelines.runs.run import Run
from pipelines.task import Preprocessor
from pipelines.tasks import load_task
from pipelines.tensorflow_startup import share_gpus
from pipelines.trained_model import TrainedModel, measure_split, preset_name


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial: the metrics of its best epoch, or the reason why it failed."""

    figures: dict[str, float] | None
    reason: str | None = None


ready: dict[str, tuple[Config, Preprocessor]] = {}  # what this process prepared before its trial was known


def get_ready(config: Path, dataset: Dataset | None, threads: int | None, code: Sequence[str] = ()) -> None:
    """Do the work of a trial that does not depend on its values.

    This starts TensorFlow and adapts the preprocessor of the config's defaults. `threads`, if given, is the number of
    threads that this process may use. Without `dataset`, each trial loads its own.
    """
    load_code(code)
    if threads is not None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    if dataset is not None:
        checked = load_config(config)
        ready["defaults"] = checked, adapt_preprocessor(checked, dataset)


def run_trial(
    config: Path, folder: Path, data: Dataset | Source | None, until_epoch: int | None, code: Sequence[str] = ()
) -> Outcome:
    """Train a config in this process, which does nothing else, and return the metrics of its best epoch.

    `data`, if given, is what the config's data section would load, or read. Training stops at `until_epoch`, and a
    later trial may continue from there. An error becomes the outcome of the trial. If it is not a `UserError`, its
    traceback is written to `error.txt`.
    """
    return _outcome(folder, lambda: _train(config, folder, data, until_epoch, code).run.best_epoch())


def run_rung(
    config: Path, folder: Path, data: Dataset | Source | None, until_epoch: int | None, code: Sequence[str] = ()
) -> Outcome:
    """Train a config as `run_trial` does, and finish its run with the metrics of the validation split.

    The figures of the outcome also have the number of `parameters`, and the `seconds` of the whole training.
    """

    def work() -> dict[str, float]:
        run, trained, _ = _train(config, folder, data, until_epoch, code)
        best = run.best_epoch()
        metrics = {name.removeprefix("validation."): best[name] for name in best if name.startswith("validation.")}
        run.finish({"validation": metrics}, {}, (), trained.config.to_yaml())
        run.drop_checkpoints()
        seconds = float(run.history()["seconds"].iloc[-1])
        return {**best, "seconds": seconds, "parameters": trained.model.count_params()}

    return _outcome(folder, work)


def run_fold(
    config: Path, folder: Path, data: Dataset | Source | None, until_epoch: int | None, code: Sequence[str] = ()
) -> Outcome:
    """Train and calibrate a config, and finish its run with the metrics and predictions of the test split.

    The figures of the outcome also have the metrics of test, and the `seconds` of the whole training.
    """

    def work() -> dict[str, float]:
        run, trained, dataset = _train(config, folder, data, until_epoch, code, calibrated=True)
        best = run.best_epoch()
        examples = trained.task.evaluation_examples("test", dataset.test)
        answers = trained.answerer.answer_table(examples)
        metrics = measure_split(trained, "test", examples, answers)
        run.save_predictions(trained.task.predictions(examples, answers))
        run.finish({"test": metrics}, trained.task.metric_signatures(examples), (), trained.config.to_yaml())
        run.drop_checkpoints()
        seconds = float(run.history()["seconds"].iloc[-1])
        return {**best, **{f"test.{name}": value for name, value in metrics.items()}, "seconds": seconds}

    return _outcome(folder, work)


class _Trained(NamedTuple):
    run: Run
    model: TrainedModel
    dataset: Dataset


def _train(
    config: Path,
    folder: Path,
    data: Dataset | Source | None,
    until_epoch: int | None,
    code: Sequence[str],
    calibrated: bool = False,
) -> _Trained:
    share_gpus()  # in a process of a Ray cluster, nothing else has done this
    load_code(code)
    checked = load_config(config)
    if not isinstance(data, Dataset):
        data = load_dataset(checked.data, checked.split, load_task(checked.task), data)
    run = Run(folder)
    trained = train_model(checked, run, data, _preprocessor(checked, data), until_epoch)
    if calibrated:
        trained, _ = calibrate_model(trained, data)
    run.save_model(trained.model, trained.preprocessor.state, trained.preprocessor.confidence)
    return _Trained(run, trained, data)


def _outcome(folder: Path, work: Callable[[], dict[str, float]]) -> Outcome:
    try:
        return Outcome(work())
    except UserError as error:
        return Outcome(None, str(error))
    except Exception as error:  # a trial that fails must not end the search
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "error.txt").write_text(traceback.format_exc())
        first = (str(error).strip().splitlines() or [""])[0]
        return Outcome(None, f"{type(error).__name__}: {first} (see {folder / 'error.txt'})")


def _preprocessor(config: Config, dataset: Dataset) -> Preprocessor:
    """Return the prepared preprocessor if it was made from the same config sections, else adapt a new one."""
    if "defaults" in ready:
        defaults, preprocessor = ready["defaults"]
        sections = ("seed", "data", "split", "preprocessing", "start")
        same = all(config.whole[name] == defaults.whole[name] for name in sections)
        if same and preset_name(config) == preset_name(defaults):
            return preprocessor
    return adapt_preprocessor(config, dataset)
