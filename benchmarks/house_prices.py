"""Measure the house-price ladder beside boosters and scikit-learn, on the same splits, seed by seed.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/house_prices.py california --root FOLDER_OF_cal_housing_full.data
    python benchmarks/house_prices.py ames

Each result is one line of `benchmarks/results/<data>.jsonl`, written as soon as it is there; lines that are there are
not measured again. `benchmarks/results/<data>.md` is the table of them. Models choose by the validation split only
(early stopping); the test split is scored once, at the end.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd
from measured import CONFIGS, RESULTS, add_line, how, read_lines, train_once

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

from pipelines.config.load import load_config  # noqa: E402
from pipelines.data import Dataset  # noqa: E402
from pipelines.data.batches import tensors  # noqa: E402 - TensorFlow is imported quietly first
from pipelines.tasks import load_task  # noqa: E402
from pipelines.trained_model import load_run_dataset  # noqa: E402

SCORES = {  # data -> config, metric, its unit, what the table's title says
    "california": ("benchmarks/california.yaml", "rmse", 1e5, "test rmse in $100k"),
    "ames": ("house_prices.yaml", "rmsle", 1.0, "test rmsle"),
}
PLAIN = ("preprocessing.neighbours=[]", "preprocessing.ratios=[]")
LINEAR = ("model=linear_regression", "optimizer.learning_rate=0.02")  # it takes, and needs, larger steps than networks
OURS = {  # row of the table -> overrides of the config
    "california": {
        "linear_regression, columns as they are": (*LINEAR, *PLAIN, "preprocessing.numeric_scaling=standard"),
        "linear_regression": LINEAR,
        "mlp, columns as they are": ("model=mlp", *PLAIN),
        "mlp": ("model=mlp",),
        "mlp_ple, columns as they are": ("model=mlp_ple", *PLAIN),
        "mlp_ple": ("model=mlp_ple",),
        "tabm": ("model=tabm",),
    },
    "ames": {
        **{
            f"{name}, mini-batches of 128": (f"model={name}", "batches.least_steps=14")
            for name in ("linear_regression", "mlp", "mlp_ple", "tabm")
        },
        "tabm": ("model=tabm",),  # as shipped: 56 steps an epoch, so mini-batches of 33
    },
}


@click.command()
@click.argument("data", type=click.Choice(list(SCORES)))
@click.option("--root", help="Folder of the data's file, where it has one.")
@click.option("--seeds", default=5, show_default=True, help="Seeds 0 to this less one, of split and model alike.")
@click.option("--only", default="", help="Measure only rows with this in their name.")
def main(data: str, root: str | None, seeds: int, only: str) -> None:
    """Measure every row that is not measured yet, then write the table."""
    path = RESULTS / f"{data}.jsonl"
    done = read_lines(path)
    for seed in range(seeds):
        for name, measure in _rows(data, root, seed):
            if only in name and not any(line["name"] == name and line["seed"] == seed for line in done):
                started = time.perf_counter()
                line = {"name": name, "seed": seed, **measure(), "seconds": round(time.perf_counter() - started, 1)}
                click.echo(line)
                done.append(line)
                add_line(path, line)
    (RESULTS / f"{data}.md").write_text(_table(data, done, root))


def _rows(data: str, root: str | None, seed: int) -> Iterator[tuple[str, Callable[[], dict]]]:
    config = CONFIGS / SCORES[data][0]
    base = [f"seed={seed}", f"split.seed={seed}", *([f"data.root={root}"] if root else [])]
    for name, overrides in OURS[data].items():
        yield f"ours: {name}", lambda overrides=overrides: train_once(config, [*base, *overrides])
    for name, (fit, prepare) in _peers(data).items():
        yield f"peer: {name}", lambda fit=fit, prepare=prepare: _peer(config, base, fit, prepare, data)


def _peer(config: Path, overrides: list[str], fit: Callable, prepare: Callable, data: str) -> dict:
    loaded = load_config(config, overrides)
    dataset = load_run_dataset(loaded)
    into, back = (np.log, np.exp) if data == "ames" else (lambda y: y / 1e5, lambda y: y * 1e5)
    x = prepare(dataset, loaded)
    y = {split: into(dataset[split]["price"].to_numpy()) for split in x}
    model = fit(x["train"], y["train"], x["validation"], y["validation"], loaded.seed)
    score = load_task(loaded.task).compute_metrics
    answers = {split: {"price": back(np.asarray(model.predict(x[split])))} for split in ("validation", "test")}
    return {split: score(dataset[split], answer) for split, answer in answers.items()}


def _peers(data: str) -> dict[str, tuple[Callable, Callable]]:
    peers = {
        "scikit-learn linear regression": (_sklearn_linear, _one_hot),
        "scikit-learn MLP (100, early stopping)": (_sklearn_mlp, _one_hot),
        "scikit-learn HistGradientBoosting": (_sklearn_boosting, _one_hot),
        "LightGBM": (_lightgbm, _columns),
        "CatBoost, 4,000 trees": (_catboost(4000), _columns),
    }
    if data == "california":
        peers["LightGBM + ratios"] = (_lightgbm, _with_ratios)
        peers["CatBoost, 4,000 trees + ratios"] = (_catboost(4000), _with_ratios)
        peers["LightGBM on our features"] = (_lightgbm, _our_features)
        peers["CatBoost, 4,000 trees on our features"] = (_catboost(4000), _our_features)
    return peers


def _columns(dataset: Dataset, config: object) -> dict[str, pd.DataFrame]:
    """Give the columns as they are, texts as pandas categories."""
    tables = {split: dataset[split].drop(columns="price") for split in ("train", "validation", "test")}
    for name in tables["train"]:
        if not pd.api.types.is_numeric_dtype(tables["train"][name]):
            kind = pd.CategoricalDtype(sorted(set().union(*(table[name] for table in tables.values()))))
            for table in tables.values():
                table[name] = table[name].astype(kind)
    return tables


def _with_ratios(dataset: Dataset, config: object) -> dict[str, pd.DataFrame]:
    tables = _columns(dataset, config)
    for above, below in config.preprocessing["ratios"]:
        for table in tables.values():
            table[f"{above}/{below}"] = table[above] / table[below]
    return tables


def _our_features(dataset: Dataset, config: object) -> dict[str, np.ndarray]:
    """Give what our models see: normalised numbers, ratios and the prices of neighbours."""
    preprocessor = load_task(config.task).preprocessor(**config.preprocessing)
    preprocessor.adapt(dataset.train)
    features = {}
    for split in ("train", "validation", "test"):
        raw = tensors(dataset[split])
        chunks = [
            {name: column[i : i + 512] for name, column in raw.items()} for i in range(0, len(dataset[split]), 512)
        ]
        encoded = [preprocessor.example(chunk, training=split == "train")[0]["numeric"] for chunk in chunks]
        features[split] = np.concatenate(encoded)
    return features


def _one_hot(dataset: Dataset, config: object) -> dict[str, np.ndarray]:
    """Give standardised numbers with gaps at their mean, and one-hot categories."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )
    tables = {split: dataset[split].drop(columns="price") for split in ("train", "validation", "test")}
    columns.fit(tables["train"])
    return {split: columns.transform(table) for split, table in tables.items()}


