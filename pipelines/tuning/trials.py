"""Trials in processes of their own, on this machine or on a Ray cluster."""

import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.config import load_config
from pipelines.data import Dataset, load_dataset
from pipelines.errors import UserError
from pipelines.fit import learn
from pipelines.run import Run
from pipelines.tasks import load_task


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: the figures of its best epoch, or why it failed."""

    figures: dict[str, float] | None
    reason: str | None = None


class Killed(Exception):
    """A trial's process ended without a word: it, or its machine, was killed."""


class Job(Protocol):
    """A call under way in another process."""

    def ready(self) -> bool:
        """Say whether it ended."""

    def get(self) -> Any:
        """Give what it returned."""


class Pool(Protocol):
    """What `multiprocessing.Pool` and `ray.util.multiprocessing.Pool` have in common."""

    def apply_async(self, function: Callable, arguments: tuple) -> Job:
        """Call a function in another process."""

    def terminate(self) -> None:
        """End all calls."""


def run_trial(
    config: Path, folder: Path, dataset: Dataset | None, threads: int | None, until_epoch: int | None
) -> Outcome:
    """Train a config in this process, which does nothing else, and give the figures of its best epoch.

    `dataset`, where it is given, is what the config's data section would load; `threads`, where it is given, how many
    this process may use. Training ends at `until_epoch`, from where a later trial may go on. What goes wrong is the
    trial's outcome, its traceback goes to `error.txt`.
    """
    try:
        if threads is not None:
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        checked = load_config(config)
        dataset = dataset or load_dataset(checked.data, checked.split, load_task(checked.task).sources)
        run = Run(folder)
        learn(checked, run, dataset, until_epoch)
        return Outcome(run.best_epoch())
    except UserError as error:
        return Outcome(None, str(error))
    except Exception as error:  # a trial that fails must not end the search
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(traceback.format_exc())
        first = (str(error).strip().splitlines() or [""])[0]
        return Outcome(None, f"{type(error).__name__}: {first} (see {folder / 'error.txt'})")


class LocalPool:
    """Processes of this machine, a new one for each call, so that memory is given back and a dead one loses one call.

    They fork off a server that has imported TensorFlow once. `multiprocessing.Pool` waits for ever for what a killed
    process would have returned; `concurrent.futures` gives up the other processes too.
    """

    def __init__(self) -> None:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self.context = multiprocessing.get_context(method)
        if method == "forkserver":
            self.context.set_forkserver_preload([__name__])
        self.jobs: list[LocalJob] = []

    def apply_async(self, function: Callable, arguments: tuple) -> "LocalJob":
        """Call a function in a new process, which writes what it prints to `log.txt` in its trial's folder."""
        self.jobs = [job for job in self.jobs if not job.closed]
        self.jobs.append(LocalJob(self.context, function, arguments))
        return self.jobs[-1]

    def terminate(self) -> None:
        """Kill the processes."""
        for job in self.jobs:
            if not job.closed:
                job.process.kill()


class LocalJob:
    """A call in a process of its own."""

    def __init__(self, context: Any, function: Callable, arguments: tuple):
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_call, args=(sender, function, arguments), daemon=True)
        self.process.start()
        self.closed = False
        sender.close()

    def ready(self) -> bool:
        """Say whether it returned or died."""
        return self.receiver.poll() or not self.process.is_alive()

    def get(self) -> Any:
        """Give what it returned.

        Raises:
            Killed: where its process died instead.
        """
        try:
            return self.receiver.recv()
        except (EOFError, OSError):
            self.process.join()
            raise Killed(f"its process ended with {_ending(self.process.exitcode)}") from None
        finally:
            self.process.join()
            self.process.close()
            self.receiver.close()
            self.closed = True


class RayPool:
    """Processes of a Ray cluster, whose machines share the search's folder."""

    def __init__(self, address: str, workers: int):
        """Connect.

        Raises:
            UserError: where Ray is not installed, does not answer, or has fewer processors than workers.
        """
        try:
            import ray
            from ray.util.multiprocessing import Pool
        except ImportError:
            raise UserError("--ray", "needs the package ray; run: pip install ray") from None
        self.ray = ray
        try:
            self.pool = Pool(processes=workers, ray_address=address, maxtasksperchild=1)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"--ray {address}", str(error).strip().splitlines()[0]) from None

    def apply_async(self, function: Callable, arguments: tuple) -> "RayJob":
        """Call a function in a process of the cluster."""
        return RayJob(self.pool.apply_async(function, arguments), self.ray.exceptions.RayError)

    def terminate(self) -> None:
        """Leave the cluster, which ends what runs there for this search."""
        self.pool.terminate()
        self.ray.shutdown()


class RayJob:
    """A call on a Ray cluster."""

    def __init__(self, result: Any, lost: type[Exception]):
        self.result, self.lost = result, lost

    def ready(self) -> bool:
        """Say whether it ended."""
        return self.result.ready()

    def get(self) -> Any:
        """Give what it returned.

        Raises:
            Killed: where its process or its machine was lost.
        """
        try:
            return self.result.get()
        except self.lost as error:
            raise Killed(f"lost by Ray: {str(error).strip().splitlines()[0]}") from None


def _call(sender: Any, function: Callable, arguments: tuple) -> None:
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:  # else a trial of a killed search would go on, beside the one that resumes it
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    folder: Path = arguments[1]
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    sender.send(function(*arguments))


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    more = "; out of memory, or killed by hand" if code == -9 else ""
    return f"signal {-code}{more}"
