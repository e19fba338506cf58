"""What every benchmark writes: one line of JSON a result, and a table with how it was obtained."""

import contextlib
import json
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from pipelines.runs.environment import describe_processor

RESULTS = Path(__file__).parent / "results"
CONFIGS = Path(__file__).parent.parent / "configs"


def train_once(config: Path, overrides: Sequence[str], curve: str | None = None) -> dict:
    """Train a config and give its metrics, parameters, seconds and data fingerprint.

    `curve` names a column of the history that is given epoch by epoch, with the seconds of training so far.
    """
    from pipelines.commands.train import train

    with tempfile.TemporaryDirectory() as temporary:
        began = time.process_time()
        trained, run = train(config, overrides, Path(temporary) / "run")
        history = run.history()
        return {
            "validation": run.metrics()["validation"],
            "test": run.metrics()["test"],
            "parameters": trained.model.count_params(),
            "epochs": len(history),
            "training_seconds": history["seconds"].iloc[-1],
            "processor_seconds": round(time.process_time() - began, 1),
            "data": run.data()["fingerprint"],
            **({"curve": history[["seconds", curve]].round(4).to_numpy().tolist()} if curve else {}),
        }


def cut_shakespeare(root: Path, folder: Path) -> None:
    """Cut tiny Shakespeare, `input.txt`, as nanoGPT does: the first 90 % of its characters, and the rest."""
    text = (root / "input.txt").read_bytes()
    (folder / "train.txt").write_bytes(text[: len(text) * 9 // 10])
    (folder / "validation.txt").write_bytes(text[len(text) * 9 // 10 :])


def read_lines(path: Path) -> list[dict]:
    """Read the results that are there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def add_line(path: Path, line: dict) -> None:
    """Add a result as soon as it is there, so that nothing measured is lost."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def how(command: str, packages: Sequence[str], *more: str) -> list[str]:
    """Say how a table's figures were obtained."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return [
        "",
        f"- Command: `{command}`",
        *(f"- {line}" for line in more),
        f"- Versions: Python {platform.python_version()}, {versions}",
        f"- Hardware: {_hardware()}; seconds are wall clock under changing load, so only their order of size counts",
        "",
    ]


def _hardware() -> str:
    cores = f"{len(os.sched_getaffinity(0))} cores of a shared server processor ({describe_processor()})"
    gpus = []
    if "tensorflow" in sys.modules:
        config = sys.modules["tensorflow"].config
        gpus = config.list_physical_devices("GPU")
    if not gpus:
        return f"{cores}, no accelerator"
    return f"{cores} and {config.experimental.get_device_details(gpus[0]).get('device_name', 'a GPU')}"
