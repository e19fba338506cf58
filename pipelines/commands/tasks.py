"""The `tasks` command: list the tasks, their models and hyperparameters."""

import inspect
from typing import Any

from pipelines.build import settings
from pipelines.errors import UserError, did_you_mean
from pipelines.tasks import TASKS, load_task


def models(task: str) -> dict[str, dict[str, Any]]:
    """Return the models of a task, simplest first, with a description of each model and its hyperparameters.

    Raises:
        UserError: If the task is unknown.
    """
    if task not in TASKS and "." not in task:
        raise UserError("tasks", f"unknown task '{task}'{did_you_mean(task, list(TASKS))}")
    return {
        name: {"about": inspect.getdoc(builder), "hyperparameters": _meanings(settings(builder))}
        for name, builder in load_task(task).models.items()
    }


def _meanings(kind: Any) -> dict[str, dict[str, str]]:
    properties = kind.model_json_schema()["properties"]
    return {name: {"takes": _takes(leaf), "means": leaf.get("description", "")} for name, leaf in properties.items()}


def _takes(leaf: dict[str, Any]) -> str:
    """Describe the values that a JSON Schema leaf allows, such as 'number >= 0 and < 1'."""
    if "anyOf" in leaf:
        return " or ".join(map(_takes, leaf["anyOf"]))
    if "enum" in leaf:
        return ", ".join(map(str, leaf["enum"]))
    if leaf.get("type") == "array":
        return f"list of: {_takes(leaf['items'])}"
    if "const" in leaf:
        return str(leaf["const"])
    words = {"number": "number", "integer": "whole number", "boolean": "true or false", "null": "null"}
    kind = leaf.get("type", "anything")
    takes = words.get(kind, kind)
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {leaf[key]:g}" for key, sign in bounds.items() if key in leaf]
    return " ".join([takes, " and ".join(limits)]).strip()
