"""Load a config, apply overrides, resolve its `tune` nodes and validate it."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import pydantic
from pydantic import Field
from ruamel.yaml.comments import CommentedMap

from pipelines.build import FORBID_UNKNOWN, choice, settings
from pipelines.calibration import calibrate
from pipelines.config.read import Unresolved, check_task, plain, read_config, schema_path, schema_text
from pipelines.config.searches import SEARCHES, GpusPerTrial
from pipelines.config.tune_nodes import allow_tune_nodes, resolve_tune_nodes
from pipelines.config.validation import Config, own_models, validate
from pipelines.data.rows import Exclude
from pipelines.data.splits import split
from pipelines.extensions import find_builder
from pipelines.serving.config import config_schema as serve_schema
from pipelines.task import Task
from pipelines.tasks import TASKS, load_task
from pipelines.tracking import TRACKERS
from pipelines.training.distillation import distillation
from pipelines.training.optimizers import OPTIMIZERS, SCHEDULES
from pipelines.training.train import train

Start = Annotated[
    str | None,
    Field(
        min_length=1,
        description="folder of a finished run of the same task and model: training starts from its weights and its"
        " preprocessor, whose vocabulary is extended; null: from nothing",
    ),
]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `dotted.path=value` overrides, resolve `tune` nodes and validate the config.

    Raises:
        UserError: If the config is invalid; the message has the file, line and dotted path of every error.
    """
    return check(read_config(path, overrides))


def check(unresolved: Unresolved) -> Config:
    """Replace each `tune` node by its default and validate the config.

    Required settings that a section leaves out are those of the task's shipped config.

    Raises:
        UserError: If the config is invalid; the message has the file, line and dotted path of every error.
    """
    document, places = unresolved.document, unresolved.places
    resolve_tune_nodes(document, places)
    name = check_task(unresolved)
    task = load_task(name)
    kind = config_type(name, task, own_models(document))
    validate(document, kind, places, name)  # also fills in missing settings, which may be `auto`
    _choose_metrics(document, task)
    return validate(document, kind, places, name)


def _choose_metrics(document: CommentedMap, task: Task) -> None:
    """Replace `auto` by the main metric of the task, which may depend on the preprocessing."""
    preprocessing = document.get("preprocessing")
    for section, key in (("training", "monitor"), ("tuning", "objective")):
        values = document.get(section)
        if task.main_metric and isinstance(values, dict) and values.get(key) == "auto":
            values[key] = f"validation.{task.main_metric(plain(preprocessing or {}))}"


@cache
def config_type(name: str, task: Task, own: tuple[str, ...] = ()) -> type[pydantic.BaseModel]:
    """Return the pydantic model of a task's config, built from the signatures of the functions it configures."""
    builders = {**task.models, **{model: find_builder(task.models, model) for model in own}}
    sections: dict[str, Any] = {model: (settings(builder), Field(default=None)) for model, builder in builders.items()}
    models = pydantic.create_model("models", __config__=FORBID_UNKNOWN, **sections)
    auto = ("auto",) if task.main_metric is not None else ()
    metric: Any = Literal[("validation.loss", *(f"validation.{metric}" for metric in task.metrics), *auto)]
    monitor: Any = Annotated[metric, Field(description="metric for early stopping and for choosing the best epoch")]
    training = pydantic.create_model("training", __base__=settings(train), monitor=(monitor, ...))
    objective: Any = Annotated[
        metric, Field(description="metric that the search optimizes, at the best epoch of each trial")
    ]
    searches = tuple(
        pydantic.create_model(
            oracle,
            __base__=settings(build, name=oracle),
            objective=(objective, ...),
            gpus_per_trial=(GpusPerTrial, Field(default=None)),
        )
        for oracle, build in SEARCHES.items()
    )
    tuning: Any = Annotated[Union[searches], Field(discriminator="name")] | None  # noqa: UP007 - members are only known at run time
    about_decoding = Field(description="default settings for text generation, if a client sends none")
    decoding: dict[str, Any] = {"decoding": (settings(task.decoding), about_decoding)} if task.decoding else {}
    about_confidence = Field(
        description="intervals and calibration of predictions, fitted on the validation split; null: off"
    )
    confidence: dict[str, Any] = (
        {"confidence": (settings(calibrate) | None, about_confidence)} if task.calibrates else {}
    )
    this_task: Any = Literal[name]
    one_model: Any = Literal[tuple(builders)]
    distill: Any = settings(distillation) | None
    tracking: Any = choice(TRACKERS, "name") | None
    preprocessor: Callable = task.preprocessor  # mypy does not know that a type is hashable
    return pydantic.create_model(
        name,
        __config__=FORBID_UNKNOWN,
        task=(this_task, Field(description="task of this config")),
        seed=(Annotated[int, Field(ge=0)], Field(description="random seed of training")),
        data=(choice(task.sources, "source", exclude=(Exclude, [])), Field(description="source of the raw examples")),
        split=(settings(split), Field(description="how examples are split into train, validation and test")),
        preprocessing=(
            settings(preprocessor),
            Field(description="how raw examples are converted to model inputs"),
        ),
        batches=(settings(task.batches), Field(description="how examples are batched for training")),
        model=(one_model, Field(description="name of the model in `models` to train")),
        models=(models, Field(description="hyperparameters of each model of the task")),
        start=(Start, Field(default=None)),
        loss=(choice(task.losses, "name"), Field(description="loss function to minimize")),
        distill=(distill, Field(default=None, description="a teacher for the model")),
        optimizer=(choice(OPTIMIZERS, "name"), Field(description="optimizer of the weights")),
        schedule=(choice(SCHEDULES, "name"), Field(description="learning-rate schedule")),
        training=(training, Field(description="epochs, early stopping and execution of training")),
        **confidence,
        tracking=(tracking, Field(default=None, description="the server that runs are reported to")),
        **decoding,
        tuning=(tuning, Field(default=None, description="settings of the hyperparameter search by `tune`")),
    )


def write_schemas() -> None:
    """Write the JSON Schemas of each task's config and of a server's to where they are shipped."""
    schema_path("serve").write_text(schema_text(serve_schema()), encoding="utf-8")
    for task in TASKS:
        schema_path(task).write_text(schema_text(config_schema(task)), encoding="utf-8")


def config_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a task's config, in which every leaf may be a `tune` node."""
    schema = config_type(name, load_task(name)).model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **allow_tune_nodes(schema)}
