"""Load a config, apply overrides, resolve its `tune` nodes and validate it."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import pydantic
from pydantic import Field
from ruamel.yaml.comments import CommentedMap

from pipelines.build import FORBID_UNKNOWN, choice, settings
from pipelines.config.defaults import fill_missing
from pipelines.config.faults import Places, faults_in_words
from pipelines.config.read import Unresolved, check_task, read_config, shipped_defaults, written
from pipelines.config.searches import SEARCHES
from pipelines.config.tune_nodes import TuneNode, allow_tune_nodes, is_tune_node
from pipelines.data.splits import split
from pipelines.errors import UserError
from pipelines.extensions import find_builder
from pipelines.task import Task
from pipelines.tasks import load_task
from pipelines.training.optimizers import OPTIMIZERS, SCHEDULES
from pipelines.training.train import train


class Config:
    """A validated config: each section is an attribute, and `document` is the YAML with its comments."""

    def __init__(self, document: CommentedMap, checked: pydantic.BaseModel):
        self.document = document
        self.values = checked.model_dump(exclude_unset=True)
        self.whole = checked.model_dump()  # including defaults of omitted settings, to compare two configs
        self.task: str = self.values["task"]
        self.seed: int = self.values["seed"]
        self.data: dict = self.values["data"]
        self.split: dict = self.values["split"]
        self.preprocessing: dict = self.values["preprocessing"]
        self.batches: dict = self.values["batches"]
        self.model: str = self.values["model"]
        self.models: dict = self.values["models"]
        self.loss: dict = self.values["loss"]
        self.optimizer: dict = self.values["optimizer"]
        self.schedule: dict = self.values["schedule"]
        self.training: dict = self.values["training"]
        self.decoding: dict | None = self.values.get("decoding")
        self.tuning: dict | None = self.values.get("tuning")

    def to_yaml(self) -> str:
        """Return the resolved config as YAML, with its comments."""
        return written(self.document)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `dotted.path=value` overrides, resolve `tune` nodes and validate the config.

    Raises:
        UserError: If the config is invalid; the message has the file, line and dotted path of every error.
    """
    return check(read_config(path, overrides))


def tune_nodes(unresolved: Unresolved) -> dict[str, TuneNode]:
    """Return the `tune` nodes by dotted path.

    Raises:
        UserError: If a `tune` node is invalid.
    """
    return {".".join(path): node for path, node in _tune_nodes(unresolved.document, unresolved.places)}


def check(unresolved: Unresolved) -> Config:
    """Replace each `tune` node by its default and validate the config.

    Required settings that a section leaves out are those of the task's shipped config.

    Raises:
        UserError: If the config is invalid; the message has the file, line and dotted path of every error.
    """
    document, places = unresolved.document, unresolved.places
    for path, node in list(_tune_nodes(document, places)):
        section = document
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = node.default
    name = check_task(unresolved)
    task = load_task(name)
    kind = config_type(name, task, _own_models(document))
    while True:
        _choose_metrics(document, task)
        try:
            checked = kind.model_validate(_plain(document))
            break
        except pydantic.ValidationError as error:
            if not fill_missing(document, error, shipped_defaults(name)):
                raise UserError("", *faults_in_words(error, kind, places)) from None
    if getattr(checked.models, checked.model) is None:
        problem = f"'{checked.model}' has no settings; add the section models.{checked.model}"
        raise UserError(places.of(["model"]), problem)
    return Config(document, checked)


def _choose_metrics(document: CommentedMap, task: Task) -> None:
    """Replace `auto` by the main metric of the task, which may depend on the preprocessing."""
    preprocessing = document.get("preprocessing")
    for section, key in (("training", "monitor"), ("tuning", "objective")):
        values = document.get(section)
        if task.main_metric and isinstance(values, dict) and values.get(key) == "auto":
            values[key] = f"validation.{task.main_metric(_plain(preprocessing or {}))}"


def _own_models(document: CommentedMap) -> tuple[str, ...]:
    """List the models that a config takes from code of one's own: those with a dotted name."""
    named = [document.get("model"), *(document.get("models") or {})]
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and "." in name))


@cache
def config_type(name: str, task: Task, own_models: tuple[str, ...] = ()) -> type[pydantic.BaseModel]:
    """Return the pydantic model of a task's config, built from the signatures of the functions it configures."""
    builders = {**task.models, **{model: find_builder(task.models, model) for model in own_models}}
    rungs = {rung: (settings(builder), Field(default=None)) for rung, builder in builders.items()}
    models = pydantic.create_model("models", __config__=FORBID_UNKNOWN, **rungs)
    auto = ("auto",) if task.main_metric is not None else ()
    metric = Literal[("validation.loss", *(f"validation.{metric}" for metric in task.metrics), *auto)]
    training = pydantic.create_model(
        "training",
        __base__=settings(train),
        monitor=(
            Annotated[metric, Field(description="metric for early stopping and for choosing the best epoch")],
            ...,
        ),
    )
    objective = Annotated[
        metric, Field(description="metric that the search optimizes, at the best epoch of each trial")
    ]
    searches = tuple(
        pydantic.create_model(oracle, __base__=settings(build, name=oracle), objective=(objective, ...))
        for oracle, build in SEARCHES.items()
    )
    tuning = Annotated[Union[searches], Field(discriminator="name")] | None  # noqa: UP007 - members are only known at run time
    about_decoding = Field(description="default settings for text generation, if a client sends none")
    decoding = {"decoding": (settings(task.decoding), about_decoding)} if task.decoding else {}
    return pydantic.create_model(
        name,
        __config__=FORBID_UNKNOWN,
        task=(Literal[name], Field(description="task of this config")),
        seed=(Annotated[int, Field(ge=0)], Field(description="random seed of training")),
        data=(choice(task.sources, "source"), Field(description="source of the raw examples")),
        split=(settings(split), Field(description="how examples are split into train, validation and test")),
        preprocessing=(
            settings(task.preprocessor),
            Field(description="how raw examples are converted to model inputs"),
        ),
        batches=(settings(task.batches), Field(description="how examples are batched for training")),
        model=(Literal[tuple(builders)], Field(description="name of the model in `models` to train")),
        models=(models, Field(description="hyperparameters of each model of the task")),
        loss=(choice(task.losses, "name"), Field(description="loss function to minimize")),
        optimizer=(choice(OPTIMIZERS, "name"), Field(description="optimizer of the weights")),
        schedule=(choice(SCHEDULES, "name"), Field(description="learning-rate schedule")),
        training=(training, Field(description="epochs, early stopping and execution of training")),
        **decoding,
        tuning=(tuning, Field(default=None, description="settings of the hyperparameter search by `tune`")),
    )


def config_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a task's config, in which every leaf may be a `tune` node."""
    schema = config_type(name, load_task(name)).model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **allow_tune_nodes(schema)}


def _tune_nodes(
    node: CommentedMap, places: Places, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], TuneNode]]:
    for key, value in node.items():
        here = (*path, str(key))
        if is_tune_node(value):
            try:
                yield here, TuneNode.model_validate(_plain(value))
            except pydantic.ValidationError as error:
                reason = error.errors()[-1]["msg"].removeprefix("Value error, ")
                raise UserError(places.of(list(here)), f"tune node: {reason}") from None
        elif isinstance(value, CommentedMap):
            yield from _tune_nodes(value, places, here)


def _plain(node: Any) -> Any:
    """Convert ruamel.yaml nodes to plain Python values, as pydantic's strict mode requires."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node
