"""Print a diagnosis to the terminal."""

import math
from collections.abc import Sequence

import click
from rich.console import Console

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
    """Print which of the tried steps helped, and what more data would give."""
    if diagnosis.tried is not None:
        heads = ["step", f"validation.{diagnosis.metric.name}", "better by", "seeds", "p", "outcome"]
        Console().print(table(heads, [_row(tried) for tried in diagnosis.tried]))
        for tried in diagnosis.tried:
            click.echo(f"- {tried.name.replace('-', ' ')}: {_said(tried)}")
    if diagnosis.curve is not None:
        click.echo(f"- {diagnosis.curve.sentence(diagnosis.metric)}")
        click.echo(f"picture of it: {diagnosis.run.diagnosis / 'curve.png'}")
    for line in diagnosis.failures:
        click.echo(visible(f"- {line}"))


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


def _said(tried: Tried) -> str:
    if tried.outcome != "cannot tell":
        return tried.outcome
    if tried.seeds < 2:
        return "cannot be told from luck; try it with more than one seed"
    if tried.seeds_needed is None:
        return "cannot be told from luck; by this estimate, no number of seeds would tell, only more examples"
    return f"cannot be told from luck; about {tried.seeds_needed:,} seeds would tell"
