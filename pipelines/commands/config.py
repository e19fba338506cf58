"""`config`: print a config to start from, check one, or print its JSON Schema."""

import re
from pathlib import Path

from pipelines.config.read import minimal_config, read_config, schema_path, schema_text, shipped_config
from pipelines.errors import UserError, did_you_mean
from pipelines.preflight import check_against_schema
from pipelines.tasks import TASKS
from pipelines.tensorflow_startup import import_tensorflow

SERVE = "serve"  # in place of a task: the config of a server
SCHEMA_LINE = "# yaml-language-server: $schema="


def config(
    task_or_config: str | None, schema: bool = False, minimal: bool = False, data: str | Path | None = None
) -> str:
    """Return the config of a task or of a server, the checked config of a file, or a config that fits `data`.

    With `schema` return the JSON Schema instead, with `minimal` a config of a dozen lines.

    Raises:
        UserError: If the task is unknown, the config is invalid, or `data` fits no task.
    """
    if data is not None:
        if task_or_config is not None:
            raise UserError("--from", "cannot be combined with a task or a config")
        from pipelines.config.suggest import suggest_config

        return _with_schema(suggest_config(Path(data)))
    if task_or_config is None:
        raise UserError("config", f"name a task ({', '.join(TASKS)}) or a config file, or use --from DATA")
    if minimal:
        if task_or_config not in TASKS:
            raise UserError("--minimal", f"needs a task{did_you_mean(task_or_config, list(TASKS))}")
        return _with_schema(minimal_config(task_or_config))
    if task_or_config == SERVE:
        path = schema_path(SERVE) if schema else shipped_config(f"server/{SERVE}")
        return ("" if schema else f"{SCHEMA_LINE}{schema_path(SERVE)}\n") + path.read_text(encoding="utf-8")
    if task_or_config in TASKS and not schema:
        return _with_schema(shipped_config(task_or_config).read_text(encoding="utf-8"))
    unresolved = read_config(task_or_config)
    checked = check_against_schema(unresolved)
    if checked is not None:
        return schema_path(checked.task).read_text(encoding="utf-8") if schema else _with_schema(checked.to_yaml())
    import_tensorflow()  # needed only for custom code, or a new task without a schema
    from pipelines.config.load import check, config_schema

    checked = check(unresolved)
    return schema_text(config_schema(checked.task)) if schema else checked.to_yaml()


def _with_schema(config: str) -> str:
    """Add a first line to a config that tells editors where its JSON Schema is."""
    task = re.search(r"^task: *(\w+)", config, re.MULTILINE)
    if task is None or config.startswith(SCHEMA_LINE):
        return config
    return f"{SCHEMA_LINE}{schema_path(task[1])}\n{config}"
