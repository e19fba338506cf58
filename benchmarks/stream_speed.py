"""Measure the tokens a second of concurrent streams: the steps of all streams in one batch, and each step alone.

    python benchmarks/stream_speed.py --export exports/language_model

Both are measured in one process, in alternating rounds, with the server's own code but without its protocols.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import tensorflow as tf
from measured import RESULTS, how

from pipelines.serving.models.runs import Runs
from pipelines.serving.models.signatures import Signature
from pipelines.serving.models.stream_batches import StepBatches, run_start
from pipelines.serving.models.streaming import START, STEP, pieces
from pipelines.serving.models.versions import Version
from pipelines.serving.server import INTER_OP_THREADS

CLIENTS = (1, 4, 16)
TOKENS = 64  # of a stream; each client starts the next one at once
WARM_SECONDS = 3.0
MOST_STEPS, MOST_SECONDS = 10_000, 60.0
Call = Callable[..., Awaitable[Any]]


@click.command()
@click.option("--export", required=True, type=Path, help="Folder with the export of a language model.")
@click.option("--seconds", default=5.0, show_default=True, help="For each figure.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--results", default=RESULTS, type=Path, help="Folder for the page.")
def main(export: Path, seconds: float, rounds: int, results: Path) -> None:
    """Measure and write the table."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(INTER_OP_THREADS)
    version = Version(max((path for path in export.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)))
    found: dict[int, list[tuple[float, float]]] = {clients: [] for clients in CLIENTS}
    for _ in range(rounds):
        for clients in CLIENTS:
            alone, together = (asyncio.run(measured(version, clients, seconds, way)) for way in (False, True))
            found[clients].append((alone, together))
            click.echo(f"{clients} streams: {alone:.0f} alone, {together:.0f} together", err=True)
    text = table(found, seconds)
    (results / "stream_speed.md").write_text(text)
    click.echo(text)


async def measured(version: Version, clients: int, seconds: float, together: bool) -> float:
    """Return the tokens a second of some concurrent streams."""
    start, step = version.signatures[START], version.signatures[STEP]
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as executor:
        call = partial(Runs().call, MOST_SECONDS, executor)
        steps = StepBatches(step, call)
        steps.batchable = steps.batchable and together
        tokens = [0]
        writing = [asyncio.create_task(write(start, step, steps, call, number, tokens)) for number in range(clients)]
        await asyncio.sleep(WARM_SECONDS)
        before, began = tokens[0], time.monotonic()
        while time.monotonic() < began + seconds or tokens[0] == before:
            await asyncio.sleep(0.1)
        rate = (tokens[0] - before) / (time.monotonic() - began)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
    return rate


async def write(
    start: Signature, step: Signature, steps: StepBatches, call: Call, seed: int, tokens: list[int]
) -> None:
    """Write one stream after the other, and count their tokens."""
    while True:
        asked = {"prompt": np.array([b"It was a dark and"], object), "max_tokens": np.int32([TOKENS])}
        given = start.filled({**asked, "seed": np.int32([seed])})
        first = await call(run_start, start, step, given)
        async for _ in pieces(first, steps.answer, MOST_STEPS):
            tokens[0] += 1
        seed += 1_000


def table(found: dict[int, list[tuple[float, float]]], seconds: float) -> str:
    """Write the medians, and the ratios of the rounds."""
    rows = []
    for clients, pairs in found.items():
        ratios = [together / alone for alone, together in pairs]
        alone, together = (median(rates) for rates in zip(*pairs, strict=True))
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append(f"| {clients} | {alone:,.0f} | {together:,.0f} | {ratio} |")
    lines = [
        "# Concurrent streams of a language model",
        "",
        "| streams | tokens a second, each step alone | all in a batch | ratio, median (min to max) |",
        "|---|---|---|---|",
        *rows,
    ]
    command = "python benchmarks/stream_speed.py --export exports/language_model"
    rounds = len(next(iter(found.values())))
    note = f"{rounds} alternating rounds, {seconds:g} s each; each client writes streams of {TOKENS} tokens in turn"
    return "\n".join([*lines, *how(command, ["tensorflow"], note)])


if __name__ == "__main__":
    main()
