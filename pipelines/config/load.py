"""Load a config, apply overrides, resolve its `tune` nodes and validate it."""

import copy
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import pydantic
from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pipelines.build import FORBID_UNKNOWN, choice, settings
from pipelines.config.defaults import fill_missing
from pipelines.config.faults import Places, faults_in_words
from pipelines.config.searches import SEARCHES
from pipelines.config.tune_nodes import TuneNode, allow_tune_nodes, is_tune_node
from pipelines.data.splits import split
from pipelines.errors import UserError, did_you_mean
from pipelines.extensions import find_component
from pipelines.task import Task
from pipelines.tasks import TASKS, load_task
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
        return _written(self.document)


@dataclass(frozen=True)
class Unresolved:
    """A config with overrides applied, but with its `tune` nodes not yet resolved."""

    document: CommentedMap
    path: str
    overridden: frozenset[str]  # dotted paths

    @property
    def places(self) -> Places:
        """Location of each setting."""
        return Places(self.document, self.path, self.overridden)

    def to_yaml(self) -> str:
        """Return the config as YAML, with its `tune` nodes and comments."""
        return _written(self.document)

    def tune_nodes(self) -> dict[str, TuneNode]:
        """Return the `tune` nodes by dotted path.

        Raises:
            UserError: If a `tune` node is invalid.
        """
        return {".".join(path): node for path, node in _tune_nodes(self.document, self.places)}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `dotted.path=value` overrides, resolve `tune` nodes and validate the config.

    Raises:
        UserError: If the config is invalid; the message has the file, line and dotted path of every error.
    """
    return check(read_config(path, overrides))


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Unresolved:
    """Read a YAML file, or the shipped config of a task name, and apply `dotted.path=value` overrides.

    Sections that the file leaves out are those of the task's shipped config.

    Raises:
        UserError: If the file is not valid YAML or an override cannot be applied.
    """
    if str(path) in TASKS and not Path(path).exists():
        path = shipped_config(str(path))
    document = _read(path)
    for section, content in (shipped_defaults(document.get("task")) or {}).items():
        if section not in document:
            document[section] = copy.deepcopy(content)
    for override in overrides:
        _override(document, override)
    return Unresolved(document, str(path), frozenset(override.partition("=")[0] for override in overrides))


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
    name = document.get("task")
    if not isinstance(name, str) or (name not in TASKS and "." not in name):
        problem = f"unknown task {name!r}{did_you_mean(str(name), list(TASKS))}"
        raise UserError(places.of(["task"]), problem)
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
    builders = {**task.models, **{model: find_component("model", model) for model in own_models}}
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


@cache
def shipped_defaults(task: Any) -> CommentedMap | None:
    """Return the shipped config of a task, which fills what a config leaves out; None for a task of one's own."""
    return _read(shipped_config(task)) if task in TASKS else None


def shipped_config(task: str) -> Path:
    """Return the path of a task's shipped config."""
    beside_the_package = Path(__file__).parents[2] / "configs"
    inside_the_package = Path(__file__).parents[1] / "configs"  # its location in an installed wheel
    folder = inside_the_package if inside_the_package.exists() else beside_the_package
    return folder / f"{task}.yaml"


def _yaml() -> YAML:
    yaml = YAML()  # the round-trip loader keeps comments and line numbers, and no tag can construct an object
    yaml.width = 120
    yaml.preserve_quotes = True
    return yaml


def _written(document: CommentedMap) -> str:
    stream = io.StringIO()
    _yaml().dump(document, stream)
    return stream.getvalue()


def _read(path: str | Path) -> CommentedMap:
    try:
        document = _yaml().load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(str(path), f"cannot read this config ({os.strerror(error.errno)})") from None
    except UnicodeDecodeError:
        raise UserError(str(path), "this config is not UTF-8 text") from None
    except (YAMLError, ValueError) as error:  # ValueError: an impossible date
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(where, f"not valid YAML: {problem}") from None
    if not isinstance(document, CommentedMap):
        raise UserError(str(path), "a config is a mapping of sections; `config TASK` prints one to start from")
    return document


def _override(document: CommentedMap, override: str) -> None:
    where = f"--set {override}"
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UserError(where, "write it as dotted.path=value")
    try:
        value = _yaml().load(text)
    except (YAMLError, ValueError):
        raise UserError(where, "the value is not valid YAML") from None
    node, parts = document, dotted.split(".")
    while len(parts) > 1:
        # A key may have dots of its own: the longest that is there.
        known = (count for count in range(len(parts) - 1, 1, -1) if ".".join(parts[:count]) in node)
        count = next(known, 1)
        parent, parts = ".".join(parts[:count]), parts[count:]
        node = node.setdefault(parent, CommentedMap())
        if not isinstance(node, CommentedMap):
            raise UserError(where, f"'{parent}' is a value, not a section")
    node[parts[0]] = value


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
