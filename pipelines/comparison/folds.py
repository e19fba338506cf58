"""Train a model for each fold of a cross-validation, and tell the spread of their test metrics."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from pipelines.config.load import load_config
from pipelines.config.read import read_config
from pipelines.data import Source
from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.runs.run import Run
from pipelines.statistics.seeds import mean_interval
from pipelines.terminal import short_value
from pipelines.tuning.journal import SearchFolder, Trial
from pipelines.tuning.pools import make_pool
from pipelines.tuning.runner import PlannedRunner
from pipelines.tuning.space import Space, make_runs_absolute
from pipelines.tuning.trials import get_ready, run_fold

FOLD = "split.fold"


class Folds(PlannedRunner):
    """A cross-validation in progress: one trial for each fold."""

    work = staticmethod(run_fold)

    def __init__(self, folder: SearchFolder, space: Space, source: Source, say: Callable[[str], None]):
        base = space.config({})
        self.most = base.split["folds"]
        self.say, self.told = say, set[int]()
        super().__init__(folder, space, source, lambda folds: folds.tell(), base, base.training["monitor"])

    @cached_property
    def planned(self) -> list[dict[str, Any]]:
        """The values of all trials, in order."""
        return [{FOLD: number} for number in range(self.most or 0)]

    def tell(self) -> None:
        """Say how each fold has ended, once."""
        metric = self.objective.replace("validation.", "test.")
        for trial in self.ended:
            if trial.number not in self.told and trial.number not in self.taken_up:
                self.told.add(trial.number)
                figures = trial.figures or {}
                result = f"failed: {trial.reason}" if trial.reason else f"{metric} {short_value(figures[metric])}"
                self.say(f"fold {trial.values[FOLD] + 1}/{self.most}  {result}  {trial.seconds:.0f} s")

    def table(self) -> pd.DataFrame:
        """Return one row per fold: its number, its examples, the metrics of its test split, and its seconds."""
        rows = []
        for trial in self.ended:
            counts = self._run(trial).data()["examples"] if trial.reason is None else {}
            figures = {name: value for name, value in (trial.figures or {}).items() if name.startswith("test.")}
            seconds = (trial.figures or {}).get("seconds")
            row = {"fold": trial.values[FOLD], **counts, **figures, "seconds": seconds, "failed": trial.reason}
            rows.append(row)
        return pd.DataFrame(rows).dropna(axis="columns", how="all")

    def spread(self) -> dict[str, dict[str, float]]:
        """Return mean, standard deviation and 95 % interval of the mean of each test metric over the folds.

        The interval is wider than that of independent values, because the folds share training examples (Nadeau and
        Bengio 2003).
        """
        table = self.table()
        overlap = float((table["test"] / table["train"]).mean())
        found = {}
        for name in table.columns[table.columns.str.startswith("test.")]:
            values = table[name].dropna().to_numpy("float64")
            mean = mean_interval(values, overlap)
            deviation = float(values.std(ddof=1)) if len(values) > 1 else np.nan
            found[name.removeprefix("test.")] = {
                "mean": mean.value,
                "standard_deviation": deviation,
                "low": mean.low,
                "high": mean.high,
            }
        return found

    def _run(self, trial: Trial) -> Run:
        return self.folder.trial(trial.number)


def cross_validate(run: Run, source: Source, say: Callable[[str], None] = lambda line: None) -> None:
    """Train the folds of a finished run that are not trained yet, and write their metrics with the spread to the run.

    A run whose split has no folds, or is that of a fold, is left alone. Folds of a run that has since been trained for
    more epochs are trained again. The caller holds the lock of the run.

    Raises:
        UserError: If every fold failed.
    """
    unresolved = read_config(run.config)
    make_runs_absolute(unresolved.document)
    split = load_config(run.config).split
    if not split.get("folds") or split.get("fold") is not None:
        return
    folder = SearchFolder(run.folds.resolve())
    if folder.started and read_config(folder.config).document != unresolved.document:
        run.drop_folds()
    folder.begin(unresolved, run.data()["fingerprint"])
    folds = Folds(folder, Space(unresolved, {}), source.absolute(), say)
    if len(folds.ended) < len(folds.planned):
        pool = make_pool(1, None, partial(get_ready, folder.config, None, code=loaded_code()))
        try:
            folds.run(pool, 1)
        finally:
            pool.terminate()
    if not folds.ranked:
        raise UserError("split.folds", f"every fold failed; the first: {folds.ended[0].reason}")
    run.write_folds(folds.table(), folds.spread())
