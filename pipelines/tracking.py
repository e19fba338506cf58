"""Report runs and searches to a tracking server: their settings, the metrics of each epoch, and their files.

The server is asked once before training. If it fails later, training goes on, and what is missing is reported at the
end if the server is back.
"""

import importlib.util
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field

from pipelines.build import build
from pipelines.comparison.settings import flat_settings
from pipelines.config.validation import Config
from pipelines.errors import UserError
from pipelines.runs.run import Run
from pipelines.storage import write_json
from pipelines.training.progress import say

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipelines.tuning.runner import Runner

RECORD = "tracking.json"  # in the folder of a run or a search: which run of the server it is
AT_ONCE = 100  # settings or metrics in one request: what the server allows
LONGEST = 6000  # characters of the value of a setting: what the server allows
NOT_IN_NAMES = re.compile(r"[^\w\-./: ]")  # characters that the server refuses in names
DEFAULTS = {  # of MLflow's own environment variables
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # 7 would take minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

Uri = Annotated[
    str,
    Field(
        min_length=1,
        description="address of the tracking server, such as http://127.0.0.1:5000; a user, a password or a token"
        " belong in the environment variables MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and"
        " MLFLOW_TRACKING_TOKEN",
    ),
]
Experiment = Annotated[
    str | None, Field(min_length=1, description="experiment of the runs, which is made if needed; null: the task")
]


class Server:
    """An experiment on an MLflow server."""

    def __init__(self, client: "MlflowClient", experiment: str):
        self.client, self.experiment = client, experiment

    def epochs(self, run_id: str) -> int:
        """Return the number of the last epoch that was logged, or 0."""
        return max((metric.step for metric in self.client.get_metric_history(run_id, "loss")), default=0)

    def begin(self, record: Path, name: str, tags: Mapping[str, str], settings: Mapping[str, Any]) -> str:
        """Return the id of the run in the file `record`, which is continued; without that file, of a new one."""
        if record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))["run_id"]
            self.client.update_run(known, status="RUNNING")
            return known
        return self.new(name, tags, settings)

    def new(self, name: str, tags: Mapping[str, str], settings: Mapping[str, Any]) -> str:
        """Make a run with these settings and return its id."""
        from mlflow.entities import Param

        made = self.client.create_run(self.experiment, tags=dict(tags), run_name=name).info.run_id
        params = [Param(_name(path), str(value)[:LONGEST]) for path, value in settings.items()]
        for some in _parts(params):
            self.client.log_batch(made, params=some)
        return made

    def log(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log those metrics that are finite."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        finite = {name: float(value) for name, value in metrics.items() if np.isfinite(value)}
        for some in _parts([Metric(_name(name), value, now, step) for name, value in finite.items()]):
            self.client.log_batch(run_id, metrics=some)

    def add_files(self, run_id: str, folder: Path, files: Iterable[Path], to: str) -> None:
        """Copy files to the artifacts of a run, below the path `to`, as they lie below `folder`."""
        for path in files:
            inside = path.relative_to(folder).parent.as_posix()
            self.client.log_artifact(run_id, str(path), to if inside == "." else f"{to}/{inside}")

    def end(self, run_id: str, status: str = "FINISHED") -> None:
        """Say how a run ended: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)


class TrackedRun:
    """A run that a server is told of; without a server, nothing is done."""

    def __init__(self, server: Server | None, run: Run, run_id: str = ""):
        self.server, self.run, self.run_id = server, run, run_id
        self.reported = server.epochs(run_id) if server is not None else 0
        self.lost = False  # whether a request failed, which is said once

    def epochs(self, history: Sequence[Mapping[str, float]]) -> None:
        """Report the epochs that were not reported yet."""
        if self.server is not None:
            self._try(self._epochs, self.server, history)

    def finish(self) -> None:
        """Report the metrics and the files of a finished run."""
        if self.server is not None:
            self._try(self._finish, self.server)

    def end(self, status: str) -> None:
        """Say how a run ended that is not finished."""
        if self.server is not None:
            self._try(self.server.end, self.run_id, status)

    def _epochs(self, server: Server, history: Sequence[Mapping[str, float]]) -> None:
        if not (self.run.folder / RECORD).is_file():
            write_json(self.run.folder / RECORD, {"run_id": self.run_id})
        for entry in history[self.reported :]:
            figures = {name: value for name, value in entry.items() if name not in ("epoch", "best_epoch")}
            server.log(self.run_id, figures, int(entry["epoch"]))
            self.reported += 1

    def _finish(self, server: Server) -> None:
        self._epochs(server, self.run.history().to_dict("records"))
        metrics = self.run.metrics()
        last = {f"{split}.{name}": value for split, own in metrics.items() for name, value in own.items()}
        server.log(self.run_id, last, self.reported)
        server.log(self.run_id, {"best_epoch": self.run.best_epoch()["best_epoch"]})
        server.add_files(self.run_id, self.run.folder, self.run.files(), "run")
        server.end(self.run_id)

    def _try(self, report: Callable[..., None], *arguments: Any) -> None:
        """Call `report`; training must not fail because the server does."""
        from mlflow.exceptions import MlflowException

        try:
            report(*arguments)
        except (MlflowException, OSError) as error:
            if not self.lost:
                say(f"warning: tracking: the server failed ({_first_line(error)}); training goes on")
            self.lost = True


def mlflow(task: str, *, uri: Uri, experiment: Experiment = None) -> Server:
    """Report to an MLflow server (https://mlflow.org)."""
    _check_uri(uri)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if importlib.util.find_spec("mlflow") is None:
        missing = "mlflow is missing; install it with: pip install '.[mlflow]' in the clone"
        raise UserError("tracking.name", missing)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    wanted = experiment or task
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(wanted)
        if known is not None and known.lifecycle_stage != "active":
            raise UserError("tracking.experiment", f"'{wanted}' is deleted on the server; name another one")
        return Server(client, known.experiment_id if known else client.create_experiment(wanted))
    except (MlflowException, OSError, ImportError) as error:
        problem = f"{uri} cannot be used ({_first_line(error)}); start it, correct the address, or set tracking=null"
        raise UserError("tracking.uri", problem) from None


TRACKERS: Mapping[str, Callable[..., Server]] = {"mlflow": mlflow}


def open_server(config: Config) -> Server | None:
    """Return the server that a config names, after asking it once, or None if it names none.

    Raises:
        UserError: If the server cannot be reached, a package is missing, or the address holds a password.
    """
    return None if config.tracking is None else build(config.tracking, TRACKERS, "name", config.task)


@contextmanager
def tracking(config: Config, run: Run) -> Iterator[TrackedRun]:
    """Report a run to the server of its config, if it names one; an exception marks it as failed there.

    Raises:
        UserError: If the server cannot be used.
    """
    server = open_server(config)
    if server is None:
        yield TrackedRun(None, run)
        return
    tags = {"task": config.task, "model": config.model, "folder": str(run.folder)}
    run_id = server.begin(run.folder / RECORD, run.folder.name, tags, _settings(config))
    tracked = TrackedRun(server, run, run_id)
    try:
        yield tracked
    except BaseException as error:
        tracked.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise


def track_trials(server: Server | None, runner: "Runner") -> None:
    """Report a search or a comparison: a run, and below it one for each trial that has ended since the last time."""
    if server is None:
        return
    from mlflow.exceptions import MlflowException

    try:
        _track_trials(server, runner)
    except (MlflowException, OSError) as error:
        say(f"warning: tracking: the server failed ({_first_line(error)}); resume to report the trials again")


def _track_trials(server: Server, runner: "Runner") -> None:
    folder, base = runner.folder, runner.space.config({})
    record = folder.folder / RECORD
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {"trials": []}
    tags = {"task": base.task, "folder": str(folder.folder)}
    parent = server.begin(record, folder.folder.name, tags, _settings(base))
    for trial in runner.ended:
        if trial.number not in known["trials"]:
            run = folder.trial(trial.number)
            own = {**tags, "mlflow.parentRunId": parent, **({"reason": trial.reason} if trial.reason else {})}
            child = server.new(f"trial {trial.number}", own, trial.values)
            for entry in run.history().to_dict("records") if run.has_history and trial.repeats is None else []:
                server.log(child, entry, int(entry["epoch"]))
            if trial.score is not None:
                seconds = {} if trial.seconds is None else {"seconds": trial.seconds}
                server.log(child, {f"best.{runner.objective}": trial.score, **seconds})
            server.end(child, "FAILED" if trial.reason else "FINISHED")
            known["trials"].append(trial.number)
        write_json(record, {"run_id": parent, "trials": known["trials"]})
    if runner.ranked:
        best = runner.ranked[0]
        assert best.score is not None  # ranked by it
        server.log(parent, {runner.objective: best.score, "best_trial": best.number}, len(runner.ended))
    files = [path for path in folder.folder.iterdir() if path.suffix in (".yaml", ".csv", ".md")]
    server.add_files(parent, folder.folder, [*files, *folder.report.iterdir()], runner.folder.word)
    server.end(parent)


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings by dotted path, without those of the models that are not used and of the tracking."""
    own = {**config.whole, "models": {config.model: config.whole["models"][config.model]}}
    return flat_settings({name: value for name, value in own.items() if name != "tracking"})


def _check_uri(uri: str) -> None:
    try:
        secret = urlsplit(uri).password or urlsplit(uri).username
    except ValueError:
        raise UserError("tracking.uri", "is not an address; write one such as http://127.0.0.1:5000") from None
    if secret:
        names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        problem = f"holds a user or a password, which would be written to disk; set {names} in the environment"
        raise UserError("tracking.uri", problem)


def _parts(values: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def _name(name: str) -> str:
    return NOT_IN_NAMES.sub("_", name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
