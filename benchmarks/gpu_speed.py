"""Time training steps on one GPU: ours on JAX, and the same networks in plain PyTorch, eager and compiled.

    python benchmarks/gpu_speed.py --out FOLDER           minutes on a GPU; JAX, Keras and PyTorch, no TensorFlow
    python benchmarks/gpu_speed.py --out FOLDER --smoke   tiny networks on the processor

All compute in mixed bfloat16, with float32 weights and AdamW (PyTorch: fused), on random mini-batches that come from
the memory of the host at each step. Ours is the step that `training.backend: jax` takes. PyTorch's attention is its
fused one, its images are in the order `channels_last`, and its float32 matrix products may use TF32. Each has a process
of its own; they take turns, after warming up, and every round waits for the device before its clock stops.
"""

import contextlib
import gc
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import click
import numpy as np

from pipelines.runs.environment import describe_processor

BATCHES = 8  # different mini-batches, in turns
CLASSES = 10
SMOOTHING = 0.1
PACKAGES = ("keras", "jax", "jaxlib", "torch", "numpy")
OURS, EAGER, COMPILED = "ours on JAX", "PyTorch, eager", "PyTorch, compiled"

Arrays = dict[str, np.ndarray]
Take = Callable[[int], None]  # take a training step with the mini-batch of a number


@dataclass(frozen=True)
class Row:
    """One network with its sizes, as ours is built and as PyTorch's is."""

    name: str
    task: str
    batch: int
    settings: dict[str, Any]

    def draw(self, random: np.random.Generator) -> Arrays:
        """Return a random mini-batch."""
        if self.task == "resnet":
            images = random.integers(0, 256, (self.batch, 32, 32, 3), dtype=np.uint8)
            return {"images": images, "labels": random.integers(0, CLASSES, self.batch)}
        shape, tokens = (self.batch, self.settings["length"]), self.settings["tokens"]
        names = ("tokens", "labels") if self.task == "language_model" else ("source", "target", "labels")
        return {name: random.integers(4, tokens, shape, dtype=np.int32) for name in names}


def rows(smoke: bool) -> list[Row]:
    """Return what is measured, the most important first."""
    if smoke:
        deep = {"width": 32, "layers": 1, "heads": 2, "length": 8, "dropout": 0.1}
        return [
            Row("nanoGPT", "language_model", 2, {**deep, "tokens": 65}),
            Row("ResNet-8", "resnet", 4, {"depth": 8, "filters": 4}),
            Row("Transformer translator", "translator", 2, {**deep, "tokens": 100}),
        ]
    gpt = {"tokens": 65, "length": 256, "width": 384, "layers": 6, "heads": 6, "dropout": 0.2}
    translator = {"tokens": 8000, "length": 32, "width": 512, "layers": 3, "heads": 8, "dropout": 0.1}
    resnet = {"depth": 20, "filters": 16}
    return [
        Row("nanoGPT, 6 layers of 384, 64 windows of 256", "language_model", 64, gpt),
        Row("ResNet-20, 128 images of 32 x 32", "resnet", 128, resnet),
        Row("Transformer translator, 3 + 3 layers of 512, 128 pairs of 32 + 32", "translator", 128, translator),
        Row("ResNet-20, 1,024 images of 32 x 32", "resnet", 1024, resnet),
    ]


def ours(row: Row, batches: list[Arrays]) -> tuple[Take, Callable[[], float]]:
    """Return our step on JAX, and a function that waits for the device and returns the mean loss of its steps."""
    import jax
    import keras

    with without_tensorflow():
        from pipelines.losses import cross_entropy
        from pipelines.tasks.cat_classifier import models as images
        from pipelines.tasks.cat_classifier import preprocessing as image_preprocessing
        from pipelines.tasks.language_model import models as language
        from pipelines.tasks.language_model import preprocessing as language_preprocessing
        from pipelines.tasks.translator import losses
        from pipelines.tasks.translator import models as translation
        from pipelines.tasks.translator import preprocessing as pair_preprocessing
        from pipelines.training.jax_step import JaxStep
        from pipelines.training.optimizers import adamw

    keras.utils.set_random_seed(0)
    settings, loss = row.settings, cross_entropy(label_smoothing=0.0)
    transformer = {name: settings[name] for name in ("width", "heads", "dropout") if name in settings}
    transformer |= {"feed_forward_units": 4 * settings.get("width", 0), "activation": "gelu", "initializer": "auto"}
    if row.task == "resnet":
        features: Any = image_preprocessing.Features(32, CLASSES, np.full(3, 128.0), np.full(3, 64.0))
        layer = {"activation": "relu", "dropout": 0.0, "l2": 0.0, "batch_normalization": True, "initializer": "auto"}
        model = images.resnet(features, **settings, kernel_size=3, stem_stride=1, shortcut="projection", **layer)
    elif row.task == "language_model":
        features = language_preprocessing.Features(settings["tokens"], settings["length"], lambda: np.zeros(0))
        more = {"layers": settings["layers"], "positions": "learned", "use_bias": False, "counts": 0}
        model, loss = language.transformer(features, **transformer, **more), _token_loss(keras)
    else:
        features = pair_preprocessing.Features(settings["tokens"], settings["tokens"], True, settings["length"])
        layers = {f"{side}_layers": settings["layers"] for side in ("encoder", "decoder")}
        more = {"positions": "sinusoidal", "norm": "pre", "tied": True, **layers}
        model = translation.transformer(features, **{**transformer, "activation": "relu"}, **more)
        loss = losses.cross_entropy(label_smoothing=SMOOTHING)
    step = {"learning_rate": 1e-3, "weight_decay": 0.1, "clip_norm": 1.0, "average_decay": None}
    steps = JaxStep(model, adamw(beta_2=0.99, **step), loss, "mixed_bfloat16")
    given = [_for_keras(row.task, batch) for batch in batches]

    def wait() -> float:
        jax.block_until_ready(steps.state)
        return float(steps.logs["loss"])

    return lambda number: steps.take(given[number]), wait


