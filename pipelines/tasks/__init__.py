"""Registry of the tasks."""

from importlib import import_module
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.extensions import find_component

if TYPE_CHECKING:
    from pipelines.task import Task

TASKS = {  # name of each task, which is also the name of its package, and a short description
    "cat_classifier": "the class of an image: cat or not, or any classes of your own",
    "house_prices": "the price of a house, or any other number, from a table of columns",
    "entity_tagger": "the people, places and whatever else you tag, in a sentence",
    "translator": "a sentence of one language in another",
    "language_model": "the next token of a text, and the ones after it",
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
        raise UserError(f"task {name}", "is no instance of pipelines.task.Task")
    return task
