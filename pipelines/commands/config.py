"""`config`: a commented config to start from, or the JSON Schema that an editor checks one with."""

import json

from pipelines.config.load import config_schema, load_config, shipped_config
from pipelines.tasks import TASKS


def config(task_or_config: str, schema: bool = False) -> str:
    """Give the commented config of a task, or of a file after checking it; with `schema` the task's JSON Schema.

    Raises:
        UserError: for an unknown task, or a fault in the file.
    """
    path = shipped_config(task_or_config) if task_or_config in TASKS else task_or_config
    checked = load_config(path)
    if schema:
        return json.dumps(config_schema(checked.task), indent=2) + "\n"
    return path.read_text(encoding="utf-8") if task_or_config in TASKS else checked.to_yaml()
