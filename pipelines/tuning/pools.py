"""Run trials in processes of this machine or of a Ray cluster; nothing in this module needs TensorFlow."""

import contextlib
import math
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Protocol

from pipelines.errors import UserError, counted

PRELOADED = "pipelines.tuning.preloaded"  # module that the fork server imports before trials are forked


class Killed(Exception):
    """Raised if a trial's process ended without a result: it, or its machine, was killed."""


class Job(Protocol):
    """A call that runs in another process."""

    def ready(self) -> bool:
        """Return whether the call has ended."""

    def get(self) -> Any:
        """Return the result of the call."""


class Pool(Protocol):
    """The methods that `multiprocessing.Pool` and `ray.util.multiprocessing.Pool` have in common."""

    def apply_async(self, function: Callable, arguments: tuple) -> Job:
        """Call a function in another process."""

    def terminate(self) -> None:
        """End all calls."""


class LocalPool:
    """Processes of this machine, a new one for each call.

    A new process for each call frees all memory, and a process that dies loses one call only. Processes are forked from
    a server that has imported TensorFlow once. While calls run, the process for the next call waits, and has already
    run `get_ready`.

    `multiprocessing.Pool` waits forever for the result of a killed process. `concurrent.futures` also gives up the
    other processes.
    """

    def __init__(self, get_ready: Callable[[], None] | None = None):
        self.context = start_server()
        self.get_ready = get_ready
        self.jobs: list[LocalJob] = []
        self.next: LocalJob | None = None

    def apply_async(self, function: Callable, arguments: tuple) -> "LocalJob":
        """Call a function in a new process, which writes its output to `log.txt` in the trial's folder."""
        job = self.next if self.next is not None and self.next.process.is_alive() else LocalJob(self)
        self.jobs = [other for other in self.jobs if not other.closed] + [job]
        job.connection.send((function, arguments))
        self.next = LocalJob(self) if self.get_ready is not None else None
        return job

    def terminate(self) -> None:
        """Kill all processes."""
        for job in [*self.jobs, *([self.next] if self.next is not None else [])]:
            if not job.closed:
                job.process.kill()


class LocalJob:
    """A pre-forked worker that runs one call."""

    def __init__(self, pool: LocalPool):
        self.connection, other = pool.context.Pipe()
        self.process = pool.context.Process(target=_call, args=(other, pool.get_ready), daemon=True)
        self.process.start()
        self.closed = False
        other.close()

    def ready(self) -> bool:
        """Return whether the call has returned or the process has died."""
        return self.connection.poll() or not self.process.is_alive()

    def get(self) -> Any:
        """Return the result of the call.

        Raises:
            Killed: If the process died instead.
        """
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise Killed(f"its process ended with {ending(self.process.exitcode)}") from None
        finally:
            self.process.join()
            self.process.close()
            self.connection.close()
            self.closed = True


def make_pool(
    workers: int, ray: str | None, get_ready: Callable[[int | None], None], gpus_each: float | None = None
) -> Pool:
    """Return the pool of `workers`, on this machine or on the Ray cluster at the address `ray`.

    Local workers divide the cores: each calls `get_ready` with its number of threads, or with None if it has all.
    On a cluster, each requests `gpus_each` GPUs; by default, all GPUs are divided among the workers.

    Raises:
        UserError: If the cluster cannot be used, or is too small.
    """
    if ray is not None:
        return RayPool(ray, workers, gpus_each)
    return LocalPool(partial(get_ready, threads_each(workers)))


