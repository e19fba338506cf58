"""The page of a comparison: what it tells, then the table of the models, pictures, runs and the config."""

from pipelines.comparison.ladder import Ladder
from pipelines.pages.page import Code, Lines, Page, Part, Section, Step, Steps, Table, Text, command, pictures
from pipelines.pages.run_page import described
from pipelines.runs.environment import describe_environment
from pipelines.terminal import short_value


def write_comparison_page(
    ladder: Ladder, heads: list[str], rows: list[list[str]], lines: list[str], about: str, explained: str
) -> None:
    """Write the page of a comparison: the table of the models, and in words what it is `about` and what it tells.

    Raises:
        UserError: If the page cannot be written.
    """
    folder = ladder.folder
    facts = [f"task {ladder.base.task}", f"comparison {folder.folder}", about]
    first, *others = lines
    best: list[Part] = [Text(f"{first[:1].upper()}{first[1:]}.", strong=True), Lines(others)]
    if folder.best.is_file():
        best.append(Steps([Step("train the best model", "and export it", [command("run", folder.best)])]))
    plan = ladder.plan
    tuned = ["--tune-trials", plan.tune_trials] if plan.tune_trials else []
    again = command("compare", folder.config, "--models", ",".join(plan.models), "--seeds", plan.seeds, *tuned)
    sections = [
        Section("What it tells", best),
        Section("Models", [Table(heads, rows), Text(explained)]),
        Section("Pictures", pictures(folder.report)),
        Section("Runs", [_runs(ladder)]),
        Section("Config", [Code(folder.config.read_text(encoding="utf-8"), "config.yaml, with the budget")]),
        Section(
            "Repeat it",
            [
                Text("Compare again; with --resume and more seeds or models it goes on:"),
                Code(again),
                *described(describe_environment()),
            ],
        ),
    ]
    Page(f"{ladder.base.task}: comparison by {ladder.objective}", facts, sections).write(folder.page)


def _runs(ladder: Ladder) -> Table:
    rows = [
        [
            str(trial.number),
            trial.values["model"],
            str(trial.values["seed"]),
            "" if trial.score is None else short_value(trial.score),
            short_value(trial.seconds),
            trial.reason or "",
        ]
        for trial in ladder.trials
    ]
    return Table(["run", "model", "seed", ladder.objective, "seconds", "failed"], rows)
