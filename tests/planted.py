"""Data without faults, by a stated rule, and the same with planted ones."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from pipelines.data import Source, load_dataset
from pipelines.tasks import load_task

RULE = {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 0}
KINDS = ("PER", "LOC", "ORG")


def dataset(task: str, table: pd.DataFrame | dict[str, pd.DataFrame], rule=RULE):
    """Split examples as in training. A column `mark` says which rows are planted, and is no part of the data."""
    tables = table if isinstance(table, dict) else {"all": table}
    places = {split: each["mark"].tolist() for split, each in tables.items() if "mark" in each}
    bare = {split: each.drop(columns="mark", errors="ignore").reset_index(drop=True) for split, each in tables.items()}
    return load_dataset({"source": "given"}, rule, load_task(task), Source(bare, {}, places=places))


def marked(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(mark=[f"r{n}" for n in range(len(table))])


def houses(count: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    area, age = random.uniform(40, 200, count).round(1), random.integers(0, 90, count).astype(float)
    district = random.choice(["north", "south", "old town"], count)
    plot = random.lognormal(6, 0.5, count).round(1)
    price = 2000 * area - 500 * age + 30 * plot + 40000 * (district == "old town") + random.normal(0, 5000, count) + 6e4
    return marked(pd.DataFrame({"area": area, "age": age, "plot": plot, "district": district, "price": price.round()}))


def sentences(count: int, seed: int = 0) -> pd.DataFrame:
    """Sentences of random words with names, whose form and the word before say what they are."""
    random = np.random.default_rng(seed)
    words = ["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(2000)]
    names = {kind: [f"{kind[0]}{word}" for word in random.choice(words, 60)] for kind in KINDS}
    before = {"PER": "mister", "LOC": "in", "ORG": "company"}
    rows = []
    for _ in range(count):
        tokens, tags = [], []
        for word in random.choice(words, random.integers(6, 12)):
            tokens.append(word)
            tags.append("O")
            if random.random() < 0.2:
                kind = random.choice(KINDS)
                tokens += [before[kind], random.choice(names[kind])]
                tags += ["O", f"B-{kind}"]
        rows.append((tokens, tags))
    return marked(pd.DataFrame(rows, columns=["tokens", "tags"]))


def pictures(count: int, seed: int = 0) -> pd.DataFrame:
    """Smooth random pictures; those of one class are brighter on the left, those of the other on the right."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        label = random.choice(["left", "right"])
        base = Image.fromarray(random.integers(40, 160, (6, 6, 3)).astype(np.uint8)).resize((48, 48), Image.BICUBIC)
        light = np.linspace(90, 0, 48) if label == "left" else np.linspace(0, 90, 48)
        rows.append((png(np.clip(np.asarray(base) + light[None, :, None], 0, 255).astype(np.uint8)), label))
    return marked(pd.DataFrame(rows, columns=["image", "label"]))


def png(pixels: np.ndarray, form: str = "PNG", **how) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **how)
    return file.getvalue()


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)))


def texts(count: int, words: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    known = ["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), random.integers(2, 9))) for _ in range(3000)]
    return [" ".join(random.choice(known, words)) for _ in range(count)]
