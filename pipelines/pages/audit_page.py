"""The page of an audit: what was found and what to do about it, then the findings, the data and how to repeat it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.audit.findings import KINDS, Finding
from pipelines.data.summary import Summary
from pipelines.errors import counted
from pipelines.pages.page import Code, Lines, Page, Part, Section, Step, Steps, Table, Text, command, in_words
from pipelines.pages.run_page import described
from pipelines.runs.environment import describe_environment
from pipelines.terminal import short_value

SHOWN = 20  # findings of each kind


def write_audit_page(
    path: Path,
    record: Mapping[str, Any],
    findings: Sequence[Finding],
    summary: Summary | None,
    config: str | None,
    fixed: Path | None,
    again: Sequence[str],
) -> None:
    """Write the page of an audit from its record and its findings.

    `config` is the text of the audited config, None for an export, `fixed` the path of the one that `--fix` wrote, and
    `again` the arguments that repeat the audit. `summary` is that of the data, if it was read.

    Raises:
        UserError: If the page cannot be written.
    """
    counts = record["counts"]
    examples = ", ".join(f"{split} {count:,}" for split, count in record["examples"].items())
    facts = [f"task {record['task']}", f"audit {path.parent.parent}", examples]
    notes: list[Part] = [Lines([f"Not checked: {note}" for note in record["notes"]])] if record["notes"] else []
    seconds = [[name, short_value(float(value))] for name, value in record["seconds"].items()]
    prints = [
        [split, f"{record['examples'].get(split, 0):,}", each[:16]] for split, each in record["fingerprint"].items()
    ]
    splits = Table(["split", "examples", "fingerprint"], prints)
    sections = [
        Section("What to do next", [*_next(counts, again, fixed, config is not None), *notes]),
        *(Section(f"{in_words(kind)}: {count:,}", _listed(kind, findings)) for kind, count in counts.items()),
        *([Section("Data", [Code("\n".join(summary.lines()) + "\n"), splits])] if summary else []),
        *([Section("Config", [Code(config, "the audited config")])] if config is not None else []),
        Section(
            "Repeat it",
            [
                Code(command("audit", *again)),
                *([Table(["check", "seconds"], seconds)] if seconds else []),
                *described(describe_environment()),
            ],
        ),
    ]
    Page(f"{record['task']}: audit of the data", facts, sections).write(path)


def _next(counts: Mapping[str, int], again: Sequence[str], fixed: Path | None, fixable: bool) -> list[Part]:
    if not counts:
        return [Text("No findings.", strong=True)]
    said = f"{counted(sum(counts.values()), 'finding')} of {counted(len(counts), 'kind')}."
    steps = [
        Step(f"{in_words(kind)}, {count:,}", f"{KINDS[kind].means}. Remedy: {KINDS[kind].remedy}.")
        for kind, count in counts.items()
    ]
    if not fixable:
        return [Text(said, strong=True), Steps(steps)]
    if fixed is not None:
        fix = Step("Train without the faults", "the config that --fix wrote leaves them out", [command("train", fixed)])
    else:
        why = "--fix writes a config that leaves them out where that can be done"
        fix = Step("Mend the config", why, [command("audit", *again, "--fix")])
    return [Text(said, strong=True), Steps([*steps, fix])]


def _listed(kind: str, findings: Sequence[Finding]) -> list[Part]:
    own = [finding for finding in findings if finding.kind == kind]
    rows = [
        [
            short_value(round(float(each.score), 4)),
            *("" if place is None else str(place) for place in (each.place, each.other)),
            each.about,
        ]
        for each in own[:SHOWN]
    ]
    heads = ["score", "place", "other place", "what is wrong"]
    kept = [at for at, head in enumerate(heads) if head != heads[2] or any(row[2] for row in rows)]
    kept = [at for at in kept if heads[at] != "place" or any(row[1] for row in rows)]
    table = Table([heads[at] for at in kept], [[row[at] for at in kept] for row in rows])
    more = [Text(f"The first {SHOWN}; findings.csv has all.")] if len(own) > SHOWN else []
    return [table, *more]
