"""The simple models that a comparison shows beside those of a task."""

import io

import numpy as np
import pandas as pd
import pytest
from conftest import houses
from PIL import Image

from pipelines.tasks import load_task


def photos(count: int, seed: int) -> pd.DataFrame:
    """Images of noise, the red ones of one class and the blue ones of another."""
    random, rows = np.random.default_rng(seed), []
    for number in range(count):
        pixels = random.integers(0, 120, (24, 24, 3), np.uint8)
        pixels[..., 2 * (number % 2)] += 130
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        rows.append({"image": file.getvalue(), "label": ["red", "blue"][number % 2]})
    return pd.DataFrame(rows)


def test_neighbours_price_houses_better_than_the_mean():
    table = houses(400).assign(age=lambda each: pd.to_numeric(each["age"]))
    train, rest = table.iloc[:300], table.iloc[300:].reset_index(drop=True)
    task = load_task("house_prices")
    scores = task.simple_metrics(train, rest)["nearest neighbours"]
    mean = task.baseline_metrics(None, train, rest)
    assert scores["rmsle"] < 0.5 * mean["rmsle"] and scores["r2"] > 0.7


def test_the_most_frequent_tag_knows_the_words_of_train_only():
    train = pd.DataFrame({"tokens": [["Ann", "May", "ran"], ["May", "slept"], ["May", "sat"]],
                          "tags": [["B-PER", "I-PER", "O"], ["B-PER", "O"], ["B-PER", "O"]]})  # fmt: skip
    asked = pd.DataFrame({"tokens": [["May", "ran"], ["Zoe", "sat"]], "tags": [["B-PER", "O"], ["B-PER", "O"]]})
    scores = load_task("entity_tagger").simple_metrics(train, asked)["most frequent tag"]
    assert (scores["precision"], scores["recall"]) == (1.0, 0.5)


def test_neighbours_tell_colours_apart():
    train, rest = photos(40, seed=0), photos(20, seed=1)
    scores = load_task("cat_classifier").simple_metrics(train, rest)["nearest neighbours"]
    assert scores["accuracy"] == 1.0 and np.isfinite(scores["log_loss"])


@pytest.mark.parametrize("task", ["translator", "language_model"])
def test_other_tasks_have_none(task):
    assert load_task(task).simple_metrics(pd.DataFrame(), pd.DataFrame()) == {}
