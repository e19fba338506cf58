"""Find mistakes in configs and their data before TensorFlow is imported, which takes seconds."""

import copy
import json
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipelines.config.read import Unresolved, check_task, schema_path
from pipelines.tasks import TASKS

if TYPE_CHECKING:
    from pipelines.config.validation import Config
    from pipelines.data import Source

_sources: dict[str, "Source"] = {}  # the source that was read early, by what it was read from


def read_early(config: "Config") -> None:
    """Read the raw examples of a config. The training that follows takes them over from `take_source`.

    Raises:
        UserError: If the data cannot be read.
    """
    settings = {name: value for name, value in config.data.items() if name not in ("source", "exclude")}
    read = getattr(import_module(f"pipelines.tasks.{config.task}.sources"), config.data["source"])
    _sources[_key(config.task, config.data)] = read(**settings)


def check_against_schema(unresolved: Unresolved) -> "Config | None":
    """Return the validated config with its `tune` nodes resolved; None for a task or model without a schema.

    Raises:
        UserError: If the config is invalid; the message has the file, line and dotted path of every error.
    """
    task = check_task(unresolved)
    from pipelines.config.schemas import shipped_type  # with pydantic, which an error in the YAML need not wait for
    from pipelines.config.tune_nodes import resolve_tune_nodes
    from pipelines.config.validation import own_models, validate

    document = copy.deepcopy(unresolved.document)
    if task not in TASKS or not schema_path(task).is_file() or own_models(document):
        return None
    resolve_tune_nodes(document, unresolved.places)
    return validate(document, shipped_type(task), unresolved.places, task)


def take_source(task: str, data: Mapping[str, Any]) -> "Source | None":
    """Return the source that was read early from the `data` section of a config, once, or None."""
    return _sources.pop(_key(task, data), None)


def _key(task: str, data: Mapping[str, Any]) -> str:
    return json.dumps([task, data], sort_keys=True)
