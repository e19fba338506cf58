"""The page of a run: verdict and next steps first, then metrics, pictures, worst examples, data, config, commands."""

import json
from collections.abc import Mapping
from typing import Any

from pipelines.config.read import read_yaml
from pipelines.errors import counted
from pipelines.pages.page import Code, Lines, Page, Part, Picture, Section, Step, Steps, Table, Text, command, pictures
from pipelines.runs.run import Run
from pipelines.statistics.intervals import LEVEL
from pipelines.terminal import short_value

DIAGNOSED = {  # picture of a diagnosis -> its title
    "gaps": "Gaps between the splits",
    "curve": "Error by number of training examples",
    "batch_sizes": "Error by seconds of training, for sizes of the mini-batches",
}


def write_run_page(run: Run) -> None:
    """Write the page of a finished run from the files of its folder, in place of an earlier one.

    Raises:
        UserError: If the page cannot be written.
    """
    run_page(run).write(run.page)


def run_page(run: Run) -> Page:
    """Return the page of a finished run."""
    config, environment = read_yaml(run.config), run.environment()
    details = run.details()
    facts = [f"task {config['task']}", f"run {run.folder}", counted(len(run.history()), "epoch")]
    diagnosis = run.read_diagnosis()
    sections = [
        Section("What to do next", _next(run, diagnosis)),
        Section("Metrics", _metrics(run, details)),
        Section("Pictures", [*_diagnosed(run), *pictures(run.report)]),
        Section("Worst examples", _worst(details.get("test", {}).get("worst", {}))),
        Section("Data", _data(run)),
        Section("Config", [Code(run.config.read_text(encoding="utf-8"), "config.yaml")]),
        Section("Repeat it", _repeat(run, environment)),
    ]
    return Page(f"{config['task']}: {config['model']}", facts, sections)


def described(environment: Mapping[str, Any]) -> list[Part]:
    """Return what says where something ran: the command, the platform and the versions of packages."""
    packages = [[name, version] for name, version in environment["packages"].items() if version]
    where = f"Python {environment['python']}, {environment['platform']}, {environment['cores']} CPU cores"
    where += f" ({environment['processor']})" if environment.get("processor") else ""
    return [
        Text(f"It ran on {where}:"),
        Code(" ".join(environment["command"])),
        Table(["package", "version"], packages),
    ]


def _next(run: Run, diagnosis: Mapping[str, Any] | None) -> list[Part]:
    warnings: list[Part] = [Lines([f"Warning: {each}" for each in run.warnings()])] if run.warnings() else []
    if diagnosis is None:
        says = "This run is not diagnosed yet. This command reports high bias, high variance or data mismatch"
        return [*warnings, Text(f"{says}, proposes what to change, and updates this report:"), _diagnose(run)]
    gaps = [
        [
            gap["kind"],
            f"{gap['start']} to {gap['stop']}",
            _with_interval(gap["interval"]),
            short_value(gap["matters"]),
            gap["status"],
        ]
        for gap in diagnosis["gaps"]
    ]
    steps = [
        Step(
            step["name"].replace("-", " "),
            step["reason"],
            [
                *(f"--set {each}" for each in step["set"]),
                *([command("train", step["config"])] if step["config"] else []),
            ],
        )
        for step in diagnosis["next"]
    ]
    said = [*diagnosis["notes"], *diagnosis["signs"]["sentences"]]
    return [
        Text(diagnosis["verdict"], strong=True),
        *warnings,
        *([Lines(diagnosis["learnt"])] if diagnosis.get("learnt") else []),  # an earlier version wrote none
        *([Steps(steps)] if steps else []),
        *([Lines(said)] if said else []),
        Text(f"Gaps between the splits, as {diagnosis['error']}:"),
        Table(["gap", "between", "difference", "matters from", "verdict"], gaps),
    ]


def _diagnose(run: Run) -> Code:
    code = [part for path in run.environment().get("code", {}) for part in ("--code", path)]
    return Code(command("diagnose", *code, run.folder))


def _metrics(run: Run, details: Mapping[str, Any]) -> list[Part]:
    metrics, trivial = run.metrics(), run.trivial()
    names = list(dict.fromkeys(name for own in metrics.values() for name in own if "." not in name))
    baseline = any(name in trivial for name in names)
    rows = []
    for name in names:
        cells = [_measured(own.get(name), details.get(split, {}), name) for split, own in metrics.items()]
        rows.append([name, *cells, *([short_value(trivial[name]) if name in trivial else ""] if baseline else [])])
    heads = ["metric", *metrics, *(["baseline on validation"] if baseline else [])]
    best = run.best_epoch()
    known = any(own["intervals"] for own in details.values())
    about = f"[low, high] is the {LEVEL:.0%} interval over the examples of the split." if known else ""
    epoch = f"The weights are those of epoch {int(best['best_epoch'])} of {len(run.history())}."
    return [Table(heads, rows), Text(f"{about} {epoch}".strip())]


def _measured(value: float | None, details: Mapping[str, Any], name: str) -> str:
    if value is None:
        return ""
    interval = details.get("intervals", {}).get(name)
    return short_value(value) if interval is None else _with_interval({**interval, "value": value})


def _with_interval(interval: Mapping[str, float | None]) -> str:
    bounds = ", ".join("unknown" if interval[end] is None else short_value(interval[end]) for end in ("low", "high"))
    return f"{short_value(interval['value'])} [{bounds}]"


def _diagnosed(run: Run) -> list[Part]:
    found = {title: run.diagnosis / f"{name}.png" for name, title in DIAGNOSED.items()}
    return [Picture(title, path.read_bytes()) for title, path in found.items() if path.is_file()]


def _worst(worst: Mapping[str, Any]) -> list[Part]:
    if not worst.get("rows"):
        return []
    rows = worst["rows"]
    told = f"Of the test split, by {worst['by']}. Rows are counted from 1; predictions.csv has all of them."
    return [Text(told), Table(list(rows[0]), [[short_value(value) for value in row.values()] for row in rows])]


def _data(run: Run) -> list[Part]:
    data, summary = run.data(), run.report / "data.txt"
    examples = [
        [split, f"{count:,}", data["fingerprint"].get(split, "")[:16]] for split, count in data["examples"].items()
    ]
    lines: list[Part] = [Code(summary.read_text(encoding="utf-8"))] if summary.is_file() else []
    record = json.dumps({"source": data["source"], "split": data["split"]}, indent=2, ensure_ascii=False)
    return [Table(["split", "examples", "fingerprint"], examples), *lines, Code(record, "source and split")]


def _repeat(run: Run, environment: Mapping[str, Any]) -> list[Part]:
    commands = [
        command("train", run.config),
        command("evaluate", run.folder),
        command("export", run.folder),
    ]
    return [Text("Train it again, evaluate it, export it:"), Code("\n".join(commands)), *described(environment)]
