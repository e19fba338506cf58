"""The `config` command: return a commented config or its JSON Schema."""

import json

from pipelines.config.load import config_schema, load_config, shipped_config
from pipelines.tasks import TASKS


def config(task_or_config: str, schema: bool = False) -> str:
    """Return the commented config of a task, or a checked config file with its `tune` nodes resolved.

    With `schema`, return the JSON Schema of the task's config instead.

    Raises:
        UserError: If the task is unknown or the file is invalid.
    """
    path = shipped_config(task_or_config) if task_or_config in TASKS else task_or_config
    checked = load_config(path)
    if schema:
        return json.dumps(config_schema(checked.task), indent=2) + "\n"
    return path.read_text(encoding="utf-8") if task_or_config in TASKS else checked.to_yaml()
