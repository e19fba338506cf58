"""How much memory reading large data takes: a few blocks of it, whatever its size."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from pipelines.data.tables.parquet import open_parquet

READ = """
import json, sys
from pathlib import Path
from pipelines.data import blocks, conversion
from pipelines.tasks.{task}.sources import files

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

blocks.LINES, conversion.LARGE = 500, int(sys.argv[1])
settings = json.loads(sys.argv[2])
with open("data.jsonl") as data:
    Path("few.jsonl").write_text("".join(next(data) for _ in range(100)))
files(path="few.jsonl", **settings)  # imports all that is needed
before = peak()
source = files(path="data.jsonl", **settings)
print(len(next(iter(source.examples.values()))), peak() - before)
"""
ROWS, WORDS = 40_000, 60
SETTINGS = {
    "translator": {"from_language": "en", "to_language": "fr", "most_characters": 999, "most_ratio": 9},
    "entity_tagger": {"scheme": "bio"},
}


def write(task, path):
    random = np.random.default_rng(0)
    words = np.array([f"word{n}" for n in range(5000)])
    with path.open("w") as file:
        for drawn in words[random.integers(0, len(words), (ROWS, WORDS))]:
            text = " ".join(drawn)
            tags = ["B-PER", *["O"] * (WORDS - 1)]
            record = (
                {"en": text, "fr": text.upper()} if task == "translator" else {"tokens": drawn.tolist(), "tags": tags}
            )
            file.write(json.dumps(record) + "\n")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("task", SETTINGS)
def test_reading_takes_less_memory_than_the_data(tmp_path, task):
    write(task, tmp_path / "data.jsonl")
    size = (tmp_path / "data.jsonl").stat().st_size >> 20
    grown = {}
    for large in (0, 1 << 40):
        given = json.dumps(SETTINGS[task])
        command = [sys.executable, "-c", READ.format(task=task), str(large), given]
        environment = {"PYTHONPATH": ":".join(sys.path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": ""}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        count, grown[large] = map(int, done.stdout.split())
        assert count == ROWS
    assert grown[0] < 2 * size and 2 * grown[0] < grown[1 << 40]  # MiB


def test_parquet_files_are_read_a_row_group_at_a_time(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = np.random.default_rng(0).normal(size=(4, 500_000))
    pq.write_table(pa.table({f"c{n}": values for n, values in enumerate(columns)}), tmp_path / "t.parquet", 20_000)
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for part in open_parquet(tmp_path / "t.parquet").parts():
        time.sleep(0.01)  # a reader that reads ahead would fill the memory while a part is handled
        most = max(most, pa.total_allocated_bytes() - before)
        rows += len(part["c0"])
    assert rows == 500_000 and most < columns.nbytes / 4
