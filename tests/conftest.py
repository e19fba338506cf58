"""A small table, a small config on it, and the finished runs and exports that tests share."""

import fcntl
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import taggers
from click.testing import CliRunner
from hypothesis import settings
from tiny import TRACED_ONCE

from pipelines import cli
from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)
settings.register_profile("suite", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("suite")

LONGEST = (  # files of tests: they begin first, so that no core is without work at the end
    "tuning/test_tune.py",
    "language_model/test_task.py",
    "entity_tagger/test_task.py",
    "translator/test_task.py",
    "training/test_training.py",
    "language_model/test_models.py",
    "tasks/test_contract.py",
    "tests/test_notebooks.py",
)
CONFIG = Path(__file__).parent.parent / "configs" / "house_prices.yaml"
WITH_CONFIDENCE = "confidence={coverage: 0.9}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, in no other order otherwise."""
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST))


def houses(count: int, seed: int = 0) -> pd.DataFrame:
    """Houses whose price follows from area, age and district, with gaps in a number and in a category."""
    random = np.random.default_rng(seed)
    area, age = random.uniform(40, 200, count).round(1), random.integers(0, 90, count)
    district = random.choice(["north", "south", "old town"], count)
    price = (2000 * area - 500 * age + 40000 * (district == "old town") + random.normal(0, 5000, count)).round() + 60000
    table = pd.DataFrame({"Area (m2)": area, "age": age.astype(object), "district": district, "price": price})
    table.loc[random.random(count) < 0.1, "age"] = ""
    table.loc[random.random(count) < 0.1, "district"] = ""
    return table


def overrides(csv: Path, *more: str) -> list[str]:
    """Set the shipped config to a CSV file and to sizes that train in a second."""
    data = (
        f"data={{source: files, root: '{csv.parent}', path: {csv.name}, target: price, delimiter: ',', ignore: [],"
        " numeric: [], categorical: [], missing: ['', NA], bad_rows: error}"
    )
    small = ["units=[8]", "batch_normalization=false", "dropout=0.1", "l2=0.0"]
    models = [f"models.{rung}.{setting}" for rung in ("mlp", "mlp_ple", "tabm") for setting in small]
    models += ["models.tabm.members=3", *(f"models.{rung}.bins=4" for rung in ("mlp_ple", "tabm"))]
    sizes = ["batches.size=32", "batches.least_steps=1", "training.epochs=4", "training.patience=4", TRACED_ONCE]
    sizes += ["confidence=null"]  # a third of such a training
    return [data, *models, "model=mlp", *sizes, *more]


def invoke(*arguments: str):
    """Run the command line in this process."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def sets(settings: list[str]) -> list[str]:
    """Turn overrides into command-line options."""
    return [part for setting in settings for part in ("--set", setting)]


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Let the first of the test processes make a folder that all of them read."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = root / name, root / f"{name}.made"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def done(*arguments: object) -> None:
    """Run the command line, and be sure that it worked."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output


@pytest.fixture(autouse=True)
def figures_are_not_drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write empty files for figures, whose drawing is a third of a small training, but in tests marked `figures`.

    Fixtures of a wider scope, such as the finished run of each task, are made with their figures drawn.
    """
    if "figures" not in request.keywords:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: Path(path).write_bytes(b""))


@pytest.fixture(scope="session")
def csv(tmp_path_factory) -> Path:
    """A CSV file of 150 houses."""
    folder = made_once(tmp_path_factory, "houses", lambda at: houses(150).to_csv(at / "houses.csv", index=False))
    return folder / "houses.csv"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, csv) -> Path:
    """A finished run of the mlp, with prediction intervals."""
    train = partial(done, "train", CONFIG, *sets(overrides(csv, WITH_CONFIDENCE)), "--run-dir")
    return made_once(tmp_path_factory, "run", lambda at: train(at / "finished")) / "finished"


@pytest.fixture(scope="session")
def finished_export(tmp_path_factory, finished_run) -> Path:
    """The export of the finished run."""
    export = partial(done, "export", finished_run, "--to")
    return made_once(tmp_path_factory, "export", lambda at: export(at / "houses")) / "houses"


@pytest.fixture(scope="session")
def conll(tmp_path_factory) -> Path:
    """A file of 90 tagged sentences."""
    return made_once(tmp_path_factory, "sentences", lambda at: taggers.write_conll(at / "names.conll")) / "names.conll"


@pytest.fixture(scope="session")
def finished_tagger(tmp_path_factory, conll) -> Path:
    """A finished run of a small tagger."""
    train = partial(done, "train", taggers.CONFIG, *sets(taggers.overrides(conll)), "--run-dir")
    return made_once(tmp_path_factory, "tagging", lambda at: train(at / "tagger")) / "tagger"


@pytest.fixture(scope="session")
def exported_tagger(tmp_path_factory, finished_tagger) -> Path:
    """The export of the small tagger."""
    export = partial(done, "export", finished_tagger, "--to")
    return made_once(tmp_path_factory, "tagged", lambda at: export(at / "tagger")) / "tagger"
