"""Measure memory and speed of reading a table of many rows, against pandas and LightGBM.

    python benchmarks/large_table.py --rows 100000 1000000 10000000

The table has 20 columns: 14 numbers from a normal distribution, of which one is missing in 5 % of the rows, 5
categories of 12 values each, and a target that depends on them. Each measurement is a process of its own. `anonymous`
is the peak of its own memory; `resident` also counts pages of mapped files, which the system takes back when it needs
them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from measured import RESULTS, add_line, how, read_lines

NUMBERS, CATEGORIES, VALUES = 14, 5, 12
AT_ONCE = 100_000
GOAL_ROWS = 10_000_000
WHATS = ("pipelines", "again", "training", "lightgbm")
STEPS, BATCH = 2000, 128


def write_table(path: Path, rows: int, as_csv: bool) -> None:
    """Write the table as Parquet, part by part, from seed 0; and as CSV for the others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random, writer = np.random.default_rng(0), None
    for start in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - start)
        part = pd.DataFrame(random.normal(size=(count, NUMBERS)), columns=[f"number_{n}" for n in range(NUMBERS)])
        for n in range(CATEGORIES):
            part[f"kind_{n}"] = random.choice([f"value {each}" for each in range(VALUES)], count)
        part["price"] = 50 + part["number_0"] + 2 * part["number_1"] * part["number_2"] + random.normal(size=count)
        part.loc[random.random(count) < 0.05, "number_3"] = None
        table = pa.Table.from_pandas(part, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        if as_csv:
            part.to_csv(path.with_suffix(".csv"), index=False, float_format="%.5f", mode="a", header=not start)
    writer.close()


def _watch(peak: list[int]) -> None:
    while True:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        peak[0] = max(peak[0], int(lines["RssAnon"].split()[0]))
        time.sleep(0.02)


def read_by_pipelines(path: Path, steps: int) -> dict:
    """Load and split the table, adapt the preprocessing, and encode or train on mini-batches."""
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(False, True)
    from pipelines.config.load import load_config
    from pipelines.fit import adapt_preprocessor
    from pipelines.tasks import load_task
    from pipelines.trained_model import build_model, load_run_dataset

    settings = ["data.source=files", f"data.path={path}", "data.target=price", "model=mlp", "batches.cache=auto"]
    config = load_config("house_prices", [*settings, "preprocessing.target_scaling=standard"])
    began = time.perf_counter()
    dataset = load_run_dataset(config)
    loaded = time.perf_counter()
    preprocessor = adapt_preprocessor(config, dataset)
    adapted = time.perf_counter()
    task = load_task(config.task)
    batches = task.batches(dataset.train, preprocessor, seed=0, size=BATCH, cache="auto" if steps else False)
    stream = batches.stream(0)
    if steps:
        model = build_model(config, task, preprocessor)
        model.compile("adamw", "mse", jit_compile=True, steps_per_execution=20)
        model.fit(stream, steps_per_epoch=100, epochs=1, verbose=0)
    else:
        next(iter(stream))
    began_batches = time.perf_counter()
    if steps:
        model.fit(stream, steps_per_epoch=steps, epochs=1, verbose=0)
    else:
        for _ in stream.take(STEPS):
            pass
    seconds = time.perf_counter() - began_batches
    return {
        "seconds_to_load": round(loaded - began, 1),
        "seconds_to_adapt": round(adapted - loaded, 1),
        "rows_per_second": round((steps or STEPS) * BATCH / seconds),
    }


def read_by_lightgbm(path: Path) -> dict:
    """Read the CSV file with pandas and make LightGBM's own data of it."""
    began = time.perf_counter()
    table = pd.read_csv(path.with_suffix(".csv"))
    loaded = time.perf_counter()
    if find_spec("lightgbm") is None:
        return {"seconds_to_load": round(loaded - began, 1), "note": "pandas.read_csv only"}
    import lightgbm

    features = table.drop(columns="price")
    features = features.astype({name: "category" for name in features if name.startswith("kind")})
    lightgbm.Dataset(features, table["price"]).construct()
    return {"seconds_to_load": round(loaded - began, 1), "seconds_to_adapt": round(time.perf_counter() - loaded, 1)}


def measure(what: str, path: Path) -> None:
    """Measure one thing in this process, and print one line of JSON."""
    peak = [0]
    threading.Thread(target=_watch, args=(peak,), daemon=True).start()
    if what == "lightgbm":
        found = read_by_lightgbm(path)
    else:
        found = read_by_pipelines(path, STEPS if what == "training" else 0)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**found, "anonymous_mib": peak[0] // 1024, "resident_mib": resident // 1024}))


def main() -> None:
    """Measure each number of rows in fresh processes, and write the table of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--what", nargs="+", choices=WHATS, default=WHATS)
    parser.add_argument("--folder", type=Path, help="where the tables are written; default: a temporary folder")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure[0], Path(given.measure[1]))
        return
    lines = RESULTS / "large_table.jsonl"
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for rows in given.rows:
            path = Path(folder) / f"{rows}.parquet"
            write_table(path, rows, "lightgbm" in given.what)
            for what in given.what:
                command = [sys.executable, __file__, "--measure", what, str(path)]
                environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                add_line(lines, {"rows": rows, "what": what, **json.loads(done.stdout.splitlines()[-1])})
            path.with_suffix(".csv").unlink(missing_ok=True)
    write_results(lines)


NAMES = {
    "pipelines": "this project, first time",
    "again": "this project, afterwards",
    "training": "this project, afterwards, training `mlp`",
    "lightgbm": "pandas.read_csv, then LightGBM's Dataset",
}


def write_results(lines: Path) -> None:
    """Write the results as a page."""
    heads = ("rows", "what", "load, s", "adapt, s", "rows a second", "anonymous, MiB", "resident, MiB")
    page = ["# Reading large tables", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for line in read_lines(lines):
        keys = ("seconds_to_load", "seconds_to_adapt", "rows_per_second", "anonymous_mib", "resident_mib")
        cells = [f"{line['rows']:,}", NAMES[line["what"]], *(f"{line[key]:,}" if key in line else "" for key in keys)]
        page.append(f"| {' | '.join(cells)} |")
    packages = ["numpy", "pandas", "pyarrow", "tensorflow", "keras"]
    packages += ["lightgbm"] if find_spec("lightgbm") else []
    more = [
        "Data: 20 columns from seed 0, as the script says; this project reads Parquet, pandas reads the same as CSV",
        "`load`: read, split and check; `adapt`: learn the preprocessing; `rows a second`: shuffled mini-batches of"
        f" {BATCH} that are read and encoded, or also trained on",
        "The first time, a table of more than 64 MiB is converted to files that are read by row",
    ]
    sizes = {line["rows"]: line["anonymous_mib"] for line in read_lines(lines) if line["what"] == "pipelines"}
    before, largest = sorted(sizes)[-2:]
    growth = (sizes[largest] - sizes[before]) * 2**20 / (largest - before)
    more.append(f"Memory grew by {growth:.0f} bytes per row from {before:,} to {largest:,} rows")
    if largest < GOAL_ROWS:
        there = (sizes[largest] + growth * (GOAL_ROWS - largest) / 2**20) / 1024
        more.append(f"Not measured: {GOAL_ROWS:,} rows, which would take about {there:.1f} GiB; the goal is 2 GiB")
    page += how("python benchmarks/large_table.py --rows ...", packages, *more)
    (RESULTS / "large_table.md").write_text("\n".join(page))


if __name__ == "__main__":
    main()
