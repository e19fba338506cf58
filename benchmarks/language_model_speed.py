"""Time nanoGPT's CPU recipe on tiny Shakespeare beside the same in plain PyTorch: training, then writing.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/language_model_speed.py --root FOLDER_OF_input.txt

Both train 4 layers of width 128 with 4 heads on windows of 64 characters, 12 at a time, for 2,000 steps without
dropout, by AdamW and a cosine with warm-up, and score the whole validation text every 250 steps; ours also writes its
checkpoint, history and TensorBoard logs. Then both write 1,000 characters at temperature 0.8, one text at a time, with
caches of keys and values; where the 64 positions are used up, both read the last 32 characters again. Ours does so
from its export. Every run is a process of its own; runs alternate, and the table gives the ratio within each round.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import click
from measured import CONFIGS, RESULTS, cut_shakespeare, how

ROOT = CONFIGS.parent
CONFIG = CONFIGS / "benchmarks" / "tiny_shakespeare.yaml"
EPOCHS, STEPS, BATCH, CONTEXT = 8, 250, 12, 64
LAYERS, HEADS, WIDTH = 4, 4, 128
WRITTEN, TEMPERATURE, PROMPT, REPEATS = 1000, 0.8, "ROMEO:", 5
PLACES = (0, 250, 500, 750, WRITTEN)


@click.command()
@click.option("--root", required=True, help="Folder of input.txt.")
@click.option("--rounds", default=3, show_default=True, help="Alternating runs of each.")
@click.option("--child", default="", hidden=True)
@click.option("--seed", default=0, hidden=True)
def main(root: str, rounds: int, child: str, seed: int) -> None:
    """Run the rounds, each with a seed of its own, and write the table."""
    if child:
        with tempfile.TemporaryDirectory() as temporary:
            cut_shakespeare(Path(root), Path(temporary))
            click.echo(json.dumps(MEASURES[child](Path(temporary), seed)))
        return
    runs: dict[str, list[dict]] = {name: [] for name in MEASURES}
    for round_ in range(rounds):
        for name in MEASURES:
            command = [sys.executable, __file__, "--root", root, "--seed", str(round_), "--child", name]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"{name}: {runs[name][-1]}")
    (RESULTS / "language_model_speed.md").write_text(table(runs, rounds))


def ours(folder: Path, seed: int) -> dict:
    """Train by `train`, then write by an export."""
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    import keras
    import tensorflow as tf

    from pipelines.commands.train import train
    from pipelines.export.write import write_export
    from pipelines.training import train as training

    class Clock(keras.callbacks.Callback):
        """Add up the time of each epoch's training steps."""

        def __init__(self, *_):
            super().__init__()
            self.seconds = []

        def on_epoch_begin(self, epoch, logs=None):
            self.seconds.append(0.0)

        def on_train_batch_begin(self, batch, logs=None):
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.seconds[-1] += time.perf_counter() - self.began

    clock = Clock()
    training.Progress = lambda *_: clock
    settings = [f"data.root={folder}", f"preprocessing.token_folder={folder / 'tokens'}", f"seed={seed}"]
    trained, run = train(CONFIG, [*settings, f"decoding.temperature={TEMPERATURE}"], folder / "run")
    version = write_export(trained, run, folder / "export", None)
    generate = tf.saved_model.load(str(version)).signatures["generate"]
    one = {"prompt": PROMPT, "temperature": TEMPERATURE, "top_k": 0, "top_p": 1.0, "seed": seed, "beams": 1, "stop": ""}
    kinds = {name: spec.dtype for name, spec in generate.structured_input_signature[1].items()}

    def write(count: int) -> None:
        given = {name: tf.constant([value], kinds[name]) for name, value in {**one, "max_tokens": count}.items()}
        generate(**{name: given[name] for name in kinds})

    return {
        **_figures(clock.seconds, float(run.history()["seconds"].iloc[-1]), run.metrics()["validation"]["loss"]),
        **_writing(write),
    }