def _sklearn_linear(x, y, *_):
    from sklearn.linear_model import LinearRegression, RidgeCV

    return (LinearRegression() if x.shape[1] < 50 else RidgeCV(np.logspace(-1, 3, 20))).fit(x, y)


def _sklearn_mlp(x, y, x_validation, y_validation, seed):
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(early_stopping=True, random_state=seed).fit(x, y)


def _sklearn_boosting(x, y, x_validation, y_validation, seed):
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=seed).fit(x, y)


def _lightgbm(x, y, x_validation, y_validation, seed):
    import lightgbm

    model = lightgbm.LGBMRegressor(
        n_estimators=5000, learning_rate=0.03, num_leaves=31, random_state=seed, n_jobs=2, verbose=-1
    )
    stopping = lightgbm.early_stopping(100, verbose=False)
    return model.fit(x, y, eval_set=[(x_validation, y_validation)], callbacks=[stopping])


def _catboost(trees: int):
    def fit(x, y, x_validation, y_validation, seed):
        import catboost

        texts = list(x.select_dtypes("category")) if isinstance(x, pd.DataFrame) else []
        model = catboost.CatBoostRegressor(
            iterations=trees, random_seed=seed, thread_count=2, verbose=0, allow_writing_files=False, cat_features=texts
        )
        return _Texts(model, texts).fit(x, y, x_validation, y_validation)

    return fit


class _Texts:
    """CatBoost takes categories as texts only, and no gaps among them."""

    def __init__(self, model, texts):
        self.model, self.texts = model, texts

    def fit(self, x, y, x_validation, y_validation):
        self.model.fit(self._plain(x), y, eval_set=(self._plain(x_validation), y_validation))
        return self

    def predict(self, x):
        return self.model.predict(self._plain(x))

    def _plain(self, x):
        return (
            x.assign(**{name: x[name].astype(object).fillna("").astype(str) for name in self.texts})
            if self.texts
            else x
        )


def _table(data: str, lines: list[dict], root: str | None) -> str:
    config, metric, unit, title = SCORES[data]
    frame = pd.DataFrame(
        {"row": line["name"], "seed": line["seed"], "score": line["test"][metric] / unit, "seconds": line["seconds"]}
        for line in lines
    )
    wide = frame.pivot_table(index="row", columns="seed", values="score")
    seconds = frame.groupby("row")["seconds"].median()
    order = wide.mean(axis=1).sort_values().index
    seeds = list(wide.columns)
    rows = [f"| row | mean | deviation | {' | '.join(f'seed {seed}' for seed in seeds)} | seconds (median) |"]
    rows.append("|---" * (len(seeds) + 4) + "|")
    for row in order:
        values = " | ".join("" if np.isnan(v) else f"{v:.4f}" for v in wide.loc[row])
        rows.append(
            f"| {row} | {wide.loc[row].mean():.4f} | {wide.loc[row].std():.4f} | {values} | {seconds[row]:.0f} |"
        )
    fingerprint = next((line["data"]["test"] for line in lines if line["seed"] == 0 and "data" in line), "none")
    return "\n".join(
        [
            f"# {data}: {title}, seeds {seeds[0]} to {seeds[-1]}",
            "",
            "Lower is better. The seed varies split and model alike: compare rows seed by seed, not by the deviation.",
            "",
            *rows,
            "",
            *how(
                f"python benchmarks/house_prices.py {data}{' --root FOLDER' if root else ''}",
                ("tensorflow", "keras", "scikit-learn", "lightgbm", "catboost", "numpy", "pandas"),
                f"Config: `configs/{config}`; rows 'ours' differ from it as `OURS` in the script says",
                "Split: `numpy.random.default_rng(seed).permutation`, 64 % train, 16 % validation, 20 % test",
                f"Fingerprint of the test split of seed 0: `{fingerprint}`",
            ),
        ]
    )


if __name__ == "__main__":
    main()
