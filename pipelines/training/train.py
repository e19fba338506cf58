"""Train a model with Keras `fit`, with validation, checkpoints, early stopping and resuming."""

import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Annotated, Any, Literal

import keras
import numpy as np
from pydantic import Field

from pipelines.data.batches import Batches
from pipelines.errors import UserError, counted
from pipelines.evaluation import Evaluator, NotFinite
from pipelines.runs.checkpoints import Checkpoint, Weights
from pipelines.runs.run import Run
from pipelines.storage import writing
from pipelines.training.execution import Execution, resolve_execution
from pipelines.training.optimizers import LastUpdate
from pipelines.training.pretrained import HasPretrained, Unfreeze
from pipelines.training.progress import Progress, say

Epochs = Annotated[int, Field(ge=1, description="maximum number of passes over the training examples")]
Patience = Annotated[
    int | None,
    Field(
        ge=1,
        description="number of epochs without a better `monitor`, or an equal one with a lower validation.loss, before"
        " training stops; epochs at the start do not count while `monitor` stays at its first value, no better than the"
        " baseline, and the training loss still falls; null: never stop early",
    ),
]
HowExecuted = Annotated[
    Execution | Literal["auto"],
    Field(description="XLA and steps per execution; auto: chosen by architecture, inputs and device"),
]
AverageEpochs = Annotated[
    int,
    Field(
        ge=1,
        description="number of last epochs whose weights are averaged (Vaswani et al. 2017, section 6.1); 1: no"
        " averaging",
    ),
]
AccumulateBatches = Annotated[
    int,
    Field(
        ge=1,
        description="number of mini-batches per update of the weights, which follows the mean of their gradients: a"
        " larger batch in the same memory. The last update of an epoch may have fewer",
    ),
]
MaxSeconds = Annotated[
    float | None,
    Field(
        gt=0,
        description="training stops after the epoch that reaches this time, while the schedule still spans `epochs`;"
        " null: no limit",
    ),
]


def train(
    model: keras.Model,
    loss: keras.Loss,
    optimizer: Any,
    batches: Batches,
    evaluator: Evaluator,
    run: Run,
    until_epoch: int | None = None,
    report: Callable[[list[dict[str, float]]], None] = lambda history: None,
    *,
    epochs: Epochs,
    monitor: str,
    patience: Patience,
    execution: HowExecuted,
    average_epochs: AverageEpochs = 1,
    accumulate_batches: AccumulateBatches = 1,
    max_seconds: MaxSeconds = None,
) -> None:
    """Train `model` and restore the weights of its best epoch by `monitor`.

    `optimizer` is called with (epochs, steps_per_epoch, accumulate_batches). Training resumes from the run's last
    checkpoint, if any. `until_epoch` ends it after that epoch, while the learning-rate schedule still spans `epochs`.
    `report` is called with the history after each epoch.

    Raises:
        UserError: If the loss, the predictions or `monitor` are NaN or infinite, or a file cannot be written.
    """
    execution = resolve_execution(execution, model, batches.steps_per_epoch, batches.varying)
    model.compile(
        optimizer(epochs, batches.steps_per_epoch, accumulate_batches),
        loss,
        run_eagerly=False,
        auto_scale_loss=False,
        **execution,
    )
    model.optimizer.build(model.trainable_variables)
    keeper = Keeper(run, evaluator, monitor, patience, average_epochs, max_seconds)
    keeper.set_model(model)
    keeper.restore_checkpoint()
    first_epoch, last_epoch = len(keeper.history), min(epochs, until_epoch or epochs)
    for note in keeper.notes(last_epoch):
        say(note)
    if not model.trainable_variables:  # no gradient steps are needed: record one epoch without training
        if not keeper.history:
            keeper.on_train_begin()
            keeper.on_epoch_end(0, {"loss": float(model.test_on_batch(*next(iter(batches.stream(0)))))})
    elif not keeper.finished and first_epoch < last_epoch:
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: report(keeper.history))
        board = keras.callbacks.TensorBoard(run.logs, write_graph=False)
        thaw = [Unfreeze()] if isinstance(model, HasPretrained) else []
        last_update = [LastUpdate()] if accumulate_batches > 1 else []  # before the epoch is validated
        with writing(run.logs):  # the other callbacks report their own write errors
            model.fit(
                batches.stream(first_epoch * batches.steps_per_epoch),
                epochs=last_epoch,
                initial_epoch=first_epoch,
                steps_per_epoch=batches.steps_per_epoch,
                shuffle=False,  # the stream already shuffles
                verbose=0,
                callbacks=[*last_update, keeper, told, board, Progress(epochs, monitor, keeper.history), *thaw],
            )
    keeper.restore_best()


