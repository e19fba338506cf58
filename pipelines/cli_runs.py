"""The `runs` commands of the command line."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pipelines.errors import UserError, counted
from pipelines.terminal import command_line, print_json, program, short_value, table, visible
from pipelines.verbs import Group, as_json, verb


@click.group("runs", cls=Group, invoke_without_command=True)
@click.pass_context
def runs_group(context: click.Context) -> None:
    """List, compare, delete and open runs, searches and comparisons. Without a command, list them.

    Example: {program} runs list --task house_prices

    Example: {program} runs open runs/house_prices/2026-01-31T12-00-00
    """
    if context.invoked_subcommand is None:
        context.invoke(list_runs)


without_tensorflow = functools.partial(verb, before_tensorflow=lambda arguments: True)
root = click.option(
    "--in", "root", default=".", show_default=True, metavar="DIR", help="Folder with `runs`, `searches` ... in it."
)
kind = click.option("--kind", type=click.Choice(["run", "search", "comparison"]), help="Only this kind.")
of_task = click.option("--task", metavar="TASK", help="Only this task.")


@runs_group.command("list")
@root
@kind
@of_task
@as_json
@without_tensorflow
def list_runs(root: str = ".", kind: str | None = None, task: str | None = None, as_json: bool = False) -> None:
    """List runs, searches and comparisons of each task, the best first by the metric that chose their epoch or model.

    Example: {program} runs list --kind run
    """
    entries = _entries(root, kind, task)
    if as_json:
        print_json([entry.record() for entry in entries])
    elif entries:
        _print_entries(entries)
    else:
        click.echo(f"no runs, searches or comparisons in {root}; `{program()} train` makes a run")


@runs_group.command("diff")
@click.argument("run")
@click.argument("other")
@as_json
@without_tensorflow
def diff_runs(run: str, other: str, as_json: bool) -> None:
    """Show the settings and the metrics in which two finished runs differ.

    Example: {program} runs diff runs/house_prices/2026-01-31T12-00-00 runs/house_prices/2026-02-01T12-00-00
    """
    from pipelines.commands.runs import diff

    found = diff(run, other)
    if as_json:
        print_json(found.record())
        return
    for name, folder in found.runs.items():
        click.echo(visible(f"{name}  {folder}"))
    names = list(found.runs)
    if len(found.settings):
        rows = [[str(path), *map(short_value, values)] for path, *values in found.settings.itertuples()]
        Console().print(table(["setting", *names], rows))
    else:
        click.echo("all settings are the same")
    rows = [
        [f"{split}.{name}", *("" if each is None else short_value(each) for each in pair), _change(*pair)]
        for split, metrics in found.metrics.items()
        for name, pair in metrics.items()
    ]
    Console().print(table(["metric", *names, "B - A"], rows))
    click.echo(f"significant? {command_line('compare', run, other)}")


@runs_group.command("prune")
@click.option(
    "--keep",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="How many to keep of each task: the best by their metric, and as many of the newest.",
)
@click.option("--kind", type=click.Choice(["run", "search", "comparison"]), default="run", show_default=True)
@of_task
@root
@click.option("--yes", is_flag=True, help="Delete without asking.")
@without_tensorflow
def prune_runs(keep: int, kind: str, task: str | None, root: str, yes: bool) -> None:
    """Show which runs would be deleted, ask, and delete them.

    It keeps running jobs, and runs that an export in `exports` or another run was made from.

    Example: {program} runs prune --keep 5 --task house_prices
    """
    from pipelines.runs.listing import delete, plan_deletion

    plan = plan_deletion(Path(root), _entries(root, kind, task), keep)
    for folder, reason in plan.needed.items():
        click.echo(visible(f"kept {folder}: {reason}"))
    if not plan.delete:
        click.echo("nothing to delete")
        return
    _print_entries(plan.delete)
    what = f"{counted(len(plan.delete), 'folder')} ({_size(sum(entry.size for entry in plan.delete))})"
    if not yes and not click.confirm(f"Delete {what}?"):
        click.echo("nothing was deleted")
        return
    for entry in plan.delete:
        delete(entry)
    click.echo(f"deleted {what}")


@runs_group.command("open")
@click.argument("folder")
@click.option("--print", "only_print", is_flag=True, help="Print the path of the report instead.")
@without_tensorflow
def open_run(folder: str, only_print: bool) -> None:
    """Open the report of a run, a search, a comparison or an audit in the browser.

    Example: {program} runs open runs/house_prices/2026-01-31T12-00-00
    """
    import webbrowser

    from pipelines.commands.runs import find_page

    page = find_page(folder)
    if only_print or not webbrowser.open(page.as_uri()):
        click.echo(page)


def _entries(root: str, kind: str | None, task: str | None) -> list[Any]:
    from pipelines.runs.listing import PARENTS, find_entries

    if not Path(root).is_dir():
        raise UserError(root, "no such folder")
    found = find_entries(Path(root), [each for each in PARENTS if kind in (None, each)])
    return [entry for entry in found if task in (None, entry.about.task)]


def _print_entries(entries: Sequence[Any]) -> None:
    """Print one line each, with the folder last and whole, so that it can be copied."""
    lines = [
        [
            "" if entry.value is None else short_value(entry.value),
            entry.state,
            entry.about.model,
            f"{entry.date:%Y-%m-%d %H:%M}",
            _size(entry.size),
            str(entry.folder),
        ]
        for entry in entries
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    title = None
    for entry, cells in zip(entries, lines, strict=True):
        about = entry.about
        group = f"{entry.kind} of {about.task}" + (f" by {about.metric}" if about.metric else "")
        if group != title:
            click.echo(visible(group))
        title, padded = group, [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        click.echo(visible(f"  {'  '.join(padded)}").rstrip())


def _change(one: float | None, other: float | None) -> str:
    return "" if one is None or other is None else short_value(other - one)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
