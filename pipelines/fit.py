"""The training flow: from a config to a trained model and its metrics in a run folder."""

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from pipelines.build import build
from pipelines.calibration import calibrate
from pipelines.config.load import Config
from pipelines.data import Dataset
from pipelines.data.summary import Summary
from pipelines.errors import UserError
from pipelines.evaluation import Evaluator, result_warnings
from pipelines.inspection.histograms import layer_pictures
from pipelines.pages.details import split_details
from pipelines.pages.run_page import write_run_page
from pipelines.report import write_report
from pipelines.runs.about import About, write_about
from pipelines.runs.run import Run
from pipelines.starts import added, check_start, extend_preprocessor, load_start, origin
from pipelines.task import Preprocessor
from pipelines.tasks import load_task
from pipelines.teachers import check_teacher, teach
from pipelines.tracking import TrackedRun, tracking
from pipelines.trained_model import TrainedModel, build_model, load_run_dataset, make_preprocessor, measure_split
from pipelines.training.devices import ONE_DEVICE, Devices
from pipelines.training.features import head_and_encoder
from pipelines.training.jax_process import backend_of, backend_process
from pipelines.training.optimizers import make_optimizer
from pipelines.training.pretrained import HasPretrained, load_pretrained_weights
from pipelines.training.train import train


def fit(
    config: Config,
    run: Run,
    dataset: Dataset,
    show: Callable[[Summary], None] = lambda summary: None,
    on: Devices = ONE_DEVICE,
) -> TrainedModel:
    """Train the model of `config`, evaluate it on every split and write the results to `run`.

    An interrupted run resumes from its last checkpoint. So does a finished run if `config` has more epochs.
    `show` is called with the summary of the data before training. Training runs `on` these devices. The caller holds
    the lock of `run`.

    Raises:
        UserError: If the data or the tracking server cannot be used, or training diverges.
    """
    with tracking(config, run) as tracked:
        preprocessor = adapt_preprocessor(config, dataset)
        show(_summary(config, dataset, preprocessor))
        trained = train_model(config, run, dataset, preprocessor, tracked=tracked, on=on)
        trained, notes = calibrate_model(trained, dataset)
        metrics = {}
        for split in ("train", "validation", "test"):
            examples = trained.task.evaluation_examples(split, dataset[split])
            answers = trained.answerer.answer_table(examples)
            metrics[split] = measure_split(trained, split, examples, answers)
        run.save_predictions(trained.task.predictions(examples, answers))
        monitor = config.training["monitor"]
        warnings = notes + result_warnings(trained.task, monitor, metrics, run.trivial(), run.best_epoch())
        layers = layer_pictures(trained, dataset.train)
        warnings += write_report(run, trained, examples, answers, dataset.validation, layers)
        run.save_model(trained.model, preprocessor.state, preprocessor.confidence)
        run.add_details("test", split_details(trained.task, monitor, examples, answers))
        run.finish(metrics, trained.task.metric_signatures(examples), warnings, config.to_yaml())
        write_run_page(run)
        tracked.finish()
        return trained


def follow(config: Config, on: Devices) -> None:
    """Train with the chief, as one of the other workers, which write nothing; return when the chief is done.

    Raises:
        UserError: If the data cannot be used, or is not that of the chief.
    """
    check_other_runs(config)
    dataset = load_run_dataset(config)
    train_model(config, Run(os.devnull), dataset, adapt_preprocessor(config, dataset), on=on)
    on.part()


def check_other_runs(config: Config) -> None:
    """Check the runs that a config names, if any: the one to start from, and the teacher.

    Raises:
        UserError: If one of them cannot be used.
    """
    check_start(config)
    check_teacher(config)


def adapt_preprocessor(config: Config, dataset: Dataset) -> Preprocessor:
    """Create the preprocessor of `config` and adapt it to the training split, or extend that of an earlier run."""
    keras.utils.set_random_seed(config.seed)
    if config.start is not None:
        return extend_preprocessor(config, dataset.train)
    preprocessor = make_preprocessor(config, load_task(config.task))
    preprocessor.adapt(dataset.train)
    return preprocessor


