"""The folder layout of a training run; no other module knows its file names."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.errors import UserError
from pipelines.runs.checkpoints import Checkpoint, Weights, listed, named
from pipelines.runs.environment import describe_environment
from pipelines.storage import (
    is_locked,
    locked,
    make_folder,
    numbers,
    read_arrays,
    readable,
    write_arrays,
    write_json,
    write_text,
    write_whole,
    writing,
)

if TYPE_CHECKING:
    import keras

ROWS_AT_ONCE = 1 << 16  # rows of predictions that are written at a time
FROM_RUNS = ("start", "teacher")  # entries of `data.json` that record another run


class Run:
    """A run folder, which is reserved before the data is read.

    A run is started when it has a config and finished when it has metrics.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.report = self.folder / "report"
        self.page = self.report / "index.html"
        self.diagnosis = self.folder / "diagnosis"
        self.folds = self.folder / "folds"
        self.folds_table = self.folder / "folds.csv"
        self.logs = self.folder / "logs"
        self.checkpoints = self.folder / "checkpoints"
        self._config = self.folder / "config.yaml"
        self._environment = self.folder / "environment.json"
        self._data = self.folder / "data.json"
        self._history = self.folder / "history.csv"
        self._samples = self.folder / "samples.json"
        self._metrics = self.folder / "metrics.json"
        self._trivial = self.folder / "trivial.json"
        self._warnings = self.folder / "warnings.json"
        self._predictions = self.folder / "predictions.csv"
        self._signatures = self.folder / "signatures.json"
        self._details = self.folder / "details.json"
        self._weights = self.folder / "model.weights.h5"
        self._preprocessor = self.folder / "preprocessor.npz"
        self._confidence = self.folder / "confidence.npz"
        self._last = self.checkpoints / "last.npz"
        self._best = self.checkpoints / "best.npz"
        self._lock = self.folder / "lock"
        self._folds_spread = self.folder / "folds.json"
        self._error = self.folder / "error.txt"

    @classmethod
    def new(cls, task: str, folder: str | Path | None = None) -> "Run":
        """Return a new run in `folder`, or in a new folder `runs/<task>/<time>`, which is created.

        Raises:
            UserError: If `folder` exists and is not empty, or no folder can be created.
        """
        if folder is not None:
            run = cls(folder)
            if run.folder.exists() and not run._free:
                raise UserError(str(folder), "already exists; choose another --run-dir, or continue with --resume")
            return run
        base = Path("runs") / task / datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
        make_folder(base.parent)
        for path in _numbered(base):
            with writing(path, "cannot create this folder"), suppress(FileExistsError):
                path.mkdir()  # if two processes try, only one succeeds
                return cls(path)
        raise AssertionError("unreachable")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder during training, and remove it afterwards if training did not start.

        Raises:
            UserError: If it cannot be created or written to, or another process holds the lock.
        """
        with locked(self._lock, "another process is training in this folder; wait for it, or choose another --run-dir"):
            self._error.unlink(missing_ok=True)
            try:
                yield
            except Exception as error:
                if self.started and not self.finished:
                    with suppress(UserError):
                        write_text(self._error, f"{error}\n")
                raise
            finally:
                self._lock.unlink(missing_ok=True)
                if not self.started:
                    with suppress(OSError):  # the folder is not empty
                        self.folder.rmdir()

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open a finished run.

        Raises:
            UserError: If the folder does not exist, is not a run, or the run is not finished.
        """
        run = cls(folder)
        if not run.started:
            what = "not a run folder (it has no config.yaml)" if run.folder.exists() else "no such folder"
            raise UserError(str(folder), f"{what}; `train` creates one and prints its path")
        if not run.finished:
            raise UserError(str(folder), f"this run is not finished; continue with: {run.going_on}")
        return run

    @classmethod
    def newest_unfinished(cls, task: str) -> "Run":
        """Return the newest unfinished run of a task in `runs/<task>`.

        Raises:
            UserError: If there is none.
        """
        folders = sorted((Path("runs") / task).glob("*"), reverse=True)
        for run in map(cls, folders):
            if run.started and not (run.finished and run.cross_validated):
                return run
        raise UserError("--resume", f"runs/{task} contains no unfinished run; name one with --run-dir")

    @property
    def started(self) -> bool:
        """Whether the run has a config file."""
        return self._config.is_file()

    @property
    def finished(self) -> bool:
        """Whether the run has metrics, which are written at the end."""
        return self._metrics.is_file()

    @property
    def cross_validated(self) -> bool:
        """Whether all folds of a run were trained, if its split has folds."""
        rule = self.data().get("split", {})
        return not rule.get("folds") or rule.get("fold") is not None or self._folds_spread.is_file()

    @property
    def is_locked(self) -> bool:
        """Whether a process trains in the folder."""
        return is_locked(self._lock)

    @property
    def error(self) -> str | None:
        """Why training failed, or None if it did not, or goes on."""
        return self._error.read_text(encoding="utf-8").strip() if self._error.is_file() else None

    @property
    def has_history(self) -> bool:
        """Whether an epoch has ended."""
        return self._history.is_file()

    @property
    def has_model(self) -> bool:
        """Whether the trained weights are there."""
        return self._weights.is_file() and self._preprocessor.is_file()

    @property
    def _free(self) -> bool:
        return self.folder.is_dir() and all(path == self._lock for path in self.folder.iterdir())

    @property
    def going_on(self) -> str:
        """The command that resumes this run."""
        return f"train {self.config} --run-dir {self.folder} --resume"

    @property
    def config(self) -> Path:
        """Path of the run's config."""
        return self._config

    def start(
        self,
        config: str,
        data: Mapping[str, Any],
        summary: Sequence[str],
        trivial: Mapping[str, float],
        computing: Mapping[str, Any],
    ) -> None:
        """Write what is needed to reproduce the run, or check that a resumed run has the same data.

        `summary` holds lines about the data. `trivial` holds the baseline metrics on the validation split. `computing`
        says in which precision and on which devices the run is trained, from now on.

        Raises:
            UserError: If the run was started with other data, another preset, or from another run.
        """
        if self.started:
            self.check_data(data)
            if self.data().get("preset", {}).get("sha256") != data.get("preset", {}).get("sha256"):
                raise UserError(str(self.folder), "the preset has changed since this run was started; train a new run")
            for name in FROM_RUNS:
                if self.data().get(name, {}).get("fingerprint") != data.get(name, {}).get("fingerprint"):
                    problem = f"the run {data[name]['run']} has changed since this run was started"
                    raise UserError(str(self.folder), f"{problem}; train a new run")
            parts = self.environment().get("training", [])
            if parts[-1:] != [computing]:
                write_json(self._environment, {**self.environment(), "training": [*parts, computing]})
            if not self.finished:  # a finished run keeps the config of its metrics until new ones are written
                write_text(self._config, config)
            return
        for folder in (self.folder, self.report, self.logs, self.checkpoints):
            make_folder(folder)
        write_json(self._data, data)
        write_json(self._environment, {**describe_environment(), "training": [computing]})
        write_json(self._trivial, {"validation": trivial})
        write_text(self.report / "data.txt", "".join(f"{line}\n" for line in summary))
        write_text(self._config, config)

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Check that `data`, the record of a dataset, has the same fingerprint as this run's data.

        Raises:
            UserError: If the fingerprints differ.
        """
        if self.data()["fingerprint"] != data["fingerprint"]:
            raise UserError(str(self.folder), "the data has changed since this run was started; train a new run")

    def data(self) -> dict[str, Any]:
        """Read the record of the run's data: its source, splits and fingerprint."""
        return _read_json(self._data)

    def environment(self) -> dict[str, Any]:
        """Read the environment of the run: command, platform and package versions."""
        return _read_json(self._environment)

    def metrics(self) -> dict[str, dict[str, float]]:
        """Read the metrics of each split. Values that are not finite are NaN."""
        return {split: numbers(scores) for split, scores in _read_json(self._metrics).items()}

    def write_folds(self, table: pd.DataFrame, spread: Mapping[str, Mapping[str, float]]) -> None:
        """Write a table with one row per fold, and the spread of each metric of their test splits."""
        write_text(self.folds_table, table.to_csv(index=False))
        write_json(self._folds_spread, {"test": spread})

    def drop_folds(self) -> None:
        """Delete the trainings of the folds and what they told."""
        shutil.rmtree(self.folds, ignore_errors=True)
        for path in (self._folds_spread, self.folds_table):
            path.unlink(missing_ok=True)

    def folds_spread(self) -> dict[str, dict[str, float]]:
        """Read mean, standard deviation and interval of each metric over the folds; empty if there are none."""
        read = _read_json(self._folds_spread, {"test": {}})["test"]
        return {metric: numbers(values) for metric, values in read.items()}

    def trivial(self) -> dict[str, float]:
        """Read the baseline metrics on the validation split; empty if they were not computed."""
        return numbers(_read_json(self._trivial, {"validation": {}})["validation"])

    def warnings(self) -> list[str]:
        """Read the warnings about the run's result."""
        return _read_json(self._warnings, [])

    def details(self) -> dict[str, dict[str, Any]]:
        """Read, for each split that was measured, the intervals of its metrics and its worst examples."""
        return _read_json(self._details, {})

    def add_details(self, split: str, details: Mapping[str, Any]) -> None:
        """Write the intervals of the metrics of a split and its worst examples, in place of earlier ones."""
        write_json(self._details, {**self.details(), split: details})

    def read_diagnosis(self) -> dict[str, Any] | None:
        """Read what `diagnose` found, or return None if the run was not diagnosed."""
        path = self.diagnosis / "diagnosis.json"
        return _read_json(path) if path.is_file() else None

    def history(self) -> pd.DataFrame:
        """Read the training history, one row per epoch."""
        return pd.read_csv(self._history)

    def add_samples(self, epoch: int, samples: list[dict[str, Any]]) -> None:
        """Add the sample predictions of an epoch; a resumed run may overwrite those of a repeated epoch."""
        earlier = [each for each in self.samples() if each["epoch"] < epoch]
        write_json(self._samples, [*earlier, {"epoch": epoch, "samples": samples}])

    def samples(self) -> list[dict[str, Any]]:
        """Read the sample predictions of some epochs; empty if the task keeps none."""
        return _read_json(self._samples, [])

    def files(self) -> list[Path]:
        """List the files that make the finished run, without checkpoints, logs and hidden files."""
        without = {self.checkpoints, self.logs}
        found = sorted(path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return [path for path in found if path != self._lock and not without & set(path.parents)]

    def best_epoch(self) -> dict[str, float]:
        """Read the history entry of the best epoch."""
        history = self.history()
        return history.set_index("epoch").loc[history["best_epoch"].iloc[-1]].to_dict()

    def copy_to(self, other: "Run") -> None:
        """Copy this run's folder to a run that has not started, atomically, so that training can continue there."""
        temporary = other.folder.with_name(f".{other.folder.name}")
        for half_done in (temporary, other.folder):
            shutil.rmtree(half_done, ignore_errors=True)
        shutil.copytree(self.folder, temporary)
        temporary.replace(other.folder)

    def drop_weights(self) -> None:
        """Delete the weights, preprocessor, checkpoints and logs to free disk space; keep the metrics."""
        for path in (self._weights, self._preprocessor, self._confidence):
            path.unlink(missing_ok=True)
        self.drop_checkpoints()

    def drop_checkpoints(self) -> None:
        """Delete the checkpoints and logs to free disk space: training cannot continue."""
        for folder in (self.checkpoints, self.logs):
            shutil.rmtree(folder, ignore_errors=True)

    def add_metrics(self, split: str, scores: Mapping[str, float]) -> None:
        """Add the metrics of another split to those of a finished run."""
        write_json(self._metrics, {**self.metrics(), split: scores})

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and its history as CSV."""
        # Write the history first: training resumes from the checkpoint and rewrites later history entries.
        if checkpoint.history and not checkpoint.step:
            write_text(self._history, pd.DataFrame(checkpoint.history).to_csv(index=False))
        write_arrays(self._last, checkpoint.arrays())

    def load_checkpoint(self) -> Checkpoint | None:
        """Read the last checkpoint, or return None if there is none."""
        return Checkpoint.of(read_arrays(self._last)) if self._last.is_file() else None

    def save_best(self, weights: Weights) -> None:
        """Write the weights of the best epoch so far."""
        write_arrays(self._best, named("weights", weights))

    def load_best(self) -> Weights:
        """Read the weights of the best epoch so far."""
        return listed("weights", read_arrays(self._best))

    def save_model(
        self, model: "keras.Model", state: Mapping[str, np.ndarray], confidence: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Write the trained weights, the preprocessor state and, if it is calibrated, the confidence of the model."""
        write_arrays(self._preprocessor, state)
        if confidence:
            write_arrays(self._confidence, confidence)
        write_whole(self._weights, model.save_weights)

    def save_predictions(self, predictions: pd.DataFrame) -> None:
        """Write the predictions of the test split, each with its 1-based row in the split."""

        def write(path: Path) -> None:
            for start in range(0, max(1, len(predictions)), ROWS_AT_ONCE):
                part = predictions.iloc[start : start + ROWS_AT_ONCE]
                part = part.set_axis(pd.RangeIndex(start + 1, start + 1 + len(part), name="row"))
                part.to_csv(path, mode="a", header=not start, errors="surrogateescape")

        write_whole(self._predictions, write)

    def load_weights(self, model: "keras.Model") -> None:
        """Load the trained weights into a model of the same architecture."""
        with readable(self._weights):
            model.load_weights(self._weights)

    def preprocessor_state(self) -> dict[str, np.ndarray]:
        """Read the preprocessor state."""
        return read_arrays(self._preprocessor)

    def confidence(self) -> dict[str, np.ndarray]:
        """Read the confidence of the model; empty if it is not calibrated."""
        return read_arrays(self._confidence) if self._confidence.is_file() else {}

    def fingerprint(self) -> str:
        """Return a digest of the trained weights and the preprocessor state."""
        digest = hashlib.sha256()
        for path in (self._weights, self._preprocessor):
            with readable(path), path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def finish(
        self,
        metrics: Mapping[str, Mapping[str, float]],
        signatures: Mapping[str, str],
        warnings: Sequence[str],
        config: str,
    ) -> None:
        """Finish the run: write the metrics, their signatures, the warnings and the config.

        `config` covers the whole training, which may have more epochs than the run started with.
        """
        if signatures:
            write_json(self._signatures, signatures)
        write_json(self._warnings, warnings)
        write_json(self._metrics, metrics)
        write_text(self._config, config)


def _read_json(path: Path, missing: Any = None) -> Any:
    """Read a JSON file; if it does not exist, return `missing` if given (older versions did not write all files)."""
    if missing is not None and not path.is_file():
        return missing
    with readable(path):
        return json.loads(path.read_text(encoding="utf-8"))


def _numbered(base: Path) -> Iterator[Path]:
    yield base
    number = 2
    while True:
        yield base.with_name(f"{base.name}-{number}")
        number += 1
