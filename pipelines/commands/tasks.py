"""`tasks`: which tasks there are, their models, and what each hyperparameter means."""

import inspect
from typing import Any

from pipelines.build import settings
from pipelines.errors import UserError, did_you_mean
from pipelines.tasks import TASKS, load_task


def tasks() -> dict[str, str]:
    """Give each task's name and what it does."""
    return dict(TASKS)


def models(task: str) -> dict[str, dict[str, Any]]:
    """Give a task's models, simplest first: what each is, and what each of its hyperparameters means.

    Raises:
        UserError: for an unknown task.
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
    """Put a JSON Schema's leaf in a few words: 'a number, 0 to below 1'."""
    if "anyOf" in leaf:
        return " or ".join(map(_takes, leaf["anyOf"]))
    if "enum" in leaf:
        return ", ".join(map(str, leaf["enum"]))
    if leaf.get("type") == "array":
        return f"list of: {_takes(leaf['items'])}"
    if "const" in leaf:
        return str(leaf["const"])
    words = {"number": "number", "integer": "whole number", "boolean": "true or false", "null": "null"}
    takes = words.get(leaf.get("type"), leaf.get("type", "anything"))
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {leaf[key]:g}" for key, sign in bounds.items() if key in leaf]
    return " ".join([takes, " and ".join(limits)]).strip()
