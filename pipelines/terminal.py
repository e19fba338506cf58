"""Print to the terminal, with data escaped: Rich would read `[red]` as markup, and terminals read escape codes."""

import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipelines.audit.findings import Finding
    from pipelines.data.summary import Summary
    from pipelines.runs.run import Run

SHOWN_CHARACTERS = 160  # longer raw inputs are cut in the table of predictions
WIDE = 80  # columns of a terminal that a table of examples needs
BAR = 10  # characters of a bar that is full
COLOURS = ("bold cyan", "bold magenta", "bold green", "bold yellow", "bold blue", "bold red")
TYPED_COLUMNS = 4  # columns of the input in a suggested command
TYPED_CHARACTERS = 500

_SIGNS = (*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x2029, *range(0xD800, 0xE000))
CONTROLS = {sign: repr(chr(sign))[1:-1] for sign in _SIGNS}
ONE_CHARACTER = dict.fromkeys((*_SIGNS, 9, 10), " ")


def table(heads: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str | None = None) -> Table:
    """Return a Rich table of plain texts; a `Text` keeps its styles."""
    made = Table(title=None if title is None else Text(visible(title)))
    for head in heads:
        made.add_column(Text(visible(head)))
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row))
    return made


def visible(text: str) -> str:
    """Escape control characters, except tabs and newlines."""
    return text.translate(CONTROLS)


def shortened(text: str, most: int) -> str:
    """Put a text on one line and cut it to `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 4].rstrip()} ..."


def print_summary(summary: "Summary") -> None:
    """Print a summary of the data to stderr."""
    for line in summary.lines():
        click.echo(visible(line), err=True)


def print_json(content: Any) -> None:
    """Print a value as JSON."""
    from pipelines.storage import as_json

    click.echo(as_json(content, ensure_ascii=False))


def print_warnings(warnings: Sequence[str]) -> None:
    """Print each warning to stderr, one per line."""
    for warning in warnings:
        click.echo(visible(f"warning: {warning}"), err=True)


def print_metrics(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table of metrics, one column per split."""
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    rows = [
        [name, *(short_value(values[name]) if name in values else "" for values in metrics.values())] for name in names
    ]
    Console().print(table(["metric", *metrics], rows))


def print_folds(run: "Run") -> None:
    """Print the spread of the metrics over the folds of a run, if it has any."""
    spread = {name: values for name, values in run.folds_spread().items() if "." not in name}
    if not spread:
        return
    names = ("mean", "standard_deviation", "low", "high")
    rows = [[name, *(short_value(values[each]) for each in names)] for name, values in spread.items()]
    heads = ["test over the folds", "mean", "standard deviation", "95 % interval of the mean: low", "high"]
    Console().print(table(heads, rows))
    click.echo(f"folds   {run.folds_table}")


def print_findings(findings: Sequence["Finding"], notes: Sequence[str]) -> None:
    """Print a table with a row for each kind of finding: how many there are, and the first one."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    rows = [[kind, f"{len(found):,}", shortened(found[0].summary, SHOWN_CHARACTERS)] for kind, found in kinds.items()]
    if rows:
        Console().print(table(["finding", "count", "first"], rows))
    else:
        click.echo("no findings")
    for split in [finding for finding in findings if finding.kind in ("group_across_splits", "time_order")]:
        click.echo(visible(f"split   {split.remedy}: {split.about}"))
    for note in notes:
        click.echo(visible(f"note    {note}"))


def print_answers(inputs: Sequence[dict], targets: Sequence[dict], answers: Sequence[dict]) -> None:
    """Print examples with their targets and predictions: a table, or on a narrow terminal one below the other."""
    console, heads = Console(), ["a few test examples", "target", "prediction"]
    rows = [
        [_marked(raw, answer), Text(answer_line(target)), Text(answer_line(answer))]
        for raw, target, answer in zip(inputs, targets, answers, strict=True)
    ]
    if console.width >= WIDE:
        console.print(table(heads, rows))
        return
    for example, target, answer in rows:
        console.print(example, Text(f"  target  {target}"), Text(f"  prediction  {answer}"), sep="\n")


def answer_line(record: Mapping[str, Any]) -> str:
    """Return a target or an answer on one line: entities by their texts, probabilities with a bar."""
    return visible(", ".join(f"{name} {_field(name, value)}" for name, value in record.items()))


def _field(name: str, value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(part, dict) and "type" in part for part in value):
        return "; ".join(f"{part['type']}: {part.get('text', '')}{_certainty(part)}" for part in value)
    if name == "probability" and isinstance(value, float):
        return f"{short_value(value)} {_bar(value)}"
    return short_value(value)


def _certainty(part: Mapping[str, Any]) -> str:
    return f" ({part['probability']:.2f})" if isinstance(part.get("probability"), float) else ""


def _bar(share: float) -> str:
    """Draw a share of one in eighths of a character."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _marked(raw: Mapping[str, Any], answer: Mapping[str, Any]) -> Text:
    """Write raw inputs, with the entities that were found in a text coloured by their type."""
    known = {name: value for name, value in raw.items() if value != "" and value == value}
    spans = answer.get("entities")
    if len(known) == 1 and isinstance(spans, list) and spans:
        ((name, text),) = known.items()
        found, types = Text(f"{name} "), list(dict.fromkeys(span["type"] for span in spans))
        body = Text(str(text)[:SHOWN_CHARACTERS].translate(ONE_CHARACTER))  # offsets count characters
        for span in spans:
            body.stylize(COLOURS[types.index(span["type"]) % len(COLOURS)], span["start"], span["stop"])
        return found + body
    return Text(
        visible(shortened(", ".join(f"{name} {_plain(value)}" for name, value in known.items()), SHOWN_CHARACTERS))
    )


def program() -> str:
    """Return how this program was called: `pipelines`, `python cli.py` or `python -m pipelines`.

    Outside an activated environment, the path of its Python or program is a part of it, such as
    `.venv/bin/python cli.py`.
    """
    called = Path(sys.argv[0])
    if called.suffix != ".py":
        return shlex.quote(_typed(called.name, called))
    python = _typed("python", Path(sys.executable))
    return shlex.join([python, "-m", called.parent.name] if called.name == "__main__.py" else [python, str(called)])


def _typed(name: str, path: Path) -> str:
    """Return what to type to start the program at `path`: its name, if that finds it, else its path from here."""
    found, whole = shutil.which(name), path.absolute()
    if found and Path(found).absolute() == whole:
        return name
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole)


def command_line(verb: str, *arguments: object) -> str:
    """Return a shell command for this program, with the name that the user typed."""
    return f"{program()} {shlex.join([verb, *map(str, arguments)])}"


def as_arguments(raw: Mapping[str, Any]) -> list[str]:
    """Return `predict` arguments for an example: a text, `FILE`, or a JSON object of its first columns."""
    from pipelines.storage import as_json

    if len(raw) > 1:
        known = {name: value for name, value in raw.items() if value is not None and value == value and value != ""}
        first = dict(list(known.items())[:TYPED_COLUMNS])
        return [as_json(first, ensure_ascii=False), *(["--allow-missing"] if len(first) < len(raw) else [])]
    (value,) = raw.values()
    if isinstance(value, bytes):
        return ["FILE"]
    text = str(value)[:TYPED_CHARACTERS]
    return ["--", text] if text.startswith("-") else [text]


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return f"of {len(value):,} bytes"
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_value(value: object) -> str:
    """Format a value briefly, with floats to four significant digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(short_value, value))}]"
    if isinstance(value, dict):
        return ", ".join(f"{name} {short_value(part)}" for name, part in value.items())
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"
