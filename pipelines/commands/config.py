"""`config`: print a config to start from, check one, or print its JSON Schema."""

import json
from pathlib import Path

from pipelines.config.read import minimal_config, shipped_config
from pipelines.errors import UserError, did_you_mean
from pipelines.tasks import TASKS


def config(
    task_or_config: str | None, schema: bool = False, minimal: bool = False, data: str | Path | None = None
) -> str:
    """Return the config of a task, the checked config of a file, or a config that fits `data`.

    With `schema` return the JSON Schema instead, with `minimal` a config of a dozen lines.

    Raises:
        UserError: If the task is unknown, the config is invalid, or `data` fits no task.
    """
    if data is not None:
        if task_or_config is not None:
            raise UserError("--from", "cannot be combined with a task or a config")
        from pipelines.config.suggest import suggest_config

        return suggest_config(Path(data))
    if task_or_config is None:
        raise UserError("config", f"name a task ({', '.join(TASKS)}) or a config file, or use --from DATA")
    if minimal:
        if task_or_config not in TASKS:
            raise UserError("--minimal", f"needs a task{did_you_mean(task_or_config, list(TASKS))}")
        return minimal_config(task_or_config)
    if task_or_config in TASKS and not schema:
        return shipped_config(task_or_config).read_text(encoding="utf-8")
    from pipelines.config.load import config_schema, load_config  # with TensorFlow, which the above need not wait for

    checked = load_config(task_or_config)
    return json.dumps(config_schema(checked.task), indent=2) + "\n" if schema else checked.to_yaml()
