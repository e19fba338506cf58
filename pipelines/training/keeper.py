"""Keep what training goes on from: validate, remember the best weights, write checkpoints and stop early."""

import time
from collections.abc import Sequence
from itertools import takewhile

import keras
import numpy as np

from pipelines.errors import UserError, counted
from pipelines.evaluation import Evaluator, NotFinite
from pipelines.runs.checkpoints import Checkpoint, Weights
from pipelines.runs.run import Run
from pipelines.training.devices import ONE_DEVICE, Devices
from pipelines.training.precision import unscaled


class Keeper(keras.callbacks.Callback):
    """Validate, keep the best weights, write a checkpoint and stop early, at the end of each epoch.

    Within an epoch, a checkpoint is written every `checkpoint_minutes`.
    This callback replaces Keras's EarlyStopping, ModelCheckpoint, BackupAndRestore and SwapEMAWeights. None of these
    saves the state of the others, so a resumed run would stop at a different epoch.
    """

    def __init__(
        self,
        run: Run,
        evaluator: Evaluator,
        monitor: str,
        patience: int | None,
        average_epochs: int,
        max_seconds: float | None = None,
        checkpoint_minutes: float | None = None,
        devices: Devices = ONE_DEVICE,
    ):
        super().__init__()
        self.run, self.evaluator, self.monitor, self.patience = run, evaluator, monitor, patience
        self.average_epochs, self.max_seconds, self.devices = average_epochs, max_seconds, devices
        self.checkpoint_seconds = np.inf if checkpoint_minutes is None else 60 * checkpoint_minutes
        self.sign = 1 if evaluator.direction(monitor) == "min" else -1
        self.history: list[dict[str, float]] = []
        self.earlier: list[Weights] = []  # weights of previous epochs, to average with the next
        self.best_weights: Weights = []
        self.last_weights: Weights = []  # not averaged
        self.first_step, self.totals = 0, Weights()  # where the restored checkpoint is in its epoch
        self.seconds = 0.0  # of training, up to the last checkpoint

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock, or continue it for a resumed run."""
        self.written = time.perf_counter()
        self.started = self.written - self.seconds

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Continue the mean loss of an epoch that was interrupted."""
        for variable, value in zip(self.model.metrics_variables, self.totals, strict=bool(self.totals)):
            variable.assign(value)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Write a checkpoint if the last one is old; `batch` is counted from where the epoch was entered."""
        if self.is_due and batch + 1 < self.params["steps"]:
            totals = [variable.numpy() for variable in self.model.metrics_variables]
            self._write_checkpoint(self._weights(), self.first_step + batch + 1, totals)

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint within an epoch."""
        return time.perf_counter() - self.written >= self.checkpoint_seconds

    @property
    def best_epoch(self) -> int:
        """The 1-based epoch with the best `monitor`; ties are broken by the lowest validation.loss."""
        *earlier, last = self.history
        best = earlier[int(earlier[-1]["best_epoch"]) - 1] if earlier else last
        return int(last["epoch"] if self._rank(last) < self._rank(best) else best["epoch"])

    @property
    def finished(self) -> bool:
        """Whether patience or time is used up."""
        return self._out_of_time or self._out_of_patience

    @property
    def _out_of_time(self) -> bool:
        return self.max_seconds is not None and bool(self.history) and self.history[-1]["seconds"] >= self.max_seconds

    @property
    def _out_of_patience(self) -> bool:
        if self.patience is None or not self.history:
            return False
        return len(self.history) - max(self.history[-1]["best_epoch"], self._epochs_ignored) >= self.patience

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Validate, with averaged weights if averaging is on, then write a checkpoint."""
        rate = float(self.model.optimizer.learning_rate)
        if not np.isfinite(logs["loss"]):
            problem = f"the loss became {logs['loss']} in epoch {epoch + 1} at a learning rate of {rate:.3g}"
            raise UserError("optimizer.learning_rate", f"{problem}; use a smaller learning rate")
        last = self.last_weights = self._weights()
        if unscaled(self.model.optimizer).use_ema:
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        if self.average_epochs > 1:
            recent = [*self.earlier, self._weights()]
            self._assign([_mean(values) for values in zip(*recent, strict=True)])
            self.earlier = recent[1 - self.average_epochs :]
        logs |= {f"validation.{name}": value for name, value in self._validate(epoch + 1, rate).items()}
        if (epoch + 1) & epoch == 0:  # after 1, 2, 4, 8, ... epochs, because models change fastest at the start
            self.keep_samples(epoch + 1)
        logs["learning_rate"] = rate
        seconds = self._clock()
        figures = {name: float(value) for name, value in logs.items()}
        self.history.append({"epoch": epoch + 1, "seconds": seconds, **figures})
        logs["best_epoch"] = self.history[-1]["best_epoch"] = self.best_epoch
        self._check_monitor()
        if self.history[-1]["best_epoch"] == epoch + 1:
            self.best_weights = self._weights()
            self.run.save_best(self.best_weights)
        self._assign(last)
        self.first_step, self.totals = 0, []
        self._write_checkpoint(last)
        self.model.stop_training = self.finished
        self.devices.from_chief(self.finished)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Undo the averaging of weights that Keras does at the end of its `fit`, which may be called again."""
        self._assign(self.last_weights)

    def keep_samples(self, epoch: int) -> None:
        """Write sample predictions of the current model, if the task keeps any."""
        if samples := self.evaluator.sample():
            self.run.add_samples(epoch, samples)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state of a checkpoint."""
        self._assign(checkpoint.weights)
        for variable, value in zip(self.model.optimizer.variables, checkpoint.optimizer, strict=True):
            variable.assign(value)
        self.earlier, self.history, self.seconds = checkpoint.earlier, checkpoint.history, checkpoint.seconds
        self.first_step, self.totals = checkpoint.step, checkpoint.totals
        if self.history:
            self.best_weights = self.run.load_best()

    def agree(self) -> None:
        """Let all workers start where the chief does."""
        self.devices.from_chief(len(self.history), self.first_step, self.finished)
        self.devices.share([*self.model.variables, *self.model.optimizer.variables])

    def notes(self, last_epoch: int) -> list[str]:
        """Return notes for a run resumed with more epochs: patience or time is used up, or the learning rate jumps."""
        if not self.history or len(self.history) >= last_epoch:
            return []
        if self.finished:
            stopped = f"training stopped early in epoch {len(self.history)} and does not continue"
            if self._out_of_time:
                return [f"{stopped}, because it took more than the {self.max_seconds:g} s of training.max_seconds"]
            return [f"{stopped}; set training.patience to more than {self.patience}, or to null"]
        before, now = self.history[-1]["learning_rate"], float(self.model.optimizer.learning_rate)
        if np.isclose(now, before, rtol=1e-3, atol=0):
            return []
        jump = f"the learning rate jumps from {before:.3g} to {now:.3g} in epoch {len(self.history) + 1}"
        return [f"{jump}, because the schedule now spans {last_epoch} epochs"]

    def restore_best(self) -> None:
        """Load the weights of the best epoch into the model."""
        self._assign(self.best_weights)

    @property
    def _epochs_ignored(self) -> int:
        """Number of first epochs that patience ignores: `monitor` is stuck at a baseline value while the loss falls."""
        first = self.history[0][self.monitor]
        if self.evaluator.beats_trivial(self.monitor, first):
            return 0
        still = list(takewhile(lambda epoch: epoch[self.monitor] == first, self.history))
        return 1 + int(np.argmin([epoch["loss"] for epoch in still]))

    def _rank(self, epoch: dict[str, float]) -> tuple[float, ...]:
        """Return a sort key: lower is better, and values that are not finite come last."""
        values = (self.sign * epoch[self.monitor], epoch["validation.loss"])
        return tuple(value if np.isfinite(value) else np.inf for value in values)

    def _validate(self, epoch: int, rate: float) -> dict[str, float]:
        try:
            return self.evaluator.validate(self.model)
        except NotFinite as error:
            if not error.all and all(np.isfinite(values).all() for values in self._weights()):
                problem = f"{error}, although all weights are finite"
                raise UserError("validation", f"{problem}; check the inputs of these examples") from None
            problem = f"the predictions became NaN or infinite in epoch {epoch} at a learning rate of {rate:.3g}"
            raise UserError("optimizer.learning_rate", f"{problem}; use a smaller learning rate") from None

    def _check_monitor(self) -> None:
        """Raise if `monitor` is not finite in the first epoch, because it will not become finite later."""
        value = self.history[0][self.monitor]
        if np.isfinite(value):
            return
        rows, targets = self.evaluator.odd_labels(), ""
        if len(rows):
            shown = self.evaluator.examples.iloc[rows[0]][self.evaluator.targets].to_dict()
            count = f"{counted(len(rows), 'example')} without a finite label"
            targets = f"; the validation split has {count} (first: example {rows[0] + 1}, {shown})"
        mend = "check the labels, or choose another metric"
        raise UserError(
            "training.monitor", f"{self.monitor} is {value}, so no best epoch can be chosen{targets}; {mend}"
        )

    def _write_checkpoint(self, weights: Weights, step: int = 0, totals: Weights | None = None) -> None:
        self.seconds, self.written = self._clock(), time.perf_counter()
        optimizer = [variable.numpy() for variable in self.model.optimizer.variables]
        state = weights, optimizer, self.earlier, self.history, step, totals or [], self.seconds
        self.run.save_checkpoint(Checkpoint(*state))

    def _clock(self) -> float:
        """Return the seconds that training has taken so far, in all its parts."""
        return round(time.perf_counter() - self.started, 2)

    def _weights(self) -> Weights:
        return [variable.numpy() for variable in self.model.variables]

    def _assign(self, values: Weights) -> None:
        for variable, value in zip(self.model.variables, values, strict=True):
            variable.assign(value)


class Follower(Keeper):
    """The `Keeper` of a worker that is not the chief: it validates and writes nothing, and stops when the chief says.

    Its `history` has an empty entry for each epoch.
    """

    finished = False

    def agree(self) -> None:
        """Start where the chief does."""
        epochs, step, finished = self.devices.from_chief(0, 0, 0)
        self.history, self.first_step, self.finished = [{} for _ in range(int(epochs))], int(step), bool(finished)
        self.devices.share([*self.model.variables, *self.model.optimizer.variables])

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Leave checkpoints to the chief."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Wait for the chief to validate."""
        self.last_weights, self.first_step = self._weights(), 0
        self.history.append({})
        (finished,) = self.devices.from_chief(0)
        self.finished = self.model.stop_training = bool(finished)

    def notes(self, last_epoch: int) -> list[str]:
        """Return no notes."""
        return []

    def restore_best(self) -> None:
        """Leave the best weights to the chief."""


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """Average a float variable; return the last value of others, such as the state of a random generator."""
    return np.mean(values, axis=0) if np.issubdtype(values[-1].dtype, np.floating) else values[-1]