class Keeper(keras.callbacks.Callback):
    """Validate, keep the best weights, write a checkpoint and stop early, at the end of each epoch.

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
    ):
        super().__init__()
        self.run, self.evaluator, self.monitor, self.patience = run, evaluator, monitor, patience
        self.average_epochs, self.max_seconds = average_epochs, max_seconds
        self.sign = 1 if evaluator.direction(monitor) == "min" else -1
        self.history: list[dict[str, float]] = []
        self.earlier: list[Weights] = []  # weights of previous epochs, to average with the next
        self.best_weights: Weights = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock, or continue it for a resumed run."""
        self.started = time.perf_counter() - (self.history[-1]["seconds"] if self.history else 0.0)

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
        last = self._weights()
        if self.model.optimizer.use_ema:
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        if self.average_epochs > 1:
            recent = [*self.earlier, self._weights()]
            self._assign([_mean(values) for values in zip(*recent, strict=True)])
            self.earlier = recent[1 - self.average_epochs :]
        logs |= {f"validation.{name}": value for name, value in self._validate(epoch + 1, rate).items()}
        if (epoch + 1) & epoch == 0:  # after 1, 2, 4, 8, ... epochs, because models change fastest at the start
            self.keep_samples(epoch + 1)
        logs["learning_rate"] = rate
        seconds = round(time.perf_counter() - self.started, 2)
        figures = {name: float(value) for name, value in logs.items()}
        self.history.append({"epoch": epoch + 1, "seconds": seconds, **figures})
        logs["best_epoch"] = self.history[-1]["best_epoch"] = self.best_epoch
        self._check_monitor()
        if self.history[-1]["best_epoch"] == epoch + 1:
            self.best_weights = self._weights()
            self.run.save_best(self.best_weights)
        self._assign(last)
        self.model.stop_training = self.finished
        optimizer = [variable.numpy() for variable in self.model.optimizer.variables]
        self.run.save_checkpoint(Checkpoint(last, optimizer, self.earlier, self.history))

    def keep_samples(self, epoch: int) -> None:
        """Write sample predictions of the current model, if the task keeps any."""
        if samples := self.evaluator.sample():
            self.run.add_samples(epoch, samples)

    def restore_checkpoint(self) -> None:
        """Restore the last checkpoint, or do nothing if there is none."""
        checkpoint = self.run.load_checkpoint()
        if checkpoint is None:
            return
        weights, optimizer, self.earlier, self.history = checkpoint
        self._assign(weights)
        for variable, value in zip(self.model.optimizer.variables, optimizer, strict=True):
            variable.assign(value)
        self.best_weights = self.run.load_best()

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

    def _weights(self) -> Weights:
        return [variable.numpy() for variable in self.model.variables]

    def _assign(self, values: Weights) -> None:
        for variable, value in zip(self.model.variables, values, strict=True):
            variable.assign(value)


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """Average a float variable; return the last value of others, such as the state of a random generator."""
    return np.mean(values, axis=0) if np.issubdtype(values[-1].dtype, np.floating) else values[-1]
