"""Fill required settings that a config leaves out."""

import copy
from typing import Any

import pydantic
from ruamel.yaml.comments import CommentedMap

from pipelines.config.faults import document_path
from pipelines.config.tune_nodes import is_tune_node

CHOICES = ("source", "name")  # keys that choose the function of a section: its settings are those of that function


def fill_missing(document: CommentedMap, error: pydantic.ValidationError, defaults: CommentedMap | None) -> bool:
    """Copy settings that validation found missing from the defaults; return whether there was any."""
    filled = False
    for fault in error.errors():
        path = document_path(document, list(fault["loc"]), fault["type"])
        if fault["type"] == "union_tag_not_found":
            path.append(fault["ctx"]["discriminator"].strip("'"))
        elif fault["type"] != "missing":
            continue
        section, shipped = _look_up(document, path[:-1]), _look_up(defaults, path[:-1])
        known = isinstance(section, CommentedMap) and isinstance(shipped, CommentedMap) and path[-1] in shipped
        if known and all(key not in section or section[key] == shipped.get(key) for key in CHOICES):
            value = shipped[path[-1]]
            section[path[-1]] = copy.deepcopy(value["default"] if is_tune_node(value) else value)
            filled = True
    return filled


def _look_up(node: Any, path: list) -> Any:
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    return node
