"""Write the results of a comparison: a page with the table of the models, a table of the runs, the best config."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.comparison.ladder import Ladder
from pipelines.comparison.pictures import pictures
from pipelines.comparison.standings import Standing, judge
from pipelines.errors import counted
from pipelines.pages.comparison_page import write_comparison_page
from pipelines.report import glyphs_missed, write_pictures
from pipelines.statistics.intervals import LEVEL, Interval
from pipelines.statistics.seeds import mean_interval, what_would_tell
from pipelines.storage import write_text
from pipelines.terminal import short_value
from pipelines.tuning.journal import Trial

EXPLAINED = (
    f"± is the {LEVEL:.0%} interval of the mean over the seeds. P(best wins) is how often the best model wins with"
    " the same seed. p is that of the paired t-test against the best model, corrected for overlapping splits and"
    f" for the number of comparisons; * is below {1 - LEVEL:.2g}. Seconds are those of training."
)


@dataclass(frozen=True)
class Results:
    """What a comparison found: the models, best first, and their trivial baseline on the validation split."""

    ladder: Ladder
    standings: list[Standing]
    baseline: float
    simple: Mapping[str, float]  # the score of each simple model, on the split of the first seed

    @property
    def heads(self) -> list[str]:
        """Column heads of the table of the models."""
        test = [f"test.{self.ladder.metric}"] if self.tested else []
        return ["model", self.ladder.objective, *test, "seeds", "parameters", "seconds", "P(best wins)", "p"]

    @property
    def rows(self) -> list[list[str]]:
        """The table of the models: one row each, then the baseline and the models that failed with every seed."""
        shown = [self._row(standing) for standing in self.standings]
        empty = [""] * (len(self.heads) - 2)
        if math.isfinite(self.baseline):
            shown.append(["(baseline)", short_value(self.baseline), *empty])
        shown += [[f"({name})", short_value(score), *empty] for name, score in self.simple.items()]
        ranked = {standing.model for standing in self.standings}
        failed = [model for model in self.ladder.plan.models if model not in ranked]
        return [*shown, *([model, "failed" if self._reason(model) else "not trained", *empty] for model in failed)]

    @property
    def tested(self) -> bool:
        """Whether the test split was measured with all runs that have a score."""
        runs = [self.ladder.run_of(trial) for trial in self.ladder.ranked]
        return bool(runs) and all("test" in run.metrics() for run in runs)

    def lines(self) -> list[str]:
        """Say in words what the scores tell."""
        if not self.standings:
            return ["no model has a score", *self.ladder.failures()]
        best, *others = self.standings
        apart = [standing.model for standing in others if standing.told_apart]
        lines = [f"best by {self.ladder.objective}: {best.model}"]
        if apart:
            lines.append(f"significantly worse than {best.model} (p < {1 - LEVEL:.2g}): {', '.join(apart)}")
        lines += [_cannot_tell(best, standing) for standing in others if not standing.told_apart]
        return [*lines, *self.ladder.failures(), f"with the seed vary {self.ladder.varying}"]

    def frame(self) -> pd.DataFrame:
        """Return a table with one row per training run: its model, seed, metrics, parameters and seconds."""
        rows = []
        for trial in self.ladder.trials:
            figures = trial.figures or {}
            row = {"run": trial.number, **trial.values, self.ladder.objective: trial.score}
            rows.append({**row, **figures, **self._test_figures(trial), "failed": trial.reason})
        return pd.DataFrame(rows).dropna(axis="columns", how="all")

    def test_scores(self, model: str) -> list[float]:
        """Return the test scores of a model by seed."""
        return [self.ladder.run_of(each).metrics()["test"][self.ladder.metric] for each in self.ladder.scored(model)]

    def _test_figures(self, trial: Trial) -> dict[str, float]:
        if not self.tested or trial.score is None:
            return {}
        return {f"test.{name}": value for name, value in self.ladder.run_of(trial).metrics()["test"].items()}

    def _row(self, standing: Standing) -> list[str]:
        trials = self.ladder.scored(standing.model)
        figures = [trial.figures or {} for trial in trials]
        against, planned = standing.best_against_it, self.ladder.plan.seeds
        test = [_with_reach(mean_interval(self.test_scores(standing.model)))] if self.tested else []
        return [
            standing.model,
            _with_reach(standing.mean),
            *test,
            str(standing.seeds) if standing.seeds == planned else f"{standing.seeds} of {planned}",
            f"{int(figures[0]['parameters']):,}",
            short_value(float(np.mean([each["seconds"] for each in figures]))),
            _superiority(against.superiority) if against else "",
            (f"{standing.p:.2g}" + (" *" if standing.told_apart else "")) if against else "",
        ]

    def _reason(self, model: str) -> str | None:
        return next((each.reason for each in self.ladder.trials if each.values["model"] == model and each.reason), None)


def results_of(ladder: Ladder) -> Results:
    """Say what the scores of a comparison tell; baselines are the mean over the splits of the seeds."""
    runs = [ladder.run_of(trial) for trial in ladder.ranked]
    levels = [run.trivial().get(ladder.metric, math.nan) for run in runs]
    baseline = float(np.mean(levels)) if levels else math.nan
    return Results(ladder, judge(ladder.scores(), ladder.direction, ladder.overlap), baseline, ladder.simple)


def write_comparison(results: Results) -> None:
    """Write `runs.csv`, `table.md`, the page and, if any model has a score, `best.yaml` and the pictures."""
    folder = results.ladder.folder
    write_text(folder.table, results.frame().to_csv(index=False))
    write_text(folder.markdown, in_markdown(results))
    if results.standings:
        best = results.ladder.candidates[results.standings[0].model]
        write_text(folder.best, results.ladder.space.config(best).to_yaml())
        with glyphs_missed():
            write_pictures(folder.report, pictures(results.ladder, results.standings, results.baseline))
    told = results.heads, results.rows, results.lines(), _about(results)
    write_comparison_page(results.ladder, *told, EXPLAINED)


def in_markdown(results: Results) -> str:
    """Return the table and what it tells as Markdown."""
    said = "\n".join(f"- {line}" for line in results.lines())
    return f"{_about(results)}.\n\n{markdown(results.heads, results.rows)}\n\n{EXPLAINED}\n\n{said}\n"


def _about(results: Results) -> str:
    plan = results.ladder.plan
    budget = plan.budget or f"{results.ladder.base.training['epochs']} epochs"
    tuned = f", hyperparameters from {counted(plan.tune_trials, 'trial')} each" if plan.tune_trials else ""
    counts = f"{counted(len(plan.models), 'model')}, {counted(plan.seeds, 'seed')}"
    return f"{counts}, budget of each training: {budget}{tuned}"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _cannot_tell(best: Standing, standing: Standing) -> str:
    more = what_would_tell(standing.seeds, standing.seeds_needed)
    return f"not significantly different from {best.model}: {standing.model} (p {standing.p:.2g}; {more})"


def _with_reach(mean: Interval) -> str:
    """Write a mean over seeds; its interval is symmetric."""
    reach = short_value(mean.high - mean.value) if math.isfinite(mean.high) else "unknown"
    return f"{short_value(mean.value)} ± {reach}"


def _superiority(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
