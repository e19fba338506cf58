"""Train one config in several processes of this machine; nothing in this module needs TensorFlow."""

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.config.read import check_task, read_config
from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.runs.run import Run
from pipelines.tuning.pools import end_with_parent, ending, print_to, start_server, threads_each

RESTARTS = 3  # of all workers, after one of them was killed
SETTLE_SECONDS = 2.0  # how long a worker may end after the one whose end it was told of
LAST_LINES = 20  # shown of what a worker printed that failed

Told = tuple[Any, ...]  # whether another worker was lost, else the parts of a UserError


class Training(NamedTuple):
    """The arguments of `commands.train`, and the files with the user's code."""

    config: str | Path
    overrides: Sequence[str]
    folder: Path
    resume: bool
    show: Callable[[Any], None]
    say: Callable[[str], None]
    code: Sequence[str]


def train_in_processes(
    count: int,
    config: str | Path,
    overrides: Sequence[str],
    run_dir: str | Path | None,
    resume: bool,
    show: Callable[[Any], None],
    say: Callable[[str], None],
) -> Run:
    """Train in `count` worker processes, which connect by sockets, and return the finished run.

    The other arguments are those of `commands.train`, and what the chief prints is shown. If a worker is killed, all
    are started again from the last checkpoint. `show` and `say` must be functions of a module.

    Raises:
        UserError: If the chief or another worker raises one, or workers are killed again and again.
    """
    with chosen_folder(config, overrides, run_dir, resume) as folder:
        return _train(count, Training(config, overrides, folder, resume, show, say, loaded_code()))


@contextlib.contextmanager
def chosen_folder(
    config: str | Path, overrides: Sequence[str], run_dir: str | Path | None, resume: bool
) -> Iterator[Path]:
    """Choose the folder of the run before its workers start; it is removed if no run was started in it."""
    task = check_task(read_config(config, overrides))
    run = Run.newest_unfinished(task) if resume and run_dir is None else None
    folder = run.folder if run else Path(run_dir) if run_dir is not None else Run.new(task).folder
    try:
        yield folder
    finally:
        if not Run(folder).started:
            with contextlib.suppress(OSError):  # the folder is not empty, or was never made
                folder.rmdir()


def _train(count: int, training: Training) -> Run:
    run = Run(training.folder)
    for attempt in range(RESTARTS + 1):
        workers = _Workers(count, training)
        try:
            killed = workers.wait()
        finally:
            workers.end()
        if killed is None:
            return run
        number, code = killed
        problem = f"worker {number + 1} of {count} ended with {ending(code)}"
        if attempt < RESTARTS:
            training.say(f"{problem}; starting all workers again from the last checkpoint")
            training = training._replace(resume=training.resume or run.started)
    raise UserError("--processes", f"{problem}, after {RESTARTS} restarts; continue with: {run.going_on}")


class _Workers:
    """The processes of one attempt."""

    def __init__(self, count: int, training: Training):
        context = start_server()
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
        self.printed = tempfile.TemporaryDirectory()
        self.processes, self.pipes = [], []
        for number in range(count):
            pipe, other = context.Pipe(duplex=False)
            given = number, addresses, training, self._output(number), other
            self.processes.append(context.Process(target=_work, args=given, daemon=False))
            self.pipes.append(pipe)
            self.processes[-1].start()
            other.close()

    def wait(self) -> tuple[int, int] | None:
        """Wait for the chief to finish; return the number and exit code of a worker that was killed before, or None.

        Raises:
            UserError: If a worker raised one.
            SystemExit: If a worker failed with a bug, whose traceback is printed.
        """
        wait([process.sentinel for process in self.processes])
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and any(process.is_alive() for process in self.processes):
            wait([process.sentinel for process in self.processes if process.is_alive()], deadline - time.monotonic())
        codes = [process.exitcode for process in self.processes]
        if codes[0] == 0:
            return None
        told = [self._told(pipe) for pipe in self.pipes]
        errors = [error for error in told if error and not error[0]]
        lost = [number for number, error in enumerate(told) if error and error[0]]
        killed = [number for number, code in enumerate(codes) if code is not None and code < 0]
        if errors:
            raise UserError(*errors[0][1:])
        for number in (*killed, *lost):
            return number, codes[number] or 0
        failed = next((number for number, code in enumerate(codes) if code), 0)
        if failed:
            lines = self._output(failed).read_text(errors="replace").splitlines()[-LAST_LINES:]
            print(*lines, sep="\n", file=sys.stderr)
        sys.exit(codes[failed] or 1)

    def end(self) -> None:
        """Kill the processes that still run."""
        for process in self.processes:
            process.kill()
            process.join()
        self.printed.cleanup()

    def _output(self, number: int) -> Path:
        return Path(self.printed.name) / f"{number}.txt"

    @staticmethod
    def _told(pipe: Any) -> Told | None:
        with contextlib.suppress(EOFError, OSError):
            if pipe.poll():
                return pipe.recv()
        return None


def _work(number: int, addresses: list[str], training: Training, output: Path, pipe: Any) -> None:
    """Be a worker: train, and tell the process that started it of a `UserError`."""
    end_with_parent()
    if number:
        print_to(output)
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
    )
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads_each(len(addresses)))
    from pipelines.commands.train import train
    from pipelines.extensions import load_code
    from pipelines.training.devices import Lost, take_gpus
    from pipelines.verbs import warnings_shown

    try:
        with warnings_shown():
            load_code(training.code)
            take_gpus(number, len(addresses))
            train(*training[:-1])
    except Lost:
        pipe.send((True,))
        sys.exit(1)
    except UserError as error:
        pipe.send((False, error.where, *error.problems))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)  # the process that started this one says so


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
