"""The `tune` node: a config value that a search varies and that otherwise has a default."""

from collections.abc import Iterator
from typing import Any, Literal

import pydantic
from ruamel.yaml.comments import CommentedMap

from pipelines.build import FORBID_UNKNOWN
from pipelines.config.faults import Places
from pipelines.config.read import Unresolved, plain
from pipelines.errors import UserError


class Range(pydantic.BaseModel):
    """An interval to search. `step` is an increment, or a factor with log sampling."""

    model_config = FORBID_UNKNOWN
    min: int | float
    max: int | float
    step: int | float | None = pydantic.Field(default=None, gt=0)
    sampling: Literal["linear", "log"] = "linear"

    @pydantic.model_validator(mode="after")
    def _is_an_interval(self) -> "Range":
        if self.min >= self.max:
            raise ValueError(f"min {self.min} is not below max {self.max}")
        if self.sampling == "log" and self.min <= 0:
            raise ValueError(f"log sampling needs a min above zero, not {self.min}")
        if self.sampling == "log" and self.step is not None and self.step <= 1:
            raise ValueError(f"the step of log sampling is a factor above 1, not {self.step}")
        return self


class TuneNode(pydantic.BaseModel):
    """A list of choices or a range, and the default to use outside a search."""

    model_config = FORBID_UNKNOWN
    tune: list[Any] | Range
    default: Any

    @property
    def whole(self) -> bool:
        """Whether this is a range of integers."""
        return isinstance(self.tune, Range) and all(
            isinstance(end, int) for end in (self.tune.min, self.tune.max, self.default)
        )

    @pydantic.model_validator(mode="after")
    def _default_can_be_drawn(self) -> "TuneNode":
        if isinstance(self.tune, Range):
            if not isinstance(self.default, int | float) or not self.tune.min <= self.default <= self.tune.max:
                raise ValueError(f"default {self.default!r} is not between {self.tune.min} and {self.tune.max}")
            if self.whole and self.tune.step is not None and not isinstance(self.tune.step, int):
                raise ValueError(f"an integer range needs an integer step, not {self.tune.step}")
        elif not self.tune:
            raise ValueError("the list of choices is empty")
        elif self.default not in self.tune:
            raise ValueError(f"default {self.default!r} is not one of {self.tune}")
        return self


def is_tune_node(node: Any) -> bool:
    """Return whether a config node is a `tune` node."""
    return isinstance(node, dict) and "tune" in node


def tune_nodes(unresolved: Unresolved) -> dict[str, TuneNode]:
    """Return the `tune` nodes by dotted path.

    Raises:
        UserError: If a `tune` node is invalid.
    """
    return {".".join(path): node for path, node in _tune_nodes(unresolved.document, unresolved.places)}


def resolve_tune_nodes(document: CommentedMap, places: Places) -> None:
    """Replace each `tune` node of a document by its default.

    Raises:
        UserError: If a `tune` node is invalid.
    """
    for path, node in list(_tune_nodes(document, places)):
        section = document
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = node.default


def allow_tune_nodes(schema: dict[str, Any]) -> dict[str, Any]:
    """Allow a `tune` node in place of every leaf of a JSON Schema."""
    tune = TuneNode.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema.setdefault("$defs", {})
    for definition in [schema, *definitions.values()]:
        for name, leaf in definition.get("properties", {}).items():
            if _is_leaf(leaf, definitions) and "const" not in leaf:
                about = {key: leaf.pop(key) for key in ("description", "title", "default") if key in leaf}
                definition["properties"][name] = {**about, "anyOf": [leaf, {"$ref": "#/$defs/TuneNode"}]}
    definitions.update(tune.pop("$defs"))
    definitions["TuneNode"] = tune
    return schema


def _is_leaf(node: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """Return whether a JSON Schema describes a value, not a section or a choice of sections."""
    if "$ref" in node:
        return "properties" not in definitions[node["$ref"].rsplit("/", 1)[1]]
    return all(_is_leaf(part, definitions) for part in (*node.get("oneOf", ()), *node.get("anyOf", ())))


def _tune_nodes(
    node: CommentedMap, places: Places, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], TuneNode]]:
    for key, value in node.items():
        here = (*path, str(key))
        if is_tune_node(value):
            try:
                yield here, TuneNode.model_validate(plain(value))
            except pydantic.ValidationError as error:
                reason = error.errors()[-1]["msg"].removeprefix("Value error, ")
                raise UserError(places.of(list(here)), f"tune node: {reason}") from None
        elif isinstance(value, CommentedMap):
            yield from _tune_nodes(value, places, here)
