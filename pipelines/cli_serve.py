"""The `serve` command of the command line, whose options are the settings of a server."""

import functools
from collections.abc import Callable
from dataclasses import Field, is_dataclass
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from pipelines.serving.settings import TOKEN_VARIABLE, Setting, Settings, described
from pipelines.verbs import Command, verb


def _options(command: Callable) -> Callable:
    """Add an option for each setting."""
    for each, kind, about in reversed(described(Settings)):
        kind = next(iter(get_args(kind)), kind)  # of an optional value
        if not is_dataclass(kind):  # sections are for the config
            command = _option(each, kind, about)(command)
    return command


def _option(each: Field, kind: Any, about: Setting) -> Callable[[Callable], Callable]:
    names = (about.option or f"--{each.name.replace('_', '-')}", each.name)
    if kind is bool:
        return click.option(f"{names[0]}/--no-{names[0][2:]}", default=each.default, help=about.about)
    if isinstance(each.default, tuple):
        return click.option(*names, multiple=True, help=f"{about.about} Repeatable.")
    shown: dict[str, Any] = {"default": each.default, "show_default": each.default is not None, "help": about.about}
    if kind is Path:
        return click.option(*names, metavar="FILE", type=click.Path(path_type=Path), **shown)
    if kind is int:
        return click.option(*names, type=click.IntRange(about.limits.get("ge"), about.limits.get("le")), **shown)
    if kind is float:
        least, is_open = (about.ge, False) if about.gt is None else (about.gt, True)
        return click.option(*names, type=click.FloatRange(least, min_open=is_open), **shown)
    return click.option(*names, **shown)


def _check_config(arguments: dict[str, Any]) -> bool:
    if arguments["config"]:
        from pipelines.serving.config import read_serve_config

        read_serve_config(arguments["config"])
    return False


@click.command("serve", cls=Command)
@click.argument("exports", nargs=-1, metavar="[NAME=]EXPORT_DIR...")
@click.option("--config", metavar="FILE", help="Read the settings from a YAML file. Arguments take their place.")
@_options
@click.option("--token", help=f"Token that clients must send. Prefer to set {TOKEN_VARIABLE}.")
@click.option("--tokens", metavar="FILE", help="Tokens of several clients, in lines of the form NAME: TOKEN.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="MODEL:LABEL=VERSION",
    help="Label of a version, such as houses:stable=3. Repeatable.",
)
@functools.partial(verb, keras=False, before_tensorflow=_check_config)
def serve(exports: tuple[str, ...], **options: Any) -> None:
    """Serve exported models over REST, gRPC, the Open Inference Protocol and OpenAI's API, with a playground.

    A model has the name of its folder, unless it is given one: houses=exports/house_prices.

    Example: {program} serve exports/house_prices exports/entity_tagger --port 8501

    Example: {program} serve --config serve.yaml
    """
    from pipelines.commands.serve import serve as serve_exports

    context = click.get_current_context()
    if not exports and not options["config"]:
        raise click.UsageError("Missing argument 'EXPORT_DIR...', or --config FILE.")
    given = {name: value for name, value in options.items() if _is_given(context, name)}
    serve_exports(exports, **given)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE
