"""Run: one training's folder, and the only code that knows its file names."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from pipelines.errors import UserError
from pipelines.runs.checkpoints import Checkpoint, Weights, listed, named
from pipelines.runs.environment import describe_environment
from pipelines.storage import (
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


class Run:
    """A run folder: reserved before the data is read, started with the first epoch, finished with its metrics."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.report = self.folder / "report"
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
        self._weights = self.folder / "model.weights.h5"
        self._preprocessor = self.folder / "preprocessor.npz"
        self._last = self.checkpoints / "last.npz"
        self._best = self.checkpoints / "best.npz"
        self._lock = self.folder / "lock"

    @classmethod
    def new(cls, task: str, folder: str | Path | None = None) -> "Run":
        """Choose the folder of a run that has not started: `folder`, or `runs/<task>/<time>`, which is made.

        Raises:
            UserError: where `folder` already holds something, or none can be made.
        """
        if folder is not None:
            run = cls(folder)
            if run.folder.exists() and not run._free:
                raise UserError(str(folder), "already exists; choose another --run-dir, or go on with --resume")
            return run
        base = Path("runs") / task / datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
        make_folder(base.parent)
        for path in _numbered(base):
            with writing(path, "this folder cannot be made"), suppress(FileExistsError):
                path.mkdir()  # of two processes, one succeeds
                return cls(path)
        raise AssertionError("numbers end")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder while it is trained in; take it away again where training does not start.

        Raises:
            UserError: where it cannot be made or written to, or another process holds it.
        """
        with locked(self._lock, "another process is training here; wait for it, or choose another --run-dir"):
            try:
                yield
            finally:
                self._lock.unlink(missing_ok=True)
                if not self.started:
                    with suppress(OSError):  # something else lies in it
                        self.folder.rmdir()

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open a finished run.

        Raises:
            UserError: where there is no such folder, it is no run, or it is not finished.
        """
        run = cls(folder)
        if not run.started:
            what = "not a run folder (no config.yaml in it)" if run.folder.exists() else "no such folder"
            raise UserError(str(folder), f"{what}; `train` makes one and prints its path")
        if not run.finished:
            raise UserError(str(folder), f"this run is not finished; go on with: {run.going_on}")
        return run

    @classmethod
    def newest_unfinished(cls, task: str) -> "Run":
        """Find the latest interrupted run of a task below `runs/`.

        Raises:
            UserError: where there is none.
        """
        folders = sorted((Path("runs") / task).glob("*"), reverse=True)
        for run in map(cls, folders):
            if run.started and not run.finished:
                return run
        raise UserError("--resume", f"runs/{task} holds no unfinished run; name one with --run-dir")

    @property
    def started(self) -> bool:
        """Say whether the run has its config."""
        return self._config.is_file()

    @property
    def finished(self) -> bool:
        """Say whether the run has its metrics, which are written last."""
        return self._metrics.is_file()

    @property
    def _free(self) -> bool:
        return self.folder.is_dir() and all(path == self._lock for path in self.folder.iterdir())

    @property
    def going_on(self) -> str:
        """Give the command that goes on with this run."""
        return f"train {self.config} --run-dir {self.folder} --resume"

    @property
    def config(self) -> Path:
        """Give the path of the run's config."""
        return self._config

    def start(self, config: str, data: Mapping[str, Any], summary: Sequence[str], trivial: Mapping[str, float]) -> None:
        """Make the folder with what is needed to repeat the run, or check that it goes on with the same data.

        `summary` are lines on the data; `trivial` is what an answer that looks at no input scores on validation.

        Raises:
            UserError: where the folder was started with other data.
        """
        if self.started:
            self.check_data(data)
            if not self.finished:  # else the config stays that of the metrics, until others take their place
                write_text(self._config, config)
            return
        for folder in (self.folder, self.report, self.logs, self.checkpoints):
            make_folder(folder)
        write_json(self._data, data)
        write_json(self._environment, describe_environment())
        write_json(self._trivial, {"validation": trivial})
        write_text(self.report / "data.txt", "".join(f"{line}\n" for line in summary))
        write_text(self._config, config)

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Check that `data`, a dataset's record, is of the examples that this run began with.

        Raises:
            UserError: where it is not.
        """
        if self.data()["fingerprint"] != data["fingerprint"]:
            raise UserError(str(self.folder), "the data is not what this run began with; train a new run on it")

    def data(self) -> dict[str, Any]:
        """Read where the run's examples came from."""
        return _read_json(self._data)

    def environment(self) -> dict[str, Any]:
        """Read what the run depends on besides its config and its data."""
        return _read_json(self._environment)

    def metrics(self) -> dict[str, dict[str, float]]:
        """Read the metrics of each split; NaN where one is no number."""
        return {split: numbers(scores) for split, scores in _read_json(self._metrics).items()}

    def trivial(self) -> dict[str, float]:
        """Read what an answer that looks at no input scores on validation, where that was measured."""
        return numbers(_read_json(self._trivial, {"validation": {}})["validation"])

    def warnings(self) -> list[str]:
        """Read what the run's user should know of its result."""
        return _read_json(self._warnings, [])

    def history(self) -> pd.DataFrame:
        """Read the figures of each epoch."""
        return pd.read_csv(self._history)

    def add_samples(self, epoch: int, samples: list[dict[str, Any]]) -> None:
        """Write what the model answered at the end of an epoch; a run taken up again may repeat one."""
        earlier = [each for each in self.samples() if each["epoch"] < epoch]
        write_json(self._samples, [*earlier, {"epoch": epoch, "samples": samples}])

    def samples(self) -> list[dict[str, Any]]:
        """Read what the model answered at the end of some epochs, as far as the task keeps any."""
        return _read_json(self._samples, [])

    def best_epoch(self) -> dict[str, float]:
        """Read the figures of the best epoch."""
        history = self.history()
        return history.set_index("epoch").loc[history["best_epoch"].iloc[-1]].to_dict()

    def copy_to(self, other: "Run") -> None:
        """Copy all that training needs to go on to the folder of a run that has not started: the whole, or nothing."""
        temporary = other.folder.with_name(f".{other.folder.name}")
        for half_done in (temporary, other.folder):
            shutil.rmtree(half_done, ignore_errors=True)
        shutil.copytree(self.folder, temporary)
        temporary.replace(other.folder)

    def drop_weights(self) -> None:
        """Give back the disk space of what a run's figures can do without."""
        for path in (self._weights, self._preprocessor):
            path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.logs):
            shutil.rmtree(folder, ignore_errors=True)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and its history for people to read."""
        # The history first: training goes on from the checkpoint, and writes anew what the history has beyond it.
        write_text(self._history, pd.DataFrame(checkpoint.history).to_csv(index=False))
        write_arrays(self._last, checkpoint.arrays())

    def load_checkpoint(self) -> Checkpoint | None:
        """Read the last checkpoint; None where there is none."""
        return Checkpoint.of(read_arrays(self._last)) if self._last.is_file() else None

    def save_best(self, weights: Weights) -> None:
        """Write the weights of the best epoch so far."""
        write_arrays(self._best, named("weights", weights))

    def load_best(self) -> Weights:
        """Read the weights of the best epoch so far."""
        return listed("weights", read_arrays(self._best))

    def save_model(self, model: keras.Model, state: Mapping[str, np.ndarray]) -> None:
        """Write the trained weights and what the preprocessor learnt."""
        write_arrays(self._preprocessor, state)
        write_whole(self._weights, model.save_weights)

    def save_predictions(self, predictions: pd.DataFrame) -> None:
        """Write the answers to the test split, each with its row in the split, from 1."""
        rows = pd.Series(range(1, len(predictions) + 1), name="row")
        write_text(self._predictions, pd.concat([rows, predictions], axis=1).to_csv(index=False))

    def load_weights(self, model: keras.Model) -> None:
        """Give a model of the same build the trained weights."""
        with readable(self._weights):
            model.load_weights(self._weights)

    def preprocessor_state(self) -> dict[str, np.ndarray]:
        """Read what the preprocessor learnt."""
        return read_arrays(self._preprocessor)

    def finish(
        self,
        metrics: Mapping[str, Mapping[str, float]],
        signatures: Mapping[str, str],
        warnings: Sequence[str],
        config: str,
    ) -> None:
        """Write the metrics, which end the run, how they are computed, and what its user should know.

        `config` is that of the whole training, which may have more epochs than the run began with.
        """
        if signatures:
            write_json(self._signatures, signatures)
        write_json(self._warnings, warnings)
        write_json(self._metrics, metrics)
        write_text(self._config, config)


def _read_json(path: Path, missing: Any = None) -> Any:
    """Read a file; of one that older versions did not write take `missing`, where it is given."""
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