def train_model(
    config: Config,
    run: Run,
    dataset: Dataset,
    preprocessor: Preprocessor,
    until_epoch: int | None = None,
    tracked: TrackedRun | None = None,
    on: Devices = ONE_DEVICE,
) -> TrainedModel:
    """Train the model of `config` and keep the best epoch by the validation split; the test split is not used.

    `until_epoch` ends training early. Its checkpoint allows training to resume later. Each epoch is reported to
    `tracked`. If `on` has several workers, only the chief writes to `run`.

    Raises:
        UserError: If the data cannot be used or training diverges.
    """
    task = load_task(config.task)
    _seed_weights(config.seed)
    model = build_model(config, task, preprocessor)
    load_initial_weights(config, model)
    learner, encoder, how = head_and_encoder(model, preprocessor, config.batches)
    loss = build(config.loss, task.losses, "name")
    make_batches = partial(task.batches, seed=config.seed, **how)
    if config.distill is None:
        batches = make_batches(dataset.train, encoder)
    else:
        taught = learner, preprocessor, encoder
        batches, loss = teach(config.distill, task, *taught, dataset.train, loss, make_batches)
    cache = how.get("cache", "auto")
    trained = TrainedModel(config, task, preprocessor, model, dataset.record["reading"])
    serve = trained.answerers["serve"]
    evaluator = Evaluator(task, preprocessor, encoder, dataset.train, dataset.validation, cache, serve)
    evaluator.check(config.training["monitor"])
    summary, record = _summary(config, dataset, preprocessor), _record(config, dataset, preprocessor)
    monitor = config.training["monitor"]
    report = (lambda history: None) if tracked is None else tracked.epochs
    optimizer = partial(make_optimizer, config.optimizer, config.schedule, model)
    with backend_process(config, model, learner, preprocessor, batches) as process:
        if on.chief:
            computing = {"backend": backend_of(config), "precision": config.whole["training"]["precision"]}
            computing |= on.describe() | ({} if process is None else {"device": process.device})
            run.start(config.to_yaml(), record, summary.lines(), evaluator.trivial, computing)
            write_about(run.folder, About(config.task, config.model, monitor, evaluator.direction(monitor)))
        on.check_same(record["fingerprint"])
        given = evaluator, run, until_epoch, report, on, process
        train(learner, loss, optimizer, batches, *given, **config.training)
    return trained


def calibrate_model(trained: TrainedModel, dataset: Dataset) -> tuple[TrainedModel, list[str]]:
    """Return the model with its confidence, and warnings about it; unchanged if the config has no `confidence`."""
    config, preprocessor = trained.config, trained.preprocessor
    if config.confidence is None:
        return trained, []
    given = trained.task, trained.model, preprocessor, dataset, config.seed
    preprocessor.confidence, warnings = calibrate(*given, **config.confidence)
    return replace(trained), warnings  # a copy, because its answers may have been traced without


def load_initial_weights(config: Config, model: keras.Model) -> None:
    """Load the weights that training starts from: those of an earlier run, or published ones, if there are any.

    Raises:
        UserError: If they are not available or do not fit the model.
    """
    if config.start is None:
        load_pretrained_weights(model)
        return
    if not isinstance(model, HasPretrained):  # the run has the published weights
        load_pretrained_weights(model)
    elif model.pretrained.has_lora:
        raise UserError(f"models.{config.model}.lora_rank", "cannot be used together with start; set it to null")
    load_start(config, model)


def _record(config: Config, dataset: Dataset, preprocessor: Preprocessor) -> dict[str, Any]:
    preset = {"preset": preprocessor.preset.record} if preprocessor.preset else {}
    start = {"start": origin(config.start)} if config.start is not None else {}
    teacher = {"teacher": origin(config.distill["teacher"])} if config.distill is not None else {}
    return {**dataset.record, **preset, **start, **teacher}


def _summary(config: Config, dataset: Dataset, preprocessor: Preprocessor) -> Summary:
    warnings = [preprocessor.split_warnings(split, dataset[split]) for split in ("validation", "test")]
    summary = dataset.summary.with_warnings([*preprocessor.warnings, *itertools.chain(*warnings)])
    if config.start is None:
        return summary
    return summary.with_fact("start", "; ".join(filter(None, [config.start, added(preprocessor)])))


def _seed_weights(seed: int) -> None:
    """Reset the generators that Keras draws seeds from, so that earlier draws have no effect.

    TensorFlow is not seeded again: a second seed would discard resources of its kernels, such as a subword model.
    """
    random.seed(seed)
    np.random.seed(seed)
