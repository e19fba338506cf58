"""A trained model with everything needed to predict raw inputs, and how to load it from a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
import pandas as pd

from pipelines.config.load import Config, load_config
from pipelines.data import Dataset, Source, load_dataset, read_source
from pipelines.evaluation import Answerer, measure
from pipelines.extensions import find_builder
from pipelines.preflight import take_source
from pipelines.presets import open_preset
from pipelines.runs.run import Run
from pipelines.task import Endpoint, Preprocessor, Task
from pipelines.tasks import load_task


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with its task, preprocessor and config."""

    config: Config
    task: Task
    preprocessor: Preprocessor
    model: keras.Model
    reading: Mapping[str, Any]  # how the source read its files; `predict` reads its files the same way

    @cached_property
    def answerer(self) -> Answerer:
        """Predict raw examples, as in evaluation; shared with an endpoint that does just this, to be traced once."""
        answer = partial(self.task.answer_raw, self.model, self.preprocessor)
        for name, endpoint in self.endpoints.items():
            other = endpoint.answer
            same = isinstance(other, partial) and (other.func, other.args) == (answer.func, answer.args)
            if same and endpoint.signature == self.preprocessor.signature:
                return self.answerers[name]
        return Answerer(Endpoint(answer, self.preprocessor.signature))

    @cached_property
    def answerers(self) -> dict[str, Answerer]:
        """The endpoints as functions; each is traced once, to predict and to be exported."""
        return {name: Answerer(endpoint) for name, endpoint in self.endpoints.items()}

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """Endpoints of an export by name."""
        return self.task.endpoints(self.model, self.preprocessor)


def measure_split(
    trained: TrainedModel, split: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return the metrics of a split and, if the model is calibrated, those of its confidence, from its answers.

    Confidence is not measured on train: a model is surer of the examples that it learnt from.

    Raises:
        UserError: If predictions are NaN or infinite.
    """
    metrics = measure(trained.task, split, examples, answers)
    if split == "train" or not trained.preprocessor.confidence:
        return metrics
    return metrics | trained.task.confidence_metrics(trained.model, trained.preprocessor, examples, answers)


def make_preprocessor(config: Config, task: Task) -> Preprocessor:
    """Create the preprocessor of a config, with the preset of the model that the config selects, if it has one.

    Raises:
        UserError: If the preset is not available or does not fit the task.
    """
    name = preset_name(config)
    given = [open_preset(name, task.preset_kind, f"models.{config.model}.preset")] if name and task.preset_kind else []
    return task.preprocessor(*given, **config.preprocessing)


def preset_name(config: Config) -> str | None:
    """Return the setting `preset` of the model that the config selects, or None if it has none."""
    return config.models[config.model].get("preset")


def load_trained_model(run: Run) -> TrainedModel:
    """Load the model of a finished run with its trained weights."""
    config = load_config(run.config)
    task = load_task(config.task)
    preprocessor = task.preprocessor(**config.preprocessing)
    preprocessor.restore(run.preprocessor_state())  # with its preset, whose files are not needed
    preprocessor.confidence = run.confidence()
    model = build_model(config, task, preprocessor)
    run.load_weights(model)
    return TrainedModel(config, task, preprocessor, model, run.data().get("reading", {}))


def load_run_dataset(config: Config) -> Dataset:
    """Load the raw examples of a config, with the same splits as in training."""
    return split_source(config, load_source(config))


def split_source(config: Config, source: Source) -> Dataset:
    """Split the raw examples of a config, which were already read."""
    return load_dataset(config.data, config.split, load_task(config.task), source)


def load_source(config: Config) -> Source:
    """Read the raw examples of a config.

    The command line may have read them already, before TensorFlow was imported: `preflight.take_source` hands them
    over.
    """
    read = take_source(config.task, config.data)
    return read_source(config.data, load_task(config.task)) if read is None else read


def build_model(config: Config, task: Task, preprocessor: Preprocessor) -> keras.Model:
    """Build the model that the config selects."""
    model = find_builder(task.models, config.model)(preprocessor.features, **config.models[config.model])
    if task.decoding is not None:
        assert config.decoding is not None  # required by the config of such a task
        model.decoding = task.decoding(**config.decoding)
    return model
