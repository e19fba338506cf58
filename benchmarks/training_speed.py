"""Time an epoch of `mlp` beside the same network written plainly in PyTorch, in alternating runs.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/training_speed.py --root FOLDER_OF_cal_housing_full.data

Both train three hidden layers of 256 on the same columns of California housing, with mini-batches of 256, dropout and
AdamW, validating after each epoch; ours also writes its checkpoint, history and TensorBoard logs. Every run is a
process of its own and gives the median epoch; runs alternate, and the table gives the ratio of each pair.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import click
from measured import CONFIGS, RESULTS, how

ROOT = CONFIGS.parent
CONFIG = CONFIGS / "benchmarks" / "california.yaml"
RESULT = RESULTS / "training_speed.md"
EXECUTIONS = {
    "auto": "auto",  # no XLA, 52 steps, as the network has dropout
    "XLA, 1 step": "{jit_compile: true, steps_per_execution: 1}",
    "XLA, 52 steps": "{jit_compile: true, steps_per_execution: 52}",
    "no XLA, 1 step": "{jit_compile: false, steps_per_execution: 1}",
}
EPOCHS, WARM = 23, 3  # the first epochs compile


@click.command()
@click.option("--root", required=True, help="Folder of cal_housing_full.data.")
@click.option("--pairs", default=5, show_default=True, help="Alternating runs of each.")
@click.option("--child", default="", hidden=True)
def main(root: str, pairs: int, child: str) -> None:
    """Run the pairs and write the table."""
    if child:
        click.echo(json.dumps(_pytorch(root) if child == "pytorch" else _ours(root, EXECUTIONS[child])))
        return
    names = ["pytorch", *EXECUTIONS]
    runs: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(pairs):
        for name in names:
            command = [sys.executable, __file__, "--root", root, "--child", name]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"{name}: {runs[name][-1]}")
    RESULT.write_text(_table(runs, pairs))


def _ours(root: str, execution: str) -> dict[str, float]:
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    import keras

    from pipelines.commands.train import train
    from pipelines.training import train as training

    class Clock(keras.callbacks.Callback):
        """Note when the steps of each epoch began and ended, and when the epoch was over with all its callbacks."""

        def __init__(self, *_):
            super().__init__()
            self.steps, self.ends = [], []

        def on_epoch_begin(self, epoch, logs=None):
            self.steps.append(0.0)

        def on_train_batch_begin(self, batch, logs=None):
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.steps[-1] += time.perf_counter() - self.began

        def on_epoch_end(self, epoch, logs=None):
            self.ends.append(time.perf_counter())

    clock = Clock()
    training.Progress = lambda *_: clock
    plain = [
        "model=mlp",
        "preprocessing.neighbours=[]",
        "preprocessing.ratios=[]",
        "models.mlp.dropout=0.1",
        "training.patience=null",
    ]
    settings = [*plain, f"data.root={root}", f"training.epochs={EPOCHS}", f"training.execution={execution}"]
    with tempfile.TemporaryDirectory() as folder:
        train(CONFIG, settings, Path(folder) / "run")
    return _median(clock.steps, clock.ends)


def _pytorch(root: str) -> dict[str, float]:
    import numpy as np
    import pandas as pd
    import torch
    from torch import nn

    torch.manual_seed(0)
    data = pd.read_csv(Path(root) / "cal_housing_full.data").to_numpy("float32")
    order = np.random.default_rng(0).permutation(len(data))
    train, validation = (data[part] for part in np.split(order, [int(0.64 * len(data)), int(0.8 * len(data))])[:2])
    mean, deviation = train.mean(0), train.std(0)
    train, validation = (torch.tensor((part - mean) / deviation) for part in (train, validation))
    layers: list[nn.Module] = []
    for width in (8, 256, 256):
        layers += [nn.Linear(width, 256), nn.ReLU(), nn.Dropout(0.1)]
    model = nn.Sequential(*layers, nn.Linear(256, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)
    steps, ends = [], []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        model.train()
        for rows in torch.randperm(len(train)).split(256):
            batch = train[rows]
            loss = nn.functional.mse_loss(model(batch[:, :-1]), batch[:, -1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        steps.append(time.perf_counter() - began)
        model.eval()
        with torch.no_grad():
            nn.functional.mse_loss(model(validation[:, :-1]), validation[:, -1:]).item()
        ends.append(time.perf_counter())
    return _median(steps, ends)


def _median(steps: list[float], ends: list[float]) -> dict[str, float]:
    epochs = [after - before for before, after in pairwise(ends)]
    return {"steps": statistics.median(steps[WARM:]), "epoch": statistics.median(epochs[WARM:])}


def _table(runs: dict[str, list[dict]], pairs: int) -> str:
    rows = []
    for name, results in runs.items():
        cells = []
        for what in ("steps", "epoch"):
            values = [run[what] * 1000 for run in results]
            ratios = [run[what] / peer[what] for run, peer in zip(results, runs["pytorch"], strict=True)]
            cells += [f"{statistics.median(values):.0f}"]
            cells += [f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
        rows.append(f"| {'PyTorch, eager' if name == 'pytorch' else f'ours, {name}'} | {' | '.join(cells)} |")
    return "\n".join(
        [
            "# Time of an epoch: `mlp` beside the same network in plain PyTorch",
            "",
            "13,209 rows of 8 columns, three hidden layers of 256, dropout, AdamW, mini-batches of 256 (52 steps);"
            f" {pairs} alternating runs of each, a process a run, its median epoch. Below 1 is faster than PyTorch.",
            "",
            "| what | training steps, ms | ratio (min to max) | whole epoch, ms | ratio (min to max) |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "A whole epoch holds its validation too, and for ours its checkpoint, history and TensorBoard logs.",
            *how("python benchmarks/training_speed.py --root FOLDER", ("tensorflow", "keras", "torch")),
        ]
    )


if __name__ == "__main__":
    main()
