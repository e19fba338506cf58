"""Read the shipped JSON Schema of a task's config as a pydantic model, because its functions need TensorFlow."""

import json
from functools import cache
from typing import Annotated, Any, Literal, Union

import pydantic

from pipelines.build import FORBID_UNKNOWN
from pipelines.config.read import schema_path
from pipelines.encoding import Encoding

SCALARS = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None, "object": dict}
LIMITS = {
    "exclusiveMinimum": "gt",
    "minimum": "ge",
    "exclusiveMaximum": "lt",
    "maximum": "le",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minProperties": "min_length",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}


@cache
def shipped_type(task: str) -> type[pydantic.BaseModel]:
    """Return a pydantic model that accepts what `config_type` accepts, but for checks that a schema cannot state."""
    schema = json.loads(schema_path(task).read_text(encoding="utf-8"))
    return _Types(schema["$defs"]).model(task, schema)


class _Types:
    """The types of a JSON Schema's definitions, for the part of JSON Schema that pydantic writes for our settings."""

    def __init__(self, definitions: dict[str, Any]):
        self.definitions = definitions
        self.known: dict[str, Any] = {}

    def model(self, name: str, schema: dict[str, Any]) -> type[pydantic.BaseModel]:
        """Return the pydantic model of an object with properties."""
        required = schema.get("required", ())
        fields: dict[str, Any] = {
            key: (self.type_of(value), ... if key in required else value.get("default"))
            for key, value in schema["properties"].items()
        }
        return pydantic.create_model(name, __config__=FORBID_UNKNOWN, **fields)

    def type_of(self, schema: dict[str, Any]) -> Any:
        """Return the type of the values that a schema accepts."""
        if "$ref" in schema:
            return self._definition(schema["$ref"].rsplit("/", 1)[1])
        if "oneOf" in schema:
            discriminator = pydantic.Field(discriminator=schema["discriminator"]["propertyName"])
            return Annotated[Union[tuple(map(self.type_of, schema["oneOf"]))], discriminator]  # noqa: UP007
        if "anyOf" in schema:
            members = [each for each in schema["anyOf"] if each.get("$ref") != "#/$defs/TuneNode"]
            return Union[tuple(map(self.type_of, members))]  # noqa: UP007 - members are only known at run time
        if "const" in schema or "enum" in schema:
            return Literal[tuple(schema.get("enum", [schema.get("const")]))]
        if schema.get("format") == "encoding":
            return Encoding
        limits: dict[str, Any] = {LIMITS[key]: value for key, value in schema.items() if key in LIMITS}
        kind = self._plain_type(schema)
        return Annotated[kind, pydantic.Field(**limits)] if limits else kind

    def _plain_type(self, schema: dict[str, Any]) -> Any:
        if schema.get("type") == "array":
            return list[self.type_of(schema.get("items", {}))]  # type: ignore[misc]  # only known at run time
        if isinstance(schema.get("additionalProperties"), dict):
            keys = self.type_of({"type": "string", **schema.get("propertyNames", {})})
            return dict[keys, self.type_of(schema["additionalProperties"])]  # type: ignore[misc, valid-type]  # as above
        return SCALARS[schema["type"]] if "type" in schema else Any

    def _definition(self, name: str) -> Any:
        if name not in self.known:
            schema = self.definitions[name]
            self.known[name] = self.model(name, schema) if "properties" in schema else self.type_of(schema)
        return self.known[name]
