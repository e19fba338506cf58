"""The page of a search: the best trial and what to do with it, then the trials, pictures and the config."""

import pandas as pd

from pipelines.pages.page import Code, Lines, Page, Part, Section, Step, Steps, Table, Text, command, pictures
from pipelines.pages.run_page import described
from pipelines.runs.environment import describe_environment
from pipelines.terminal import short_value
from pipelines.tuning.search import Search

SHOWN = 30  # trials


def write_search_page(search: Search, table: pd.DataFrame) -> None:
    """Write the page of a search; `table` has its trials.

    Raises:
        UserError: If the page cannot be written.
    """
    folder, base = search.folder, search.space.config({})
    failed = [f"trial {trial.number}: {trial.reason}" for trial in search.trials if trial.reason]
    facts = [f"task {base.task}", f"search {folder.folder}", f"{len(search.ended)} trials", f"{len(failed)} failed"]
    sections = [
        Section("What to do next", _next(search)),
        Section("Trials", [*_trials(search, table), *([Lines(failed)] if failed else [])]),
        Section("Pictures", pictures(folder.report)),
        Section("Config", [Code(folder.config.read_text(encoding="utf-8"), "config.yaml")]),
        Section(
            "Repeat it",
            [
                Text("Search again; with --resume and a larger tuning.max_trials it goes on:"),
                Code(command("tune", folder.config)),
                *described(describe_environment()),
            ],
        ),
    ]
    Page(f"{base.task}: search by {search.objective}", facts, sections).write(folder.page)


def _next(search: Search) -> list[Part]:
    if not search.ranked:
        return [Text("No trial has a score. Look at the reasons below.", strong=True)]
    best, folder = search.ranked[0], search.folder
    values = ", ".join(f"{path} {short_value(value)}" for path, value in best.values.items())
    said = f"Trial {best.number} is the best: {search.objective} {short_value(best.score)} with {values}."
    how = "it is evaluated on the test split and exported"
    train = Step("train the best config", how, [command("run", folder.best)])
    why = "the score of the best of many trials is optimistic: train this model and the others with several seeds each"
    check = Step("check that it is significant", why, [command("compare", folder.best)])
    return [Text(said, strong=True), Steps([train, check])]


def _trials(search: Search, table: pd.DataFrame) -> list[Part]:
    """List the trials, the best first."""
    order = [trial.number for trial in search.ranked]
    wanted = ["trial", search.objective, *search.space.nodes, "seconds"]
    shown = table.set_index("trial", drop=False).reindex(order[:SHOWN])
    shown = shown[[name for name in wanted if name in shown]].astype(object)
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    more = [Text(f"The best {SHOWN} of {len(order)}; trials.csv has all.")] if len(order) > SHOWN else []
    return [*([Table(list(shown), rows)] if rows else []), *more]


def _cell(value: object) -> str:
    return "" if isinstance(value, float) and value != value else short_value(value)
