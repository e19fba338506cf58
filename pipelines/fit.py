"""The whole flow on one screen: from a config to a trained model with its metrics in a run folder."""

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.build import build
from pipelines.config.load import Config, load_config
from pipelines.data import Dataset, load_dataset
from pipelines.data.summary import Summary
from pipelines.evaluation import Answerer, Evaluator, measure, result_warnings
from pipelines.report import write_report
from pipelines.runs.run import Run
from pipelines.task import Endpoint, Preprocessor, Task
from pipelines.tasks import load_task
from pipelines.training.optimizers import OPTIMIZERS, SCHEDULES
from pipelines.training.pretrained import load_start
from pipelines.training.train import train


@dataclass(frozen=True)
class Fitted:
    """A trained model with all that it takes to answer raw inputs."""

    config: Config
    task: Task
    preprocessor: Preprocessor
    model: keras.Model
    reading: Mapping[str, Any]  # how the source read its files: those given to `predict` are read so too

    @cached_property
    def answerer(self) -> Answerer:
        """Answer examples, as measured."""
        return Answerer(
            Endpoint(partial(self.task.respond, self.model, self.preprocessor), self.preprocessor.signature)
        )

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """Name what an export answers."""
        return self.task.endpoints(self.model, self.preprocessor)


def fit(config: Config, run: Run, show: Callable[[Summary], None] = lambda summary: None) -> Fitted:
    """Train the model that `config` describes, measure it on every split and write all of it to `run`.

    An interrupted run is taken up at its last checkpoint, a finished one too where `config` has more epochs. `show` is
    given the summary of the data before training.

    Raises:
        UserError: where the data cannot be used, training diverges, or another process trains in this folder.
    """
    with run.locked():
        dataset = load_run_dataset(config)
        preprocessor = prepare(config, dataset)
        show(_summary(dataset, preprocessor))
        fitted = learn(config, run, dataset, preprocessor)
        metrics = {}
        for split in ("train", "validation", "test"):
            examples = fitted.task.measured(split, dataset[split])
            answers = fitted.answerer.answer_table(examples)
            metrics[split] = measure(fitted.task, split, examples, answers)
        run.save_predictions(fitted.task.predictions(examples, answers))
        monitor = config.training["monitor"]
        warnings = result_warnings(fitted.task, monitor, metrics, run.trivial(), run.best_epoch())
        warnings += write_report(run, fitted, examples, answers)
        run.save_model(fitted.model, preprocessor.state)
        run.finish(metrics, fitted.task.signatures(examples), warnings, config.to_yaml())
    return fitted


def prepare(config: Config, dataset: Dataset) -> Preprocessor:
    """Learn from the training split what turns raw examples into tensors."""
    _seed_everything(config.seed)
    preprocessor = load_task(config.task).preprocessor(**config.preprocessing)
    preprocessor.adapt(dataset.train)
    return preprocessor


def learn(
    config: Config, run: Run, dataset: Dataset, preprocessor: Preprocessor, until_epoch: int | None = None
) -> Fitted:
    """Train the model that `config` describes, choosing by the validation split; the test split stays untouched.

    `until_epoch` ends training early, with all that it takes to go on.

    Raises:
        UserError: where the data cannot be used or training diverges.
    """
    task = load_task(config.task)
    _seed_weights(config.seed)
    model = build_model(config, task, preprocessor)
    load_start(model)
    batches = task.batches(dataset.train, preprocessor, config.seed, **config.batches)
    cache = config.batches.get("cache", "auto")
    evaluator = Evaluator(task, preprocessor, dataset.train, dataset.validation, cache)
    evaluator.check(config.training["monitor"])
    run.start(config.to_yaml(), dataset.record, _summary(dataset, preprocessor).lines(), evaluator.trivial)
    loss = build(config.loss, task.losses, "name")
    train(model, loss, partial(_optimizer, config), batches, evaluator, run, until_epoch, **config.training)
    return Fitted(config, task, preprocessor, model, dataset.record["reading"])


def load_fitted(run: Run) -> Fitted:
    """Build the model of a finished run again, with its trained weights."""
    config = load_config(run.config)
    task = load_task(config.task)
    preprocessor = task.preprocessor(**config.preprocessing)
    preprocessor.restore(run.preprocessor_state())
    model = build_model(config, task, preprocessor)
    run.load_weights(model)
    return Fitted(config, task, preprocessor, model, run.data().get("reading", {}))


def load_run_dataset(config: Config) -> Dataset:
    """Load the raw examples of a config, split as in training."""
    return load_dataset(config.data, config.split, load_task(config.task))


def build_model(config: Config, task: Task, preprocessor: Preprocessor) -> keras.Model:
    """Call the builder of the rung that the config picks."""
    model = task.models[config.model](preprocessor.features, **config.models[config.model])
    if task.decoding is not None:
        model.decoding = task.decoding(**config.decoding)
    return model


def _summary(dataset: Dataset, preprocessor: Preprocessor) -> Summary:
    surprises = [preprocessor.surprises(split, dataset[split]) for split in ("validation", "test")]
    return dataset.summary.with_warnings([*preprocessor.warnings, *itertools.chain(*surprises)])


def _optimizer(config: Config, epochs: int, steps_per_epoch: int) -> keras.Optimizer:
    peak = config.optimizer["learning_rate"]
    rate = build(config.schedule, SCHEDULES, "name", peak, steps_per_epoch, epochs)
    return build({**config.optimizer, "learning_rate": rate}, OPTIMIZERS, "name")


def _seed_everything(seed: int) -> None:
    keras.utils.set_random_seed(seed)
    if tf.config.list_physical_devices("GPU"):  # a CPU's kernels repeat themselves as they are, and with XLA,
        tf.config.experimental.enable_op_determinism()  # which Keras turns off where this is on


def _seed_weights(seed: int) -> None:
    """Begin anew what Keras draws seeds from, so that it does not matter what was drawn before.

    TensorFlow is left alone: a second seed would throw away what its kernels hold, such as a subword model.
    """
    random.seed(seed)
    np.random.seed(seed)
