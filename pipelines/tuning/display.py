"""Show a search as a live table or, if there is no terminal, as a line for each trial that ends."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.errors import counted
from pipelines.terminal import table, visible
from pipelines.tuning.journal import Trial
from pipelines.tuning.runner import Runner

ROWS = 12  # rows of the table: the running trials, and the last ones that ended


class Display:
    """Show the trials, their values and objective, the best so far, and the time left."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=2, transient=True)
        self.told: set[tuple[Path, int]] = set()  # folder of a search, and number of a trial

    def __enter__(self) -> Self:
        """Start the live table if there is a terminal."""
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the live table."""
        self.live.stop()

    def say(self, line: str) -> None:
        """Print a line that stays, above the table."""
        self.console.print(Text(visible(line)), soft_wrap=True)

    def show(self, search: Runner) -> None:
        """Update the table, or print a line for each trial that has ended since the last call."""
        if self.console.is_terminal:
            self.live.update(self._table(search))
            return
        for trial in search.ended:
            key = (search.folder.folder, trial.number)
            if key not in self.told and trial.number not in search.taken_up:
                self.told.add(key)
                parts = (
                    f"trial {trial.number}",
                    self._result(search, trial),
                    self.values(trial),
                    self._summary(search),
                )
                self.say("  ".join(parts))

    @staticmethod
    def values(trial: Trial) -> str:
        """Return a trial's values as text, each with the last part of its path."""
        return ", ".join(
            f"{path.rpartition('.')[2]} {value:.4g}"
            if isinstance(value, float)
            else f"{path.rpartition('.')[2]} {value}"
            for path, value in trial.values.items()
        )

    def _table(self, search: Runner) -> Table:
        under_way = [search.trials[number] for number in search.running]
        rows = []
        for trial in [*search.ended[-max(1, ROWS - len(under_way)) :], *under_way]:
            running = trial.number in search.running
            seconds = time.monotonic() - search.started[trial.number] if running else trial.seconds
            result = "running" if running else self._result(search, trial)
            rows.append([str(trial.number), self.values(trial), result, f"{seconds:.0f}"])
        return table(["trial", "values", search.objective, "seconds"], rows, self._summary(search))

    def _result(self, search: Runner, trial: Trial) -> str:
        if trial.reason is not None:
            return f"failed: {trial.reason}"
        best = search.ranked[0].number == trial.number
        repeats = f" (same as trial {trial.repeats})" if trial.repeats is not None else ""
        return f"{trial.score:,.4g}{' best' if best else ''}{repeats}"

    def _summary(self, search: Runner) -> str:
        best = (
            f"best {search.ranked[0].score:,.4g} (trial {search.ranked[0].number})" if search.ranked else "no score yet"
        )
        left = search.seconds_left
        remaining = f"  {left / 60:.0f} min left" if left is not None else ""
        return f"{counted(len(search.ended), 'trial')}  {best}{remaining}"
