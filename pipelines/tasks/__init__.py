"""Registry of the tasks."""

from importlib import import_module

from pipelines.task import Task

TASKS = {  # name of each task, which is also the name of its package, and a short description
    "cat_classifier": "the class of an image: cat or not, or any classes of your own",
    "house_prices": "the price of a house, or any other number, from a table of columns",
    "entity_tagger": "the people, places and whatever else you tag, in a sentence",
    "translator": "a sentence of one language in another",
    "language_model": "the next token of a text, and the ones after it",
}


def load_task(name: str) -> Task:
    """Import and return a task listed in `TASKS`. Only this task's package is imported."""
    return import_module(f"pipelines.tasks.{name}.task").TASK
