"""The `tasks` command: list the tasks, their models and hyperparameters."""

import json
from typing import Any

from pipelines.config.read import schema_path
from pipelines.errors import UserError, did_you_mean
from pipelines.tasks import TASKS
from pipelines.tensorflow_startup import import_tensorflow


def models(task: str) -> dict[str, dict[str, Any]]:
    """Return the models of a task, simplest first, with a description of each model and its hyperparameters.

    Raises:
        UserError: If the task is unknown.
    """
    if task not in TASKS and "." not in task:
        raise UserError("tasks", f"unknown task '{task}'{did_you_mean(task, list(TASKS))}")
    definitions = _schema(task)["$defs"]
    found = {}
    for name, reference in definitions["models"]["properties"].items():
        model = definitions[reference["$ref"].rsplit("/", 1)[1]]
        settings = {
            setting: {"takes": _takes(leaf), "means": leaf.get("description", "")}
            for setting, leaf in model["properties"].items()
        }
        found[name] = {"about": model["description"], "hyperparameters": settings}
    return found


def _schema(task: str) -> dict[str, Any]:
    """Return the JSON Schema of a task's config: the shipped one, which needs no TensorFlow, if there is one."""
    if task in TASKS and schema_path(task).is_file():
        return json.loads(schema_path(task).read_text(encoding="utf-8"))
    import_tensorflow()
    from pipelines.config.load import config_schema

    return config_schema(task)


def _takes(leaf: dict[str, Any]) -> str:
    """Describe the values that a JSON Schema leaf allows, such as 'number >= 0 and < 1'."""
    if "anyOf" in leaf:
        return " or ".join(_takes(each) for each in leaf["anyOf"] if each.get("$ref") != "#/$defs/TuneNode")
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
