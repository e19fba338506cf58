"""Registry of the tasks."""

from importlib import import_module
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.extensions import find_component

if TYPE_CHECKING:
    from pipelines.config.load import Config
    from pipelines.task import Task

TASKS = {  # name of each task, which is also the name of its package, and a short description
    "cat_classifier": "classify images: cat or not, or your own classes",
    "house_prices": "predict house prices, or any other number, from a table",
    "entity_tagger": "find people, places and other tagged entities in sentences",
    "translator": "translate sentences from one language to another",
    "language_model": "generate text, token by token",
}


def load_task(name: str) -> "Task":
    """Import a task of `TASKS`, or return a task of loaded code by its dotted name, such as `sentiment.TASK`.

    Raises:
        UserError: If no loaded code has this name.
    """
    if name in TASKS:
        return import_module(f"pipelines.tasks.{name}.task").TASK
    from pipelines.task import Task

    task = find_component("task", name)
    if not isinstance(task, Task):
        raise UserError(f"task {name}", "is not an instance of pipelines.task.Task")
    return task


def ladder(config: "Config") -> list[str]:
    """Return the models that a config has settings for, simplest first; a model of loaded code comes last."""
    known = list(load_task(config.task).models)
    own = [name for name, settings in config.whole["models"].items() if settings is not None]
    return sorted(own, key=lambda name: known.index(name) if name in known else len(known))
