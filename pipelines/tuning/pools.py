"""Processes for trials, on this machine or on a Ray cluster; nothing here needs TensorFlow."""

import contextlib
import math
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Protocol

from pipelines.errors import UserError

PRELOADED = "pipelines.tuning.preloaded"  # what the server imports that trials are forked off


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


class LocalPool:
    """Processes of this machine, a new one for each call, so that memory is given back and a dead one loses one call.

    They fork off a server that has imported TensorFlow once. While calls run, the process for the next one waits, with
    `get_ready` done. `multiprocessing.Pool` waits for ever for what a killed process would have returned;
    `concurrent.futures` gives up the other processes too.
    """

    def __init__(self, get_ready: Callable[[], None] | None = None):
        self.context = start_server()
        self.get_ready = get_ready
        self.jobs: list[LocalJob] = []
        self.next: LocalJob | None = None

    def apply_async(self, function: Callable, arguments: tuple) -> "LocalJob":
        """Call a function in a new process, which writes what it prints to `log.txt` in its trial's folder."""
        job = self.next if self.next is not None and self.next.process.is_alive() else LocalJob(self)
        self.jobs = [other for other in self.jobs if not other.closed] + [job]
        job.connection.send((function, arguments))
        self.next = LocalJob(self) if self.get_ready is not None else None
        return job

    def terminate(self) -> None:
        """Kill the processes."""
        for job in [*self.jobs, *([self.next] if self.next is not None else [])]:
            if not job.closed:
                job.process.kill()


class LocalJob:
    """A process that waits for a call, and then is that call."""

    def __init__(self, pool: LocalPool):
        self.connection, other = pool.context.Pipe()
        self.process = pool.context.Process(target=_call, args=(other, pool.get_ready), daemon=True)
        self.process.start()
        self.closed = False
        other.close()

    def ready(self) -> bool:
        """Say whether it returned or died."""
        return self.connection.poll() or not self.process.is_alive()

    def get(self) -> Any:
        """Give what it returned.

        Raises:
            Killed: where its process died instead.
        """
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise Killed(f"its process ended with {_ending(self.process.exitcode)}") from None
        finally:
            self.process.join()
            self.process.close()
            self.connection.close()
            self.closed = True


def start_server() -> Any:
    """Start the server that processes fork off, beside whatever else is being imported, and give its context."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    forkserver.ensure_running()
    return context


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
            ray.init(address=address, **({"num_cpus": workers} if address == "local" else {}))
            share = gpu_share(ray.cluster_resources().get("GPU", 0), workers)
            self.pool = Pool(processes=workers, maxtasksperchild=1, ray_remote_args={"num_gpus": share})
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


def gpu_share(gpus: float, workers: int) -> float:
    """Give the share of a GPU that each of `workers` trials asks Ray for, so that all of them fit and none has two."""
    if gpus < 1:
        return 0
    trials_of_one = math.ceil(workers / int(gpus))
    return math.floor(1e4 / trials_of_one) / 1e4  # Ray counts in ten thousandths


def _call(connection: Any, get_ready: Callable[[], None] | None) -> None:
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:  # else a trial of a killed search would go on, beside the one that resumes it
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _print_to(Path(os.devnull))
    if get_ready is not None:
        with contextlib.suppress(Exception):  # the trial will meet the same, and its outcome will say so
            get_ready()
    function, arguments = connection.recv()
    folder: Path = arguments[1]
    folder.mkdir(parents=True, exist_ok=True)
    _print_to(folder / "log.txt")
    connection.send(function(*arguments))


def _print_to(path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    more = "; out of memory, or killed by hand" if code == -9 else ""
    return f"signal {-code}{more}"
