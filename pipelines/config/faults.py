"""The faults of a config in words, each with its line in the file and its dotted path."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pydantic
from ruamel.yaml.comments import CommentedMap

from pipelines.errors import did_you_mean


@dataclass(frozen=True)
class Places:
    """Where each setting of a config stands: in which line of its file, or in which override."""

    document: CommentedMap
    file: str
    overridden: Collection[str]  # dotted paths

    def of(self, path: list) -> str:
        """Give '<file>:<line>: <dotted path>', or '--set <dotted path>' where an override put it there."""
        dotted = ".".join(map(str, path))
        for override in self.overridden:
            if f"{dotted}.".startswith(f"{override}.") or f"{override}.".startswith(f"{dotted}."):
                return f"--set {dotted}"
        return f"{self.file}{_line(self.document, path)}: {dotted}"


def faults_in_words(error: pydantic.ValidationError, kind: type[pydantic.BaseModel], places: Places) -> Iterator[str]:
    """Put each fault of a config, checked against `kind`, in one line: its place and what is wrong."""
    for fault in error.errors():
        path = _document_path(places.document, list(fault["loc"]), fault["type"])
        yield f"{places.of(path)}: {_in_words(fault, kind, path)}"


def _document_path(document: CommentedMap, loc: list, kind: str) -> list:
    """Drop from pydantic's location the names of union members, which the document does not hold."""
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


def _in_words(fault: dict, config: type[pydantic.BaseModel], path: list) -> str:
    kind, value = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        known = _siblings(fault["loc"], config)
        return f"unknown setting{did_you_mean(str(path[-1]), known)}"
    if kind == "missing":
        return "missing; every setting stands in the config (`config TASK` prints them all)"
    if kind == "union_tag_not_found":
        return f"needs the key {fault['ctx']['discriminator']}"
    if kind == "union_tag_invalid":
        key, tag = fault["ctx"]["discriminator"], fault["ctx"]["tag"]
        known = fault["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{key.strip(chr(39))}: unknown '{tag}'{did_you_mean(tag, known)}"
    if kind == "literal_error":
        known = fault["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"unknown {value!r}{did_you_mean(str(value), known)}"
    return f"{fault['msg'].removeprefix('Value error, ').removeprefix('Input ')}, not {value!r}"


def _siblings(loc: tuple, config: type[pydantic.BaseModel]) -> list[str]:
    """List the settings that the section at `loc` could have held."""
    kind: Any = config
    for key in loc[:-1]:
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            kind = kind.model_fields[key].annotation
        else:  # a discriminated union: the key is the tag of the member
            kind = next(m for m in kind.__args__ if any(_tag(f.annotation) == key for f in m.model_fields.values()))
    return list(kind.model_fields) if hasattr(kind, "model_fields") else []


def _tag(annotation: Any) -> Any:
    return annotation.__args__[0] if getattr(annotation, "__origin__", None) is Literal else None


def _line(document: Any, path: list) -> str:
    """Give ':<line>' of the deepest part of `path` that the file holds, or nothing."""
    line, node = None, document
    for key in path:
        try:
            line = (node.lc.key(key) if isinstance(node, dict) else node.lc.item(key))[0]
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return "" if line is None else f":{line + 1}"
