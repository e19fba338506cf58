"""Turn a config section into a function call, validated against the function's signature."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_type_hints

import pydantic

FORBID_UNKNOWN = pydantic.ConfigDict(extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False)


@functools.cache
def settings(function: Callable, **fixed: str) -> type[pydantic.BaseModel]:
    """Return a pydantic model of a function's keyword-only parameters, to validate a config section with.

    Positional parameters are passed by the code (`given` in `build`), so they are not settings. Settings shared by
    several functions are defined once, in a TypedDict that each function takes as `**shared: Unpack[Shared]` (PEP 692).
    `fixed` adds keys with a single allowed value, such as `name="adamw"`. They select the function of a section.
    """
    fields: dict[str, Any] = {key: (Literal[value], ...) for key, value in fixed.items()}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            # YAML has no tuples; a signature has them because a default that is a list would be shared.
            fields[name] = (parameter.annotation, list(default) if isinstance(default, tuple) else default)
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            (shared,) = get_args(parameter.annotation)
            fields |= {key: (hint, ...) for key, hint in get_type_hints(shared, include_extras=True).items()}
    title = "_".join([*fixed.values(), function.__name__])
    return pydantic.create_model(title, __config__=FORBID_UNKNOWN, __doc__=inspect.getdoc(function), **fields)


def choice(options: Mapping[str, Callable], key: str, **shared: Any) -> Any:
    """Return the type of a section whose `key` names one of `options` and whose other keys are its settings.

    `shared` maps settings that every option has, but that its function is not called with, to their type and default.
    """
    members = tuple(settings(function, **{key: name}) for name, function in options.items())
    if shared:
        members = tuple(pydantic.create_model(m.__name__, __base__=m, __doc__=m.__doc__, **shared) for m in members)
    if len(members) == 1:
        return members[0]
    return Annotated[Union[members], pydantic.Field(discriminator=key)]  # noqa: UP007 - members are only known at run time


def build(section: Mapping[str, Any], options: Mapping[str, Callable], key: str, *given: Any) -> Any:
    """Call the function named by `section[key]` with `given` and the section's other settings."""
    arguments = {name: value for name, value in section.items() if name != key}
    return options[section[key]](*given, **arguments)
