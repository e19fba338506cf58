"""The config of a server: one YAML file with the options of `serve`, and with settings of each model."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic

from pipelines.build import FORBID_UNKNOWN
from pipelines.config.faults import Places, faults_in_words
from pipelines.config.read import plain, read_yaml
from pipelines.errors import UserError
from pipelines.export_folder import is_number
from pipelines.serving.folders import NAME, check_folder, check_version
from pipelines.serving.settings import OWN, TOKEN_VARIABLE, ModelSettings, ServeConfig, Settings, described

HINT = "`pipelines config serve` prints an example"


@cache
def config_type() -> type[pydantic.BaseModel]:
    """Return the pydantic model of a server's config."""
    leaves = _leaves(Settings)
    own: dict[str, Any] = {name: (leaves[name][0] | None, _about(leaves[name][1].description, None)) for name in OWN}
    model = pydantic.create_model("model", __config__=FORBID_UNKNOWN, **_leaves(ModelSettings), **own)
    name = Annotated[str, pydantic.Field(pattern=f"^{NAME}$")]
    models: Any = dict[name, model]  # type: ignore[valid-type]  # only known at run time
    about = "Settings of each model, by its name. Those that it leaves out are the server's."
    return pydantic.create_model(
        "serve",
        __config__=FORBID_UNKNOWN,
        models=(models, _about(about, {})),
        # A config is no place for tokens: it says where they are.
        tokens=(_kind(Path | None, {}), _about("File of tokens of clients, in lines of the form NAME: TOKEN.", None)),
        token_variable=(str, _about("Environment variable with the token of clients without a name.", TOKEN_VARIABLE)),
        **leaves,
    )


def _leaves(settings: type) -> dict[str, Any]:
    """Return the name, type and description of each setting of a dataclass, as pydantic takes them."""
    return {
        each.name: (_kind(kind, about.limits), _about(about.about, _default(each)))
        for each, kind, about in described(settings)
    }


def _kind(annotation: Any, limits: Mapping[str, Any]) -> Any:
    """Return a type with limits; YAML has neither paths nor tuples, but texts and lists that are taken for them."""
    if isinstance(annotation, UnionType):
        return Union[tuple(_kind(each, limits) for each in get_args(annotation))]  # noqa: UP007 - members are only known at run time
    if annotation is NoneType:
        return None
    if get_origin(annotation) is tuple:
        item: Any = _kind(get_args(annotation)[0], limits)
        return Annotated[tuple[item, ...], pydantic.Strict(False)]
    if get_origin(annotation) is Mapping:
        return dict[str, _kind(get_args(annotation)[1], limits)]  # type: ignore[misc]  # only known at run time
    if is_dataclass(annotation):
        made: Any = annotation
        return Annotated[_section(made), pydantic.AfterValidator(lambda given: made(**dict(given)))]
    if annotation is Path:
        return Annotated[Path, pydantic.Strict(False)]
    return Annotated[annotation, pydantic.Field(**limits)] if limits else annotation


@cache
def _section(settings: type) -> type[pydantic.BaseModel]:
    return pydantic.create_model(settings.__name__, __config__=FORBID_UNKNOWN, **_leaves(settings))


def _default(each: Field) -> Any:
    """Return the default of a setting, or an ellipsis if it is required, as in pydantic."""
    if each.default_factory is not MISSING:
        return each.default_factory()
    return ... if each.default is MISSING else each.default


def _about(about: str | None, default: Any) -> Any:
    return pydantic.Field(default, description=about)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of a server's config."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **config_type().model_json_schema()}


def read_serve_config(path: str | Path) -> ServeConfig:
    """Read the config of a server.

    Raises:
        UserError: If it is invalid; the message has the file, line and dotted path of every error.
    """
    document = read_yaml(path, HINT)
    places = Places(document, str(path), (), HINT)
    try:
        checked = config_type().model_validate(plain(document))
    except pydantic.ValidationError as error:
        raise UserError("", *faults_in_words(error, config_type(), places)) from None
    options = _given(checked)
    models = {name: _model(name, _given(given), places) for name, given in options.pop("models", {}).items()}
    tokens = {name: options.pop(name) for name in ("tokens", "token_variable") if name in options}
    if tokens.get("token_variable", TOKEN_VARIABLE) not in (TOKEN_VARIABLE, *os.environ):
        raise UserError(places.of(["token_variable"]), f"the environment has no variable {tokens['token_variable']}")
    return ServeConfig(models, **tokens, options=options)


def _given(section: pydantic.BaseModel) -> dict[str, Any]:
    return {name: getattr(section, name) for name in type(section).model_fields if name in section.model_fields_set}


def _model(name: str, given: Mapping[str, Any], places: Places) -> ModelSettings:
    folder = Path(given["folder"]).resolve()
    path = ["models", name]
    check_folder(places.of([*path, "folder"]), folder)
    if given.get("traffic") and not any(given["traffic"].values()):
        raise UserError(places.of([*path, "traffic"]), "all weights are 0; give one a share, such as stable: 95")
    for keys, number in _versions(given):
        check_version(places.of([*path, *keys]), folder, number)
    own = {key: value for key, value in given.items() if key in OWN and value is not None}
    kept = {key: value for key, value in given.items() if key not in OWN}
    return ModelSettings(**{**kept, "folder": folder}, own=own)


def _versions(given: Mapping[str, Any]) -> Iterator[tuple[list, int]]:
    """Yield the versions that the settings of a model name, each with its keys."""
    for place, number in enumerate(given.get("versions", ())):
        yield ["versions", place], number
    for label, number in given.get("labels", {}).items():
        yield ["labels", label], number
    named = {("traffic", name): name for name in given.get("traffic", {})} | {("shadow",): str(given.get("shadow"))}
    for keys, name in named.items():
        if is_number(name):
            yield [*keys], int(name)
