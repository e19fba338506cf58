"""Measure memory and speed of reading data of many examples, and for tables those of pandas and LightGBM.

    python benchmarks/large_data.py --rows 100000 1000000 3000000 10000000 --what pipelines
    python benchmarks/large_data.py --rows 1000000 --data pairs images shards --what pipelines again

- `table`: 20 columns: 14 numbers from a normal distribution, of which one is missing in 5 % of the rows, 5 categories
  of 12 values each, and a target that depends on them.
- `pairs`: 5 to 20 of 20,000 words, the k-th of which is drawn with a probability proportional to 1/(k + 10), and the
  same words spelled backwards, in 10 files of JSON Lines.
- `images`: links to 20 JPEG files of 32 x 32 random pixels, in folders of 2 classes.
- `shards`: the same images in 10 tar files.

Each measurement is a process of its own. `anonymous` is the peak of its own memory; `resident` also counts pages of
mapped files, which the system takes back when it needs them.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
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
WHATS = ("pipelines", "again", "training", "lightgbm")
GOAL_ROWS = 10_000_000  # in 2 GiB
DATA = ("table", "pairs", "images", "shards")
STEPS = 500
FILES = 10  # of pairs, and of shards
IMAGES, LINKS = 20, 10_000  # different images, and links to one file, of which a file system allows about 65,000


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


def write_pairs(path: Path, rows: int) -> None:
    """Write pairs of sentences as JSON Lines, from seed 0."""
    random = np.random.default_rng(0)
    words = np.array(
        ["".join(random.choice(list("abcdefghijklmnoprstuvz"), random.integers(2, 10))) for _ in range(20_000)]
    )
    backwards = np.array([word[::-1] for word in words])
    shares = 1 / (np.arange(len(words)) + 10)
    shares /= shares.sum()
    path.mkdir()
    for part in range(FILES):
        count = rows // FILES
        lengths = random.integers(5, 21, count)
        drawn = np.split(random.choice(len(words), lengths.sum(), p=shares), np.cumsum(lengths)[:-1])
        with (path / f"part-{part}.jsonl").open("w") as file:
            for each in drawn:
                file.write(json.dumps({"en": " ".join(words[each]), "fr": " ".join(backwards[each])}) + "\n")


def write_images(path: Path, rows: int, as_shards: bool) -> None:
    """Write small images, from seed 0: as links in a folder for each class, or in tar files."""
    from PIL import Image

    random, encoded = np.random.default_rng(0), []
    for _ in range(IMAGES):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(file, "JPEG")
        encoded.append(file.getvalue())
    path.mkdir()
    if as_shards:
        for part, numbers in enumerate(np.array_split(np.arange(rows), FILES)):
            with tarfile.open(path / f"train-{part}.tar", "w") as archive:
                for number in numbers:
                    for suffix, content in (
                        (".jpg", encoded[number % IMAGES]),
                        (".cls", f"class {number % 2}".encode()),
                    ):
                        member = tarfile.TarInfo(f"{number:08}{suffix}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
        return
    for kind in range(2):
        (path / f"class {kind}").mkdir()
    for number in range(rows):
        image = path / f"class {number % 2}" / f"{number:08}.jpg"
        if number // IMAGES % LINKS == 0:
            image.write_bytes(encoded[number % IMAGES])
        else:
            first = number % IMAGES + number // (IMAGES * LINKS) * IMAGES * LINKS
            image.hardlink_to(path / f"class {first % 2}" / f"{first:08}.jpg")


SETTINGS = {  # data -> task and settings
    "table": ("house_prices", ["data.target=price", "model=mlp", "preprocessing.target_scaling=standard"]),
    "pairs": ("translator", []),
    "images": ("cat_classifier", []),
    "shards": ("cat_classifier", []),
}
SECTIONS = {
    "table": {"target": "price"},
    "pairs": {"from_language": "en", "to_language": "fr", "most_characters": 400, "most_ratio": 9},
    "images": {},
    "shards": {},
}


def read_by_pipelines(data: str, path: Path, steps: int) -> dict:
    """Load and split the data, adapt the preprocessing, and encode or train on mini-batches."""
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(False, True)
    from pipelines.config.load import load_config
    from pipelines.fit import adapt_preprocessor
    from pipelines.tasks import load_task
    from pipelines.trained_model import build_model, load_run_dataset

    task_name, settings = SETTINGS[data]
    section = json.dumps({"source": "files", "path": str(path), **SECTIONS[data]})
    config = load_config(task_name, [f"data={section}", *settings])
    began, used = time.perf_counter(), time.process_time()
    dataset = load_run_dataset(config)
    loaded = time.perf_counter()
    preprocessor = adapt_preprocessor(config, dataset)
    adapted, used = time.perf_counter(), time.process_time() - used
    task = load_task(config.task)
    batches = task.batches(
        dataset.train, preprocessor, seed=0, **{**config.batches, "cache": "auto" if steps else False}
    )
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
        drawn = steps * config.batches["size"]
    else:
        drawn = sum(len(weights) for *_, weights in stream.take(STEPS))
    seconds = time.perf_counter() - began_batches
    return {
        "seconds_to_load": round(loaded - began, 1),
        "seconds_to_adapt": round(adapted - loaded, 1),
        "processor_seconds": round(used, 1),
        "rows_per_second": round(drawn / seconds),
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


def measure(data: str, what: str, path: Path) -> None:
    """Measure one thing in this process, and print one line of JSON."""
    peak = [0]
    threading.Thread(target=_watch, args=(peak,), daemon=True).start()
    if what == "lightgbm":
        found = read_by_lightgbm(path)
    else:
        found = read_by_pipelines(data, path, STEPS if what == "training" else 0)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**found, "anonymous_mib": peak[0] // 1024, "resident_mib": resident // 1024}))


def main() -> None:
    """Measure each number of rows in fresh processes, and write the table of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["table"])
    parser.add_argument("--what", nargs="+", choices=WHATS, default=WHATS)
    parser.add_argument("--folder", type=Path, help="where the tables are written; default: a temporary folder")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        data, what, path = given.measure
        measure(data, what, Path(path))
        return
    lines = RESULTS / "large_data.jsonl"
    for data in given.data:
        for rows in given.rows:
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                path = Path(folder) / (f"{rows}.parquet" if data == "table" else data)
                if data == "table":
                    write_table(path, rows, "lightgbm" in given.what)
                elif data == "pairs":
                    write_pairs(path, rows)
                else:
                    write_images(path, rows, data == "shards")
                for what in given.what:
                    command = [sys.executable, __file__, "--measure", data, what, str(path)]
                    environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
                    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                    found = json.loads(done.stdout.splitlines()[-1])
                    add_line(lines, {"data": data, "rows": rows, "what": what, **found})
    write_results(lines)


