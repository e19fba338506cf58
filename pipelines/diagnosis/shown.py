"""Print a diagnosis to the terminal."""

from collections.abc import Sequence

import click
from rich.console import Console

from pipelines.diagnosis.results import Diagnosis
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
