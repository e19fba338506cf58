"""Show training progress: a live line on a terminal, occasional lines in a log file."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LOG_SECONDS = 5.0  # minimum time between two lines if stderr is not a terminal


def say(line: str) -> None:
    """Print a line to stderr."""
    Console(stderr=True).print(line, soft_wrap=True, highlight=False, markup=False)


class Progress(keras.callbacks.Callback):
    """Show the metrics of each epoch, the best value so far and the remaining time."""

    def __init__(self, epochs: int, monitor: str, history: list[dict[str, float]], console: Console | None = None):
        super().__init__()
        self.epochs, self.monitor, self.history = epochs, monitor, history
        self.console = console or Console(stderr=True)
        columns = (
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
        )
        self.bar = Bar(*columns, console=self.console, transient=True)
        self.last_line = -LOG_SECONDS

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the live line if stderr is a terminal."""
        self.started = time.monotonic()
        if self.console.is_terminal:
            self.bar.start()
            self.line = self.bar.add_task("", total=self.epochs, figures="compiling")

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        """Show the metrics of the epoch."""
        best = self.history[logs["best_epoch"] - 1][self.monitor]
        names = dict.fromkeys(["loss", "validation.loss", self.monitor])
        figures = "  ".join(f"{name} {logs[name]:,.4g}" for name in names)
        figures += f"  best {best:,.4g} (epoch {logs['best_epoch']})"
        now = time.monotonic()
        if self.console.is_terminal:
            self.bar.update(self.line, completed=epoch + 1, figures=figures)
        elif now - self.last_line >= LOG_SECONDS or epoch + 1 == self.epochs or self.model.stop_training:
            self.last_line = now
            self.console.print(
                f"epoch {epoch + 1}/{self.epochs}  {figures}  {now - self.started:.0f} s",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )

    def on_train_end(self, logs: dict | None = None) -> None:
        """Remove the live line."""
        if self.console.is_terminal:
            self.bar.stop()
