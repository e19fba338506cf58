"""One config and seed are one result in every process: what Python and TensorFlow draw at their start differs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.tasks import TASKS

ROOT = Path(__file__).parent.parent
# Convolutions and products of batches add up in another order on another number of threads.
SAME_ON_ANY_THREADS = ("house_prices", "language_model")


def train_every_rung(task: str, number: str) -> subprocess.Popen:
    """Start a process that has nothing in common with another but the code."""
    count = number if task in SAME_ON_ANY_THREADS else "2"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), count)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": number, **threads}
    command = [sys.executable, "tests/repeat.py", task]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_rung_is_the_same_in_another_process(task):
    processes = [train_every_rung(task, number) for number in ("1", "2")]
    outputs = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    first, second = (json.loads(output) for output, _ in outputs)
    assert first.keys() == second.keys() and len(first) > 2
    assert {rung for rung in first if first[rung] != second[rung]} == set()
