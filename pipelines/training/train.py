"""Train a model with Keras `fit`, with validation, checkpoints, early stopping and resuming."""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import keras
from pydantic import Field

from pipelines.data.batches import Batches
from pipelines.evaluation import Evaluator
from pipelines.runs.run import Run
from pipelines.storage import writing
from pipelines.training.devices import ANY_DEVICES, ONE_DEVICE, Devices, DeviceSettings
from pipelines.training.execution import Deterministic, Execution, be_deterministic, resolve_execution
from pipelines.training.jax_process import BackendName, Exchange, JaxProcess, train_in
from pipelines.training.keeper import Follower, Keeper
from pipelines.training.optimizers import LastUpdate
from pipelines.training.precision import Precision, scale_loss, step_in
from pipelines.training.pretrained import HasPretrained, Unfreeze
from pipelines.training.progress import Progress, say
from pipelines.training.replicas import train_on, without_xla

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
CheckpointMinutes = Annotated[
    float | None,
    Field(
        ge=0,
        description="time between checkpoints within an epoch, from which an interrupted run resumes; null: only at the"
        " end of each epoch",
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
    on: Devices = ONE_DEVICE,
    process: JaxProcess | None = None,
    *,
    epochs: Epochs,
    monitor: str,
    patience: Patience,
    execution: HowExecuted,
    average_epochs: AverageEpochs = 1,
    accumulate_batches: AccumulateBatches = 1,
    precision: Precision = "float32",
    backend: BackendName = "auto",
    devices: DeviceSettings = ANY_DEVICES,
    deterministic: Deterministic = False,
    checkpoint_minutes: CheckpointMinutes = 10.0,
    max_seconds: MaxSeconds = None,
) -> None:
    """Train `model` and restore the weights of its best epoch by `monitor`.

    `optimizer` is called with (epochs, steps_per_epoch, accumulate_batches). Training resumes from the run's last
    checkpoint, if any. `until_epoch` ends it after that epoch, while the learning-rate schedule still spans `epochs`.
    `report` is called with the history after each epoch. Training runs `on` the devices that the settings `devices`
    have led to. If they are those of several workers, all call this, and only the chief validates, writes and reports.
    The `process`, if there is one because of the setting `backend`, takes the training steps.

    Raises:
        UserError: If the loss, the predictions or `monitor` are NaN or infinite, or a file cannot be written.
    """
    if deterministic:
        be_deterministic()
    kind = Keeper if on.chief else Follower
    keeper = kind(run, evaluator, monitor, patience, average_epochs, max_seconds, checkpoint_minutes, on)
    steps, checkpoint = batches.steps_per_epoch, run.load_checkpoint() if on.chief else None
    (first_step,) = on.from_chief(checkpoint.step if checkpoint else 0)
    in_one_go = math.gcd(steps, int(first_step))
    execution = resolve_execution(execution, model, in_one_go, batches.varying, on.replicas > 1 and without_xla(model))
    if process is not None:
        execution = {"jit_compile": False, "steps_per_execution": 1}  # of TensorFlow
        train_in(process, model)
    elif on.replicas > 1:
        train_on(on, model, precision)
    else:
        model.train_step = partial(step_in, model, precision)
    model.compile(
        scale_loss(optimizer(epochs, steps, accumulate_batches), precision),
        loss,
        run_eagerly=False,
        auto_scale_loss=False,
        **execution,
    )
    model.optimizer.build(model.trainable_variables)
    keeper.set_model(model)
    if checkpoint is not None:
        keeper.restore(checkpoint)
    keeper.agree()
    last_epoch = min(epochs, until_epoch or epochs)
    for note in keeper.notes(last_epoch):
        say(note)
    if not model.trainable_variables and not keeper.history:  # no gradient steps: record one epoch without training
        keeper.on_train_begin()
        keeper.on_epoch_end(0, {"loss": float(model.test_on_batch(*next(iter(batches.stream(0)))))})
    while model.trainable_variables and not keeper.finished and len(keeper.history) < last_epoch:
        # An epoch that was interrupted is a fit of its own, which has fewer steps.
        until = len(keeper.history) + 1 if keeper.first_step else last_epoch
        thaw = [Unfreeze()] if isinstance(model, HasPretrained) else []
        shown = [
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: report(keeper.history)),
            keras.callbacks.TensorBoard(run.logs, write_graph=False),
            Progress(epochs, monitor, keeper.history),
        ]
        exchange = [Exchange(process, lambda: keeper.is_due)] if process is not None else []
        last_update = [LastUpdate()] if accumulate_batches > 1 else []  # before the epoch is validated
        with writing(run.logs):  # the other callbacks report their own write errors
            model.fit(
                batches.stream(len(keeper.history) * steps + keeper.first_step),
                epochs=until,
                initial_epoch=len(keeper.history),
                steps_per_epoch=steps - keeper.first_step,
                shuffle=False,  # the stream already shuffles
                verbose=0,
                callbacks=[*exchange, *last_update, keeper, *(shown if on.chief else ()), *thaw],
            )
    keeper.restore_best()
