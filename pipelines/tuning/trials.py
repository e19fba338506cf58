"""One trial, in a process that does nothing else."""

import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.config.load import Config, load_config
from pipelines.data import Dataset, load_dataset
from pipelines.errors import UserError
from pipelines.extensions import load_code
from pipelines.fit import adapt_preprocessor, train_model
from pipelines.runs.run import Run
from pipelines.task import Preprocessor
from pipelines.tasks import load_task
from pipelines.tensorflow_startup import share_gpus


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: the figures of its best epoch, or why it failed."""

    figures: dict[str, float] | None
    reason: str | None = None


ready: dict[str, tuple[Config, Preprocessor]] = {}  # what this process prepared before its trial was known


def get_ready(config: Path, dataset: Dataset | None, threads: int | None, code: Sequence[str] = ()) -> None:
    """Do what a trial does before its own values matter: wake TensorFlow, learn the preprocessing of the defaults.

    `threads`, where it is given, is how many this process may use. Without `dataset` each trial loads its own.
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
    config: Path, folder: Path, dataset: Dataset | None, until_epoch: int | None, code: Sequence[str] = ()
) -> Outcome:
    """Train a config in this process, which does nothing else, and give the figures of its best epoch.

    `dataset`, where it is given, is what the config's data section would load. Training ends at `until_epoch`, from
    where a later trial may go on. What goes wrong is the trial's outcome, its traceback goes to `error.txt`.
    """
    share_gpus()  # in a process of a Ray cluster nothing else has
    try:
        load_code(code)
        checked = load_config(config)
        dataset = dataset or load_dataset(checked.data, checked.split, load_task(checked.task))
        run = Run(folder)
        trained = train_model(checked, run, dataset, _preprocessor(checked, dataset), until_epoch)
        run.save_model(trained.model, trained.preprocessor.state)
        return Outcome(run.best_epoch())
    except UserError as error:
        return Outcome(None, str(error))
    except Exception as error:  # a trial that fails must not end the search
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "error.txt").write_text(traceback.format_exc())
        first = (str(error).strip().splitlines() or [""])[0]
        return Outcome(None, f"{type(error).__name__}: {first} (see {folder / 'error.txt'})")


def _preprocessor(config: Config, dataset: Dataset) -> Preprocessor:
    """Take the preprocessor that is ready, where this trial's sections are those that it was made by."""
    if "defaults" in ready:
        defaults, preprocessor = ready["defaults"]
        sections = ("seed", "data", "split", "preprocessing")
        if all(config.values[name] == defaults.values[name] for name in sections):
            return preprocessor
    return adapt_preprocessor(config, dataset)
