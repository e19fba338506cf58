"""Let a run's model teach the model of a config: its soft labels become part of the batches, or of each step's loss."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from pipelines.config.load import Config, load_config
from pipelines.data.batches import Batches, Encoder
from pipelines.errors import UserError
from pipelines.evaluation import Answerer
from pipelines.runs.run import Run
from pipelines.task import Endpoint, Preprocessor, Task
from pipelines.text.sampling import GenerativeModel
from pipelines.trained_model import TrainedModel, load_trained_model
from pipelines.training.distillation import ROW, Distillation, Distilled, Lesson, Taught, distillation, divergence

SETTING = "distill.teacher"


def check_teacher(config: Config) -> None:
    """Check that the run that a config names as teacher, if any, can be one.

    Raises:
        UserError: If the run does not exist, is not finished, or is of another task.
    """
    if config.distill is None:
        return
    try:
        run = Run.open(config.distill["teacher"])
    except UserError as error:
        raise UserError(SETTING, str(error)) from None
    task = load_config(run.config).task
    if task != config.task:
        raise UserError(SETTING, f"{run.folder} is a run of the task {task}, not {config.task}")


def teach(
    settings: Mapping[str, Any],
    task: Task,
    model: keras.Model,
    preprocessor: Preprocessor,
    encoder: Encoder,
    train: pd.DataFrame,
    loss: keras.Loss,
    make_batches: Callable[[pd.DataFrame, Any], Batches],
) -> tuple[Batches, keras.Loss]:
    """Return batches and a loss for training with the teacher of a config's `distill` section.

    The teacher answers each training example once, before training. A generative model has too many soft labels for
    that: there, the teacher answers each mini-batch in the training step. It never becomes a part of the model.
    `encoder` encodes the examples for `model`, which may be the head of the one that `preprocessor` is for.

    Raises:
        UserError: If the teacher does not fit the model or the data.
    """
    wanted = distillation(**settings)
    teacher = load_trained_model(Run(wanted.teacher))
    lesson = task.teach(teacher.model, teacher.preprocessor, preprocessor, wanted.temperature)
    if lesson is None:
        teach_each_step(model, teacher.model, wanted)
        return make_batches(train, encoder), loss
    soft = _soft_labels(teacher, lesson, train)
    batches = make_batches(train.assign(**{ROW: np.arange(len(train), dtype="float64")}), Taught(encoder, soft))
    labels = batches.stream(0).element_spec[1].shape
    return batches, Distilled(loss, lesson, wanted.weight, labels.rank, labels[-1], soft.shape[-1])


def teach_each_step(model: GenerativeModel, teacher: GenerativeModel, settings: Distillation) -> None:
    """Let the training loss of a generative model include its divergence from a teacher, with the same inputs.

    Raises:
        UserError: If one of the models has no scores without a text that it has counted.
    """
    for each, where in ((model, "model"), (teacher, SETTING)):
        if not each.can_distill:
            raise UserError(where, f"the model {each.name} has counts of n-grams, which cannot be distilled")
    plain: Callable[..., Any] = model.compute_loss

    def compute_loss(
        x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> keras.KerasTensor:
        loss = plain(x, y, y_pred, sample_weight, training)
        weights = ops.reshape(sample_weight, (-1,))
        # Padding has no scores worth computing. XLA needs fixed shapes, and batches that have them have no padding.
        places = ops.nonzero(weights)[0] if None in sample_weight.shape else None

        def scores(of: GenerativeModel, outputs: keras.KerasTensor) -> keras.KerasTensor:
            outputs = ops.reshape(outputs, (-1, outputs.shape[-1]))
            return of.output_scores(outputs if places is None else ops.take(outputs, places, axis=0))

        soft = ops.softmax(scores(teacher, teacher(x, training=False)) / settings.temperature)
        apart = divergence(ops.stop_gradient(soft), scores(model, y_pred), settings.temperature)
        weights = weights if places is None else ops.take(weights, places)
        taught = ops.sum(apart * weights) / ops.sum(weights)
        return (1 - settings.weight) * loss + settings.weight * taught

    model.compute_loss = compute_loss


def _soft_labels(teacher: TrainedModel, lesson: Lesson, train: pd.DataFrame) -> Any:
    """Return the soft labels of all training examples, padded with zeros."""
    lacking = [name for name in teacher.preprocessor.signature if name not in train]
    if lacking:
        raise UserError(SETTING, f"the data lacks columns that the teacher needs: {', '.join(lacking)}")
    answer = Endpoint(lambda raw: {"soft": lesson.soft_labels(raw)}, teacher.preprocessor.signature)
    soft = Answerer(answer).answer_table(train)["soft"]
    odd = ~np.isfinite(soft).reshape(len(soft), -1).all(axis=1)
    if odd.any():
        raise UserError(SETTING, f"its answers for {odd.sum():,} training examples are NaN or infinite")
    return soft
