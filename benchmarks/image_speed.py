"""Time training steps of ResNet-20 beside the same network in plain PyTorch, and the input pipeline alone.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/image_speed.py --root FOLDER_WITH_train_AND_test

All train on 32x32 pixels in mini-batches of 128 with momentum. Every run is a process of its own and gives the images
per second of its median step; runs alternate, and the table gives the ratio within each round. The pipeline reads,
decodes, shuffles and augments CIFAR-10's JPEG files, with nothing kept in memory.
"""

import json
import statistics
import subprocess
import sys
import time
from functools import partial

import click
from measured import CONFIGS, RESULTS, how

ROOT = CONFIGS.parent
BATCH, STEPS, WARM = 128, 60, 10


@click.command()
@click.option("--root", required=True, help="Folder of CIFAR-10 as JPEG files.")
@click.option("--rounds", default=5, show_default=True, help="Alternating runs of each.")
@click.option("--child", default="", hidden=True)
def main(root: str, rounds: int, child: str) -> None:
    """Run the rounds and write the table."""
    if child:
        click.echo(json.dumps(MEASURES[child](root)))
        return
    runs: dict[str, list[float]] = {name: [] for name in MEASURES}
    for _ in range(rounds):
        for name in MEASURES:
            command = [sys.executable, __file__, "--root", root, "--child", name]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"{name}: {runs[name][-1]:,.0f} images a second")
    (RESULTS / "image_speed.md").write_text(table(runs, rounds))


def ours(root: str, xla: bool | None = None) -> float:
    """Time the steps that `train` runs, one a call so that each can be timed; XLA where `auto` says so."""
    import keras

    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    batches, model, loss, optimizer = _prepared(root)
    from pipelines.training.execution import resolve_execution

    auto = resolve_execution("auto", model, STEPS, batches.varying)
    execution = {"jit_compile": auto["jit_compile"] if xla is None else xla, "steps_per_execution": 1}
    model.compile(optimizer, loss, auto_scale_loss=False, **execution)
    times = []

    class Clock(keras.callbacks.Callback):
        """Note when each step ended."""

        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter())

    model.fit(batches.stream(0), steps_per_epoch=STEPS, epochs=1, verbose=0, callbacks=[Clock()])
    return _images_per_second(times)


def pipeline(root: str) -> float:
    """Time batches of the input pipeline alone, from files."""
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    batches, *_ = _prepared(root, cache=False)
    times = []
    for _, _batch in zip(range(STEPS), batches.stream(0), strict=False):
        times.append(time.perf_counter())
    # Batches come in bursts, as many at once as there are cores: their mean counts, not their median.
    return BATCH * (STEPS - WARM) / (times[-1] - times[WARM - 1])


def pytorch(root: str) -> float:
    """Time the same network, loss and optimiser written plainly, on images that lie in memory."""
    import torch
    from torch import nn

    class Block(nn.Module):
        """Two convolutions, with a projection where the image is halved."""

        def __init__(self, given, width, stride):
            super().__init__()
            self.first = nn.Conv2d(given, width, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(width) for _ in range(2)])
            project = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            self.shortcut = project if stride > 1 else nn.Identity()

        def forward(self, x):
            y = self.norms[1](self.second(torch.relu(self.norms[0](self.first(x)))))
            return torch.relu(y + self.shortcut(x))

    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    given = 16
    for stage in range(3):
        for block in range(3):
            layers.append(Block(given, 16 * 2**stage, 2 if stage and not block else 1))
            given = 16 * 2**stage
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    images, labels = torch.rand(BATCH * 8, 3, 32, 32), torch.randint(0, 10, (BATCH * 8,))
    times = []
    for step in range(STEPS):
        rows = slice(step % 8 * BATCH, (step % 8 + 1) * BATCH)
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter())
    return _images_per_second(times)


MEASURES = {
    "PyTorch": pytorch,
    "ours": ours,
    "ours, with XLA": partial(ours, xla=True),
    "our input pipeline, from files": pipeline,
}


def _prepared(root: str, cache: bool = True) -> tuple:
    from pipelines.build import build
    from pipelines.config.load import load_config
    from pipelines.data.batches import make_batches
    from pipelines.tasks import load_task
    from pipelines.trained_model import build_model, load_run_dataset
    from pipelines.training.optimizers import OPTIMIZERS

    # A part of the images is enough to time steps, and the training half is what is read.
    share = ["split.train=0.2", "split.validation=0.8"] if cache else []
    config = load_config(CONFIGS / "benchmarks" / "cifar10.yaml", [f"data.root={root}", *share])
    task = load_task(config.task)
    dataset = load_run_dataset(config)
    preprocessor = task.preprocessor(**config.preprocessing)
    preprocessor.adapt(dataset.train)
    batches = make_batches(dataset.train, preprocessor, 0, size=BATCH, cache=cache)
    model = build_model(config, task, preprocessor)
    return batches, model, build(config.loss, task.losses, "name"), build(config.optimizer, OPTIMIZERS, "name")


def _images_per_second(times: list[float]) -> float:
    return BATCH / statistics.median(
        after - before for before, after in zip(times[WARM:-1], times[WARM + 1 :], strict=True)
    )


def table(runs: dict[str, list[float]], rounds: int) -> str:
    """Write the table."""
    rows = ["| what | images a second, median | ratio to PyTorch (min to max) |", "|---|---|---|"]
    for name, values in runs.items():
        ratios = [value / peer for value, peer in zip(values, runs["PyTorch"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append(f"| {name} | {statistics.median(values):,.0f} | {spread} |")
    title = "# Images a second: training ResNet-20 at 32x32, mini-batches of 128"
    text = (
        f"{rounds} alternating rounds, a process a run; above 1 is faster than plain PyTorch (eager, default layout)."
    )
    command = "python benchmarks/image_speed.py --root FOLDER"
    return "\n".join([title, "", text, "", *rows, *how(command, ("tensorflow", "keras", "torch"))])


if __name__ == "__main__":
    main()