def pytorch(folder: Path, seed: int) -> dict:
    """Train the same network written plainly, in eager mode, and write with it."""
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(seed)
    texts = {name: (folder / f"{name}.txt").read_text() for name in ("train", "validation")}
    characters = sorted(set(texts["train"]))
    number = {character: at for at, character in enumerate(characters)}
    train, validation = (torch.tensor([number[c] for c in text]) for text in texts.values())

    class Attention(nn.Module):
        """Causal self-attention, with caches of keys and values where they are given."""

        def __init__(self):
            super().__init__()
            self.project_in = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
            self.project_out = nn.Linear(WIDTH, WIDTH, bias=False)

        def forward(self, x, cache, at):
            batch, steps, _ = x.shape
            parts = self.project_in(x).view(batch, steps, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
            queries, keys, values = parts
            if cache is None:
                y = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            else:
                cache[0][:, :, at : at + steps], cache[1][:, :, at : at + steps] = keys, values
                keys, values = (each[:, :, : at + steps] for each in cache)  # `steps` is 1 but for a fresh start
                y = functional.scaled_dot_product_attention(queries, keys, values, is_causal=at == 0)
            return self.project_out(y.transpose(1, 2).reshape(batch, steps, WIDTH))

    class Block(nn.Module):
        """Attention and two dense layers, normalised before each."""

        def __init__(self):
            super().__init__()
            self.attention = Attention()
            self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
            self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
            self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

        def forward(self, x, cache=None, at=0):
            x = x + self.attention(self.norms[0](x), cache, at)
            return x + self.down(functional.gelu(self.up(self.norms[1](x))))

    class Network(nn.Module):
        """Embeddings, blocks, and scores by the embeddings."""

        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(len(characters), WIDTH)
            self.positions = nn.Embedding(CONTEXT, WIDTH)
            self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
            self.norm = nn.LayerNorm(WIDTH, bias=False)
            for name, weights in self.named_parameters():
                if weights.dim() > 1:
                    into_stream = name.endswith(("project_out.weight", "down.weight"))
                    nn.init.normal_(weights, std=0.02 / math.sqrt(2 * LAYERS if into_stream else 1))

        def forward(self, tokens, caches=(None,) * LAYERS, at=0):
            x = self.tokens(tokens) + self.positions.weight[at : at + tokens.shape[1]]
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block(x, cache, at)
            return functional.linear(self.norm(x), self.tokens.weight)

    model = Network()
    matrices, others = ([p for p in model.parameters() if (p.dim() > 1) is is_matrix] for is_matrix in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    starts, places = torch.arange(0, len(validation) - 1, CONTEXT), torch.arange(CONTEXT + 1)
    total, warm = EPOCHS * STEPS, 100

    def rate(step: int) -> float:
        if step < warm:
            return 1e-3 * (step + 1) / warm
        return 1e-4 + 9e-4 * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2

    @torch.inference_mode()
    def validate() -> float:
        nats = 0.0
        for part in starts.split(256):
            windows = part[:, None] + places
            real = windows[:, 1:] < len(validation)
            windows = validation[windows.clamp(max=len(validation) - 1)]
            scores = model(windows[:, :-1])
            each = functional.cross_entropy(scores.transpose(1, 2), windows[:, 1:], reduction="none")
            nats += float((each * real).sum())
        return nats / (len(validation) - 1)

    seconds, losses, began = [], [], time.perf_counter()
    for epoch in range(EPOCHS):
        started = time.perf_counter()
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            windows = train[torch.randint(len(train) - CONTEXT, (BATCH, 1)) + places]
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            scores = model(windows[:, :-1])
            loss = functional.cross_entropy(scores.reshape(-1, len(characters)), windows[:, 1:].reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        seconds.append(time.perf_counter() - started)
        losses.append(validate())
    whole = time.perf_counter() - began

    @torch.inference_mode()
    def write(count: int) -> None:
        text, shape = [number[c] for c in PROMPT], (1, HEADS, CONTEXT, WIDTH // HEADS)
        caches = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(LAYERS)]
        given, at = text, 0
        for _ in range(count):
            scores = model(torch.tensor([given]), caches, at)[0, -1] / TEMPERATURE
            text.append(int(torch.multinomial(functional.softmax(scores, dim=0), 1)))
            at += len(given)
            given = text[-1:]
            if at == CONTEXT:
                given, at = text[-CONTEXT // 2 :], 0

    assert np.isfinite(losses).all()
    return {**_figures(seconds, whole, min(losses)), **_writing(write)}


def _figures(epochs: list[float], whole: float, loss: float) -> dict:
    """Give the speed of the median epoch but the first, which compiles, and what came of it."""
    tokens = STEPS * BATCH * CONTEXT
    return {
        "tokens_per_second": tokens / statistics.median(epochs[1:]),
        "training_seconds": whole,
        "validation_loss": loss,
    }


def _writing(write) -> dict:
    """Time texts of growing length; their differences tell what a character costs at each place."""
    write(WRITTEN)
    times = {count: [] for count in PLACES[1:]}
    for _ in range(REPEATS):
        for count in PLACES[1:]:
            began = time.perf_counter()
            write(count)
            times[count].append(time.perf_counter() - began)
    medians = [0.0, *(statistics.median(each) for each in times.values())]
    spans = zip(pairwise(medians), pairwise(PLACES), strict=True)
    return {
        "characters_per_second": WRITTEN / medians[-1],
        "milliseconds": [1000 * (t1 - t0) / (p1 - p0) for (t0, t1), (p0, p1) in spans],
    }


MEASURES = {"PyTorch, eager": pytorch, "ours": ours}


def table(runs: dict[str, list[dict]], rounds: int) -> str:
    """Write both tables."""
    return "\n".join(
        [
            "# nanoGPT's CPU recipe: training and writing beside plain PyTorch",
            "",
            f"{rounds} alternating rounds, a process a run; above 1 is faster. 4 layers of width 128, 4 heads, windows"
            " of 64 characters, 12 at a time, 2,000 steps. The loss is the mean over all 111,539 predicted characters"
            " of the validation text, in windows of 64; ours lets 28 characters out, each the first of a stretch.",
            "",
            "| what | tokens a second, median | ratio (min to max) | whole training, s | validation loss by seed |",
            "|---|---|---|---|---|",
            *(_row(runs, name, "tokens_per_second", *_ends(runs[name])) for name in MEASURES),
            "",
            f"Writing {WRITTEN:,} characters, one text at a time; what a character costs, by its place.",
            "",
            "| what | characters a second, median | ratio (min to max) | "
            + " | ".join(f"ms, {first + 1} to {last}" for first, last in pairwise(PLACES))
            + " |",
            "|---" * (3 + len(PLACES) - 1) + "|",
            *(_row(runs, name, "characters_per_second", *_costs(runs[name])) for name in MEASURES),
            *how("python benchmarks/language_model_speed.py --root FOLDER", ("tensorflow", "keras", "torch")),
        ]
    )


def _row(runs: dict[str, list[dict]], name: str, what: str, *more: str) -> str:
    values, peers = ([run[what] for run in runs[each]] for each in (name, "PyTorch, eager"))
    ratios = [value / peer for value, peer in zip(values, peers, strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"| {' | '.join((name, f'{statistics.median(values):,.0f}', spread, *more))} |"


def _ends(each: list[dict]) -> list[str]:
    losses = " ".join(f"{run['validation_loss']:.3f}" for run in each)
    return [f"{statistics.median(run['training_seconds'] for run in each):.0f}", losses]


def _costs(each: list[dict]) -> list[str]:
    return [f"{statistics.median(costs):.2f}" for costs in zip(*(run["milliseconds"] for run in each), strict=True)]


if __name__ == "__main__":
    main()
