"""Print a diagnosis to the terminal."""

import math
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from pipelines.diagnosis.batch_sizes import BatchSizes
from pipelines.diagnosis.results import Diagnosis
from pipelines.diagnosis.tries import Tried
from pipelines.terminal import command_line, short_value, table, visible


def print_diagnosis(diagnosis: Diagnosis, code: Sequence[str] = ()) -> None:
    """Print the gaps, the verdict, its signs, and the next steps with the commands to type."""
    rows = [
        [
            gap.kind,
            f"{gap.start} to {gap.stop}",
            short_value(diagnosis.human if gap.start == "human" else diagnosis.errors[gap.start].value),
            short_value(diagnosis.errors[gap.stop].value),
            f"{short_value(gap.interval.value)} [{short_value(gap.interval.low)}, {short_value(gap.interval.high)}]",
            gap.status,
        ]
        for gap in diagnosis.gaps
    ]
    title = f"{diagnosis.metric.words}; a gap matters from {short_value(diagnosis.gaps[0].matters)} on"
    Console().print(table(["gap", "between", "from", "to", "difference", "verdict"], rows, title))
    click.echo(visible(diagnosis.verdict))
    for line in [*diagnosis.notes, *diagnosis.signs.sentences]:
        click.echo(visible(f"- {line}"))
    named = [part for path in code for part in ("--code", path)]
    for number, (step, config) in enumerate(zip(diagnosis.steps, diagnosis.configs, strict=True), 1):
        click.echo(visible(f"{number}. {step.name.replace('-', ' ')}: {step.reason}"))
        for override in step.overrides:
            click.echo(visible(f"     --set {override}"))
        if config:
            click.echo(f"   {command_line('train', *named, config)}")
    click.echo(f"written to {diagnosis.run.diagnosis}")


def print_trained(diagnosis: Diagnosis) -> None:
    """Print which of the tried steps helped, what more data would give, and which size of mini-batches is fastest."""
    if diagnosis.tried is not None:
        heads = ["step", f"validation.{diagnosis.metric.name}", "better by", "seeds", "p", "outcome"]
        Console().print(table(heads, [_row(tried) for tried in diagnosis.tried]))
    if diagnosis.batch_sizes is not None:
        Console().print(_sizes(diagnosis.batch_sizes, diagnosis.metric.name))
    for line in diagnosis.learnt:
        click.echo(visible(f"- {line}"))
    for name in diagnosis.pictures:
        click.echo(f"picture: {diagnosis.run.diagnosis / name}.png")


def _sizes(compared: BatchSizes, metric: str) -> Table:
    rows = [
        [
            f"{each.size}{' (own)' if each.size == compared.own else ''}",
            *map(short_value, (each.learning_rate, each.epoch_seconds, each.score, each.seconds)),
        ]
        for each in compared.sizes
    ]
    heads = ["mini-batch", "learning rate", "s per epoch", f"validation.{metric}", "s to the same error"]
    return table(heads, rows)


def _row(tried: Tried) -> list[str]:
    name, seeds = tried.name.replace("-", " "), str(tried.seeds)
    if tried.mean is None or tried.against_own is None:
        return [name, "", "", seeds, "", tried.outcome]
    found = tried.against_own.difference
    reach = f" ± {short_value(found.high - found.value)}" if math.isfinite(found.high) else ""
    return [
        name,
        short_value(tried.mean.value),
        f"{short_value(found.value)}{reach}",
        seeds,
        f"{tried.p:.2g}",
        tried.outcome,
    ]
