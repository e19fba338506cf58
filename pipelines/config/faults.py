"""Turn the validation errors of a config into messages with file, line and dotted path."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pydantic
from pydantic_core import ErrorDetails
from ruamel.yaml.comments import CommentedMap
from typing_extensions import is_typeddict

from pipelines.errors import did_you_mean


@dataclass(frozen=True)
class Places:
    """The locations of a config's settings: a line of the file or an override."""

    document: CommentedMap
    file: str
    overridden: Collection[str]  # dotted paths
    hint: str = "`pipelines config TASK` prints a config with all settings"  # for a setting that is missing

    def of(self, path: list) -> str:
        """Return '<file>:<line>: <dotted path>', or '--set <dotted path>' if an override set the value."""
        dotted = ".".join(map(str, path))
        for override in self.overridden:
            if f"{dotted}.".startswith(f"{override}.") or f"{override}.".startswith(f"{dotted}."):
                return f"--set {dotted}"
        return f"{self.file}{_line(self.document, path)}: {dotted}"


def faults_in_words(error: pydantic.ValidationError, kind: type[pydantic.BaseModel], places: Places) -> Iterator[str]:
    """Yield one line per validation error: its location and what is wrong. `kind` is the model that raised it."""
    for fault in error.errors():
        path = document_path(places.document, list(fault["loc"]), fault["type"])
        yield f"{places.of(path)}: {_in_words(fault, kind, path, places.hint)}"


def document_path(document: CommentedMap, loc: list, kind: str) -> list:
    """Return the keys in the document for a location of pydantic, which also names the members of unions."""
    path, node = [], document
    for index, key in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(node, dict) and (key in node or (last and kind == "missing")):
            path.append(key)
            node = node.get(key)
        elif isinstance(node, list) and isinstance(key, int):
            path.append(key)
            node = node[key]
        elif not path:
            path.append(key)
    return path


def _in_words(fault: ErrorDetails, config: type[pydantic.BaseModel], path: list, hint: str) -> str:
    kind, value = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        known = _siblings(fault["loc"], config)
        return f"unknown setting{did_you_mean(str(path[-1]), known)}"
    if kind == "missing":
        return f"required setting is missing; {hint}"
    if kind == "union_tag_not_found":
        return f"requires the setting `{fault['ctx']['discriminator'].strip(chr(39))}`"
    if kind == "union_tag_invalid":
        key, tag = fault["ctx"]["discriminator"], fault["ctx"]["tag"]
        known = fault["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{key.strip(chr(39))}: unknown '{tag}'{did_you_mean(tag, known)}"
    if kind == "literal_error":
        known = fault["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"unknown {value!r}{did_you_mean(str(value), known)}"
    if kind in ("dict_type", "model_type"):
        return f"should be a mapping of settings, not {value!r}"
    return f"{fault['msg'].removeprefix('Value error, ').removeprefix('Input ')}, not {value!r}"


def _siblings(loc: tuple, config: type[pydantic.BaseModel]) -> list[str]:
    """Return the names of the settings that the section at `loc` allows."""
    section, options, is_named = _settings(config), [], False
    for key in loc[:-1]:
        if is_named:  # the key is a name that the user chose
            is_named = False
        elif key in section:
            is_named = get_origin(section[key]) is dict
            options = list(_sections(section[key]))
            section = options[0] if len(options) == 1 else {}
        else:  # in a union, the key is the tag of a member
            section = next((option for option in options if key in _tags(option)), {})
    return list(section)


def _settings(kind: Any) -> dict[str, Any]:
    """Return the annotations of a section's settings: those of a pydantic model or a TypedDict."""
    if is_typeddict(kind):
        return get_type_hints(kind)
    return {name: field.annotation for name, field in kind.model_fields.items()}


def _sections(annotation: Any) -> Iterator[dict[str, Any]]:
    """Yield the settings of each section within an annotation, such as the members of a union."""
    if is_typeddict(annotation) or (isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)):
        yield _settings(annotation)
    else:
        for part in get_args(annotation):
            yield from _sections(part)


def _tags(section: dict[str, Any]) -> set[Any]:
    """Return the values that select this member of a union."""
    return {value for annotation in section.values() for value in get_args(annotation) if isinstance(value, str)}


def _line(document: Any, path: list) -> str:
    """Return ':<line>' of the deepest part of `path` that exists in the file, or an empty string."""
    line, node = None, document
    for key in path:
        try:
            line = (node.lc.key(key) if isinstance(node, CommentedMap) else node.lc.item(key))[0]
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return "" if line is None else f":{line + 1}"
