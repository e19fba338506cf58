"""Processes that tests start, and what tests call in another process, which imports it by name."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def without_keras(code: str, *arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess:
    """Run code in a process in which TensorFlow does not import Keras."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def die(_: Any, folder: Any) -> None:
    """End as a process does that the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def answer(value: Any, folder: Any) -> Any:
    """Give the value back."""
    return value
