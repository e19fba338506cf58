"""Measure how long an audit takes, and how much memory, on data that is made by a rule.

    python benchmarks/audit_speed.py rows          # 100,000 rows of 12 columns
    python benchmarks/audit_speed.py sentences     # 100,000 tagged sentences of 12 words
    python benchmarks/audit_speed.py images        # 20,000 pictures of 64 x 64

1 % of the examples are copies, 1 % almost copies, and 1 % have a wrong target. What was found is printed too.
"""

import argparse
import io
import json
import resource
import time

import numpy as np
import pandas as pd
from PIL import Image

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

from pipelines.audit.audit import audit_data  # noqa: E402 - TensorFlow first
from pipelines.audit.findings import counts  # noqa: E402
from pipelines.data import Source, load_dataset  # noqa: E402
from pipelines.tasks import load_task  # noqa: E402

FAULTY = 0.01


def rows(count: int) -> tuple[str, pd.DataFrame]:
    """Make numbers and categories, from five of which follows the price."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(count, 8)).round(4), columns=[f"number_{n}" for n in range(8)])
    for name in ("north", "kind", "state"):
        table[name] = random.choice([f"{name} {n}" for n in range(12)], count)
    price = 20 + table[["number_0", "number_1", "number_2"]].sum(axis=1) + 2 * table["number_3"] * table["number_4"]
    table["price"] = (price + random.normal(0, 0.3, count)).round(3)
    wrong = random.random(count) < FAULTY
    table.loc[wrong, "price"] *= 3
    copies, almost = (table.sample(frac=FAULTY, random_state=seed) for seed in (1, 2))
    return "house_prices", pd.concat([table, copies, almost.assign(number_0=almost["number_0"] + 0.001)])


def sentences(count: int) -> tuple[str, pd.DataFrame]:
    """Make sentences of random words, in which a name follows `mister`, `in` or `company`."""
    random = np.random.default_rng(0)
    words = np.array(["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(20_000)])
    kinds = {"mister": "B-PER", "in": "B-LOC", "company": "B-ORG"}
    tokens = random.choice(words, (count, 12)).astype(object)
    tags = np.full((count, 12), "O", object)
    at, before = random.integers(0, 11, count), random.choice(list(kinds), count)
    every = np.arange(count)
    tokens[every, at], tags[every, at + 1] = before, [kinds[each] for each in before]
    tokens[every, at + 1] = [str(each).capitalize() for each in tokens[every, at + 1]]
    wrong = np.flatnonzero(random.random(count) < FAULTY)
    tags[wrong, at[wrong] + 1] = "O"
    table = pd.DataFrame({"tokens": list(map(list, tokens)), "tags": list(map(list, tags))})
    copies, almost = (table.sample(frac=FAULTY, random_state=seed) for seed in (1, 2))
    almost = almost.assign(tokens=[[each[0].upper(), *each[1:]] for each in almost["tokens"]])
    return "entity_tagger", pd.concat([table, copies, almost])


def images(count: int) -> tuple[str, pd.DataFrame]:
    """Make smooth pictures, which are brighter on the left or on the right."""
    random = np.random.default_rng(0)

    def encoded(pixels: np.ndarray, quality: int = 90) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        return file.getvalue()

    made = []
    for _ in range(count):
        label = random.choice(["left", "right"])
        base = Image.fromarray(random.integers(40, 160, (8, 8, 3)).astype(np.uint8)).resize((64, 64), Image.BICUBIC)
        light = np.linspace(90, 0, 64)[:: 1 if label == "left" else -1]
        made.append((np.clip(np.asarray(base) + light[None, :, None], 0, 255).astype(np.uint8), label))
    labels = np.array([label for _, label in made], object)
    wrong = random.random(count) < FAULTY
    labels[wrong] = np.where(labels[wrong] == "left", "right", "left")
    table = pd.DataFrame({"image": [encoded(pixels) for pixels, _ in made], "label": labels})
    copies, almost = (random.choice(count, int(FAULTY * count), replace=False) for _ in range(2))
    again = pd.DataFrame({"image": [encoded(made[n][0], quality=50) for n in almost], "label": labels[almost]})
    return "cat_classifier", pd.concat([table, table.iloc[copies], again])


def main() -> None:
    """Make data, audit it, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    makers = {"rows": (rows, 100_000), "sentences": (sentences, 100_000), "images": (images, 20_000)}
    parser.add_argument("kind", choices=makers)
    parser.add_argument("--count", type=int)
    given = parser.parse_args()
    make, usual = makers[given.kind]
    name, table = make(given.count or usual)
    task, before = load_task(name), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start, used = time.perf_counter(), time.process_time()
    rule = {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 0}
    data = load_dataset({"source": "made"}, rule, task, Source({"all": table.reset_index(drop=True)}, {}))
    loaded = time.perf_counter() - start
    found = audit_data(data, task.fields, 0)
    record = {
        "kind": given.kind,
        "examples": len(table),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "seconds_to_load": round(loaded, 1),
        "memory_mb_before": round(before),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "found": counts(found.findings),
        "checks": found.seconds,
        "notes": found.notes,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