NAMES = {
    "pipelines": "this project, first time",
    "again": "this project, afterwards",
    "training": "this project, afterwards, training `mlp`",
    "lightgbm": "pandas.read_csv, then LightGBM's Dataset",
}


def write_results(lines: Path) -> None:
    """Write the results as a page."""
    keys = {
        "seconds_to_load": "load, s",
        "seconds_to_adapt": "adapt, s",
        "processor_seconds": "of the processor, s",
        "rows_per_second": "a second",
        "anonymous_mib": "anonymous, MiB",
        "resident_mib": "resident, MiB",
    }
    heads = ("data", "examples", "what", *keys.values())
    page = ["# Reading large data", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    found = read_lines(lines)
    for line in found:
        cells = [line["data"], f"{line['rows']:,}", NAMES[line["what"]]]
        cells += [f"{line[key]:,}" if key in line else "" for key in keys]
        page.append(f"| {' | '.join(cells)} |")
    packages = ["numpy", "pandas", "pyarrow", "array_record", "tensorflow", "keras"]
    packages += ["lightgbm"] if find_spec("lightgbm") else []
    more = [
        "Data: from seed 0, as the script says; of tables, this project reads Parquet, pandas reads the same as CSV",
        "`load`: read, split and check; `adapt`: learn the preprocessing; `of the processor`: of both, in all threads;"
        " `a second`: examples in shuffled mini-batches of the shipped config, read and encoded, or also trained on",
        "The first time, data of more than 64 MiB is converted to files that are read by position",
    ]
    own = [each for each in found if (each["data"], each["what"]) == ("table", "pipelines")]
    sizes = {each["rows"]: each["anonymous_mib"] for each in own}
    if len(sizes) > 1:
        before, largest = sorted(sizes)[-2:]
        growth = (sizes[largest] - sizes[before]) * 2**20 / (largest - before)
        more.append(f"Tables: memory grew by {growth:.0f} bytes per row from {before:,} to {largest:,} rows")
        if largest < GOAL_ROWS:
            there = (sizes[largest] + growth * (GOAL_ROWS - largest) / 2**20) / 1024
            more.append(f"Not measured: a table of {GOAL_ROWS:,} rows, which would take {there:.1f} GiB at this growth")
    page += how("python benchmarks/large_data.py --rows ... --data ...", packages, *more)
    (RESULTS / "large_data.md").write_text("\n".join(page))


if __name__ == "__main__":
    main()