def _token_loss(keras: Any) -> Any:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # as `language_model.task` has it


def _for_keras(task: str, batch: Arrays) -> tuple:
    """Return inputs, labels and weights as our preprocessing makes them."""
    labels = batch["labels"]
    if task == "resnet":
        return {"image": batch["images"]}, np.eye(CLASSES, dtype=np.float32)[labels], np.ones(len(labels), np.float32)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    return inputs, labels, np.ones(labels.shape, np.float32)


class without_tensorflow:
    """Let our modules be imported without TensorFlow: what a task has beside its models imports it."""

    names = ("tensorflow", "tensorflow_text")

    def __enter__(self) -> None:
        self.absent = [name for name in self.names if find_spec(name) is None]
        sys.modules.update({name: MagicMock() for name in self.absent})

    def __exit__(self, *_: object) -> None:
        for name in self.absent:
            del sys.modules[name]


def pytorch(row: Row, batches: list[Arrays], compiled: bool) -> tuple[Take, Callable[[], float]]:
    """Return PyTorch's step, and a function that waits for the device and returns the last loss."""
    import torch
    from peers.gpu_networks import LanguageModel, ResNet, Translator

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = row.settings
    if row.task == "resnet":
        model: Any = ResNet(**settings, classes=CLASSES)
    else:
        kind = LanguageModel if row.task == "language_model" else Translator
        sizes = (settings[name] for name in ("tokens", "length", "width", "layers", "heads", "dropout"))
        model = kind(*sizes)
    model = model.to(device).train()
    matrices, others = ([p for p in model.parameters() if (p.dim() > 1) is wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    forward = torch.compile(model) if compiled else model
    given = []
    for batch in batches:
        tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
        tensors["labels"] = tensors["labels"].long()
        given.append({name: value.pin_memory() if device == "cuda" else value for name, value in tensors.items()})
    last: list[Any] = []

    def take(number: int) -> None:
        batch = {name: value.to(device, non_blocking=True) for name, value in given[number].items()}
        with torch.autocast(device, torch.bfloat16):
            loss = forward(**batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        last[:] = [loss.detach()]

    def wait() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return float(last[0])

    return take, wait


MEASURED: dict[str, Callable[[Row, list[Arrays]], tuple[Take, Callable[[], float]]]] = {
    OURS: ours,
    EAGER: lambda row, batches: pytorch(row, batches, compiled=False),
    COMPILED: lambda row, batches: pytorch(row, batches, compiled=True),
}


@click.command()
@click.option("--out", required=True, help="Folder for gpu_speed.md and gpu_speed.json.")
@click.option("--rounds", default=4, show_default=True, help="Alternating rounds.")
@click.option("--seconds", default=1.5, show_default=True, help="Length of a round.")
@click.option("--minutes", default=6.5, show_default=True, help="End after this time, whatever is not measured yet.")
@click.option("--smoke", is_flag=True, help="Tiny networks on the processor, to see that all runs.")
def main(out: str, rounds: int, seconds: float, minutes: float, smoke: bool) -> None:
    """Measure row by row, and write what there is after each."""
    began = time.monotonic()
    os.environ |= {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # all use the same device
    if smoke:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        rounds, seconds = min(rounds, 2), min(seconds, 0.1)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    results: list[dict] = []
    with Measurer(began + 60 * minutes) as measurer:
        for row in rows(smoke):
            for result in measurer.measure(row, rounds, seconds):
                results.append(result)
                click.echo(json.dumps(result))
            sys.stdout.flush()
            facts = {"about": measurer.about, "minutes": (time.monotonic() - began) / 60}
            (folder / "gpu_speed.json").write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")
            (folder / "gpu_speed.md").write_text(table(results, facts, rounds, seconds))


class Measurer:
    """A process for each of `MEASURED`, so that none can spoil another's libraries, memory or results."""

    def __init__(self, deadline: float):
        self.deadline = deadline
        self.about = {"python": platform.python_version(), "processor": describe_processor()}
        self.pipes: dict[str, Any] = {}
        self.processes: dict[str, Any] = {}

    def __enter__(self) -> "Measurer":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()

    def measure(self, row: Row, rounds: int, seconds: float) -> list[dict]:
        """Return the result of each of `MEASURED` for a row; one that fails says why."""
        results: dict[str, dict] = {name: {"row": row.name, "what": name, "batch": row.batch} for name in MEASURED}
        for names in ([OURS], [EAGER, COMPILED]):  # JAX tries out kernels, and must be alone for that
            for name in names:
                self.ask(name, ("prepare", row))
            for name in names:
                results[name] |= self.answer(name)
        for _ in range(rounds):
            for name, result in results.items():
                if "problem" not in result:
                    self.ask(name, ("round", seconds))
                    answer = self.answer(name)
                    result |= {key: value for key, value in answer.items() if key != "speed"}
                    result["steps_per_second"] = [*result.get("steps_per_second", ()), *answer.get("speed", ())]
        for result in results.values():
            self.about |= result.pop("about", {})
        return list(results.values())

    def ask(self, name: str, message: tuple) -> None:
        """Send a message to the process, which is started if there is none."""
        if name not in self.processes or not self.processes[name].is_alive():
            context = multiprocessing.get_context("spawn")
            self.pipes[name], other = context.Pipe()
            self.processes[name] = context.Process(target=work, args=(name, other), daemon=True)
            self.processes[name].start()
            other.close()
        with contextlib.suppress(OSError):  # the answer will say so
            self.pipes[name].send(message)

    def answer(self, name: str) -> dict:
        """Return what a process answers, or why it does not."""
        try:
            if self.pipes[name].poll(max(0.0, self.deadline - time.monotonic())):
                return self.pipes[name].recv()
        except (EOFError, OSError):
            return {"problem": "not measured: its process ended"}
        self.processes[name].kill()
        self.processes[name].join()
        return {"problem": "not measured: out of time"}


def work(name: str, pipe: Any) -> None:
    """Prepare rows and time rounds, as a process of its own."""
    while True:
        what, given = pipe.recv()
        try:
            if what == "prepare":
                take = wait = None  # frees the memory of the row before
                gc.collect()
                began = time.perf_counter()
                random = np.random.default_rng(0)
                take, wait = MEASURED[name](given, [given.draw(random) for _ in range(BATCHES)])
                for number in range(BATCHES):
                    take(number)
                wait()
                pipe.send({"warm_up_seconds": time.perf_counter() - began, "about": about()})
            else:
                speed, loss = timed(take, wait, given)
                pipe.send({"speed": [speed], "loss": loss})
        except Exception as error:
            traceback.print_exc()
            reason = next(iter(str(error).splitlines()), "")[:300]
            pipe.send({"problem": f"not measured: {type(error).__name__}: {reason}"})


def timed(take: Take, wait: Callable[[], float], seconds: float) -> tuple[float, float]:
    """Return the steps per second of about so many seconds, and the last loss."""
    steps = 0
    wait()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for number in range(BATCHES):
            take(number)
        steps += BATCHES
    loss = wait()
    return steps / (time.perf_counter() - began), loss


def about() -> dict[str, str]:
    """Return the versions of the packages that this process uses, and its device."""
    found = {package: version(package) for package in PACKAGES if package in sys.modules}
    if "jax" in sys.modules:
        found["device of JAX"] = sys.modules["jax"].devices()[0].device_kind
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        found |= {"CUDA of PyTorch": str(torch.version.cuda), "device of PyTorch": "cpu"}
        if torch.cuda.is_available():
            found["device of PyTorch"] = torch.cuda.get_device_name()
    return found


def table(results: list[dict], facts: dict, rounds: int, seconds: float) -> str:
    """Return the results as Markdown, with how they were obtained."""
    lines = [
        "# Training steps on a GPU",
        "",
        "Mixed bfloat16, AdamW, random mini-batches from the memory of the host. Steps a second: mean and standard"
        f" deviation of {rounds} alternating rounds of about {seconds:g} s each. Ratio: ours divided by PyTorch, round"
        " by round (least to most); above 1, ours is faster.",
        "",
        "| network | what | steps a second | ratio of ours | warm-up, s |",
        "|---|---|---|---|---|",
    ]
    own = {each["row"]: each.get("steps_per_second") for each in results if each["what"] == OURS}
    for each in results:
        start = f"| {each['row']} | {each['what']} |"
        if "problem" in each:
            lines.append(f"{start} {each['problem'].replace('|', '/')} | | |")
            continue
        speeds = each["steps_per_second"]
        spread = statistics.stdev(speeds) if len(speeds) > 1 else 0.0
        ratio = ""
        if each["what"] != OURS and own[each["row"]]:
            ratios = [ours / theirs for ours, theirs in zip(own[each["row"]], speeds, strict=False)]
            ratio = f"{statistics.mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        speed = f"{statistics.mean(speeds):.1f} ± {spread:.1f}"
        lines.append(f"{start} {speed} | {ratio} | {each['warm_up_seconds']:.1f} |")
    lines += [
        "",
        "- Command: `python benchmarks/gpu_speed.py --out FOLDER`",
        *(f"- {name}: {value}" for name, value in facts["about"].items()),
        f"- The whole run took {facts['minutes']:.1f} minutes.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
