"""Print comparisons to the terminal."""

import click
from rich.console import Console

from pipelines.comparison.results import Results
from pipelines.comparison.runs import ComparedRuns
from pipelines.statistics.intervals import Interval
from pipelines.terminal import command_line, short_value, table, visible


def print_results(results: Results) -> None:
    """Print the table of the models, what it tells, and where it was written."""
    Console().print(table(results.heads, results.rows))
    for line in results.lines():
        click.echo(visible(line))
    folder = results.ladder.folder
    if results.standings:
        click.echo(f"config  {folder.best}  (train it: {command_line('run', folder.best)})")
    click.echo(f"table   {folder.markdown}\nruns    {folder.table}\nreport  {folder.page}")


def print_compared(compared: ComparedRuns) -> None:
    """Print the settings, metrics and examples in which finished runs differ."""
    console, names = Console(), list(compared.runs)
    for name, folder in compared.runs.items():
        click.echo(visible(f"{name}  {folder}"))
    for note in compared.notes:
        click.echo(visible(f"note: {note}"))
    if len(compared.settings):
        rows = [[str(path), *map(short_value, values)] for path, *values in compared.settings.itertuples()]
        console.print(table(["setting", *names], rows))
    heads = [f"metric of {compared.split}", *names, *(f"{name} - {names[0]}" for name in names[1:])]
    console.print(table(heads, _metric_rows(compared)))
    click.echo("* differs significantly on these examples, for these trained models")
    if len(compared.examples):
        rows = [list(map(short_value, row)) for row in compared.examples.itertuples(index=False)]
        console.print(table([str(name) for name in compared.examples], rows, f"Most different by {compared.by}"))


def _metric_rows(compared: ComparedRuns) -> list[list[str]]:
    first = next(iter(compared.metrics.values()))
    return [
        [
            metric,
            *(_written(own[metric]) for own in compared.metrics.values()),
            *(_written(gap[metric]) + (" *" if gap[metric].tells else "") for gap in compared.gaps.values()),
        ]
        for metric in first
    ]


def _written(interval: Interval) -> str:
    return f"{short_value(interval.value)} [{short_value(interval.low)}, {short_value(interval.high)}]"