def threads_each(processes: int) -> int | None:
    """Return the number of threads of each of several processes that divide the cores; None: a single one has all."""
    return max(1, cores() // processes) if processes > 1 else None


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_server() -> Any:
    """Start the server that processes are forked from, and return its context.

    The server starts while this process goes on with other imports. Where there is no fork server, processes are
    spawned.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    forkserver.ensure_running()
    return context


class RayPool:
    """Processes of a Ray cluster, whose machines share the search's folder."""

    def __init__(self, address: str, workers: int, gpus_each: float | None = None):
        """Connect to the cluster.

        Raises:
            UserError: If Ray is not installed, does not answer, or has fewer processors or GPUs than workers need.
        """
        self.ray = connect_to_ray(address, workers)
        from ray.util.multiprocessing import Pool

        try:
            share = gpu_share(self.ray.cluster_resources().get("GPU", 0), workers, gpus_each)
            self.pool = Pool(processes=workers, maxtasksperchild=1, ray_remote_args={"num_gpus": share})
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"--ray {address}", str(error).strip().splitlines()[0]) from None

    def apply_async(self, function: Callable, arguments: tuple) -> "RayJob":
        """Call a function in a process of the cluster."""
        return RayJob(self.pool.apply_async(function, arguments), self.ray.exceptions.RayError)

    def terminate(self) -> None:
        """Disconnect from the cluster, which ends the calls of this search."""
        self.pool.terminate()
        self.ray.shutdown()


class RayJob:
    """A call on a Ray cluster."""

    def __init__(self, result: Any, lost: type[Exception]):
        self.result, self.lost = result, lost

    def ready(self) -> bool:
        """Return whether the call has ended."""
        return self.result.ready()

    def get(self) -> Any:
        """Return the result of the call.

        Raises:
            Killed: If the process or its machine was lost.
        """
        try:
            return self.result.get()
        except self.lost as error:
            raise Killed(f"Ray lost its process: {str(error).strip().splitlines()[0]}") from None


def connect_to_ray(address: str, processes: int, variables: Mapping[str, str] | None = None) -> Any:
    """Connect to a Ray cluster, or start one of this machine at the address `local`; return the package `ray`.

    `variables` are set in the environment of each process of the cluster.

    Raises:
        UserError: If Ray is not installed, or does not answer.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray", "needs the package ray; install it with: pip install ray") from None
    environment = {"env_vars": dict(variables)} if variables else None
    try:
        ray.init(address=address, num_cpus=processes if address == "local" else None, runtime_env=environment)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray {address}", str(error).strip().splitlines()[0]) from None
    return ray


def gpu_share(gpus: float, workers: int, wanted: float | None = None) -> float:
    """Return the share of a GPU that each of `workers` trials requests, so that all fit and none gets two GPUs.

    Raises:
        UserError: If trials that request the share `wanted` do not fit.
    """
    if wanted is not None:
        fit = int(gpus) * math.floor(1 / wanted + 1e-4)  # 0.3333 of a GPU is meant for three trials
        if fit < workers:
            problem = f"is {wanted:g}, so {counted(fit, 'trial')} can run on {counted(int(gpus), 'GPU')} of the cluster"
            raise UserError("tuning.gpus_per_trial", f"{problem}, fewer than --workers {workers}")
        return wanted
    if gpus < 1:
        return 0
    trials_of_one = math.ceil(workers / int(gpus))
    return math.floor(1e4 / trials_of_one) / 1e4  # Ray counts in ten thousandths


def end_with_parent() -> None:
    """End this process as soon as the one that started it ends: a killed search or training is soon resumed."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # because this runs in a child process

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _call(connection: Any, get_ready: Callable[[], None] | None) -> None:
    end_with_parent()
    print_to(Path(os.devnull))
    if get_ready is not None:
        with contextlib.suppress(Exception):  # the trial will fail in the same way, and its outcome will say so
            get_ready()
    function, arguments = connection.recv()
    folder: Path = arguments[1]
    folder.mkdir(parents=True, exist_ok=True)
    print_to(folder / "log.txt")
    connection.send(function(*arguments))


def print_to(path: Path) -> None:
    """Append all that this process prints to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())


def ending(code: int | None) -> str:
    """Return how a process ended, by its exit code."""
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {-code}{' (it was killed, or out of memory)' if code == -9 else ''}"
