"""Train a model by Keras's own `fit`: validate, keep the best, checkpoint, stop early, go on after an interruption."""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import keras
import numpy as np
from pydantic import Field

from pipelines.batches import Batches
from pipelines.checkpoints import Checkpoint, Weights
from pipelines.errors import UserError
from pipelines.evaluation import Evaluator
from pipelines.execution import Execution, resolve_execution
from pipelines.progress import Progress
from pipelines.run import Run
from pipelines.starts import StartedModel, Thaw

Epochs = Annotated[int, Field(ge=1, description="how often each training example is used at the most")]
Patience = Annotated[
    int | None,
    Field(ge=1, description="epochs without a better `monitor` before training stops; null: never stop early"),
]
HowExecuted = Annotated[
    Execution | Literal["auto"], Field(description="XLA and steps per execution; auto decides by architecture")
]
AverageEpochs = Annotated[
    int,
    Field(
        ge=1,
        description="answer with the mean of the weights after so many last epochs (Vaswani et al. 2017, section 6.1);"
        " 1: with the last",
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
    *,
    epochs: Epochs,
    monitor: str,
    patience: Patience,
    execution: HowExecuted,
    average_epochs: AverageEpochs = 1,
) -> None:
    """Fit `model` and leave it with the weights of its best epoch by `monitor`.

    `optimizer` is called with (epochs, steps_per_epoch). The run's last checkpoint, where it has one, is taken up.
    `until_epoch` ends training there, though the schedule of the learning rate goes on to `epochs`.

    Raises:
        UserError: where the loss becomes NaN or infinite.
    """
    execution = resolve_execution(execution, model, batches.steps_per_epoch, batches.varying)
    model.compile(
        optimizer(epochs, batches.steps_per_epoch), loss, run_eagerly=False, auto_scale_loss=False, **execution
    )
    model.optimizer.build(model.trainable_variables)
    keeper = Keeper(run, evaluator, monitor, patience, average_epochs)
    keeper.set_model(model)
    keeper.take_up()
    first_epoch, last_epoch = len(keeper.history), min(epochs, until_epoch or epochs)
    if not model.trainable_variables and not keeper.history:  # nothing to learn by steps: one epoch of none
        keeper.on_train_begin()
        keeper.on_epoch_end(0, {"loss": float(model.test_on_batch(*next(iter(batches.stream(0)))))})
    elif not keeper.finished and first_epoch < last_epoch:
        board = keras.callbacks.TensorBoard(run.logs, write_graph=False)
        thaw = [Thaw()] if isinstance(model, StartedModel) else []
        model.fit(
            batches.stream(first_epoch * batches.steps_per_epoch),
            epochs=last_epoch,
            initial_epoch=first_epoch,
            steps_per_epoch=batches.steps_per_epoch,
            shuffle=False,  # the stream shuffles
            verbose=0,
            callbacks=[keeper, board, Progress(epochs, monitor, keeper.history), *thaw],
        )
    keeper.restore_best()


class Keeper(keras.callbacks.Callback):
    """At the end of each epoch: validate, remember the best weights, write a checkpoint, stop when nothing improves.

    One callback instead of Keras's EarlyStopping, ModelCheckpoint, BackupAndRestore and SwapEMAWeights, because none
    of them saves what the others remember, so that a run taken up again would stop at another epoch.
    """

    def __init__(self, run: Run, evaluator: Evaluator, monitor: str, patience: int | None, average_epochs: int):
        super().__init__()
        self.run, self.evaluator, self.monitor, self.patience = run, evaluator, monitor, patience
        self.average_epochs = average_epochs
        self.sign = 1 if evaluator.direction(monitor) == "min" else -1
        self.history: list[dict[str, float]] = []
        self.earlier: list[Weights] = []  # after the epochs that the next one is averaged with
        self.best_weights: Weights = []
        self.finished = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock, or go on with that of the run taken up."""
        self.started = time.perf_counter() - (self.history[-1]["seconds"] if self.history else 0.0)

    @property
    def best_epoch(self) -> int:
        """Give the epoch, counted from 1, with the best `monitor`."""
        values = np.array([self.sign * epoch[self.monitor] for epoch in self.history])
        return 1 + int(np.argmin(np.where(np.isnan(values), np.inf, values)))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Validate with averaged weights where they are averaged, then checkpoint."""
        if not np.isfinite(logs["loss"]):
            problem = f"the loss became {logs['loss']} in epoch {epoch + 1}; a smaller one would help"
            raise UserError("optimizer.learning_rate", problem)
        last = self._weights()
        if self.model.optimizer.use_ema:
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        if self.average_epochs > 1:
            recent = [*self.earlier, self._weights()]
            self._assign([_mean(values) for values in zip(*recent, strict=True)])
            self.earlier = recent[1 - self.average_epochs :]
        logs |= {f"validation.{name}": value for name, value in self.evaluator.validate(self.model).items()}
        if (epoch + 1) & epoch == 0:  # after 1, 2, 4, 8 ... epochs: models change fast at first
            self.keep_samples(epoch + 1)
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        seconds = round(time.perf_counter() - self.started, 2)
        figures = {name: float(value) for name, value in logs.items()}
        self.history.append({"epoch": epoch + 1, "seconds": seconds, **figures})
        logs["best_epoch"] = self.history[-1]["best_epoch"] = self.best_epoch
        if self.best_epoch == epoch + 1:
            self.best_weights = self._weights()
            self.run.save_best(self.best_weights)
        self._assign(last)
        self.finished = self.patience is not None and epoch + 1 - self.best_epoch >= self.patience
        self.model.stop_training = self.finished
        optimizer = [variable.numpy() for variable in self.model.optimizer.variables]
        self.run.save_checkpoint(Checkpoint(last, optimizer, self.earlier, self.history, self.finished))

    def keep_samples(self, epoch: int) -> None:
        """Write what the model answers now, where the task wants that kept."""
        if samples := self.evaluator.sample(self.model):
            self.run.add_samples(epoch, samples)

    def take_up(self) -> None:
        """Restore what the last checkpoint holds, or do nothing where there is none."""
        checkpoint = self.run.load_checkpoint()
        if checkpoint is None:
            return
        weights, optimizer, self.earlier, self.history, self.finished = checkpoint
        self._assign(weights)
        for variable, value in zip(self.model.optimizer.variables, optimizer, strict=True):
            variable.assign(value)
        self.best_weights = self.run.load_best()

    def restore_best(self) -> None:
        """Give the model the weights of its best epoch."""
        self._assign(self.best_weights)

    def _weights(self) -> Weights:
        return [variable.numpy() for variable in self.model.variables]

    def _assign(self, values: Weights) -> None:
        for variable, value in zip(self.model.variables, values, strict=True):
            variable.assign(value)


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """Average a variable; of what is no number to be averaged, such as the state of a generator, take the last."""
    return np.mean(values, axis=0) if np.issubdtype(values[-1].dtype, np.floating) else values[-1]
