"""The `serve` command: serve exports over HTTP and gRPC."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.serving.folders import checked_folders, read_labels
from pipelines.serving.settings import ModelSettings, ServeConfig, Settings

PATHS = ("tls_cert", "tls_key", "grpc_socket")


def serve(
    exports: Sequence[str] = (),
    config: str | None = None,
    labels: Sequence[str] = (),
    token: str | None = None,
    tokens: str | None = None,
    **options: Any,
) -> None:
    """Serve exported models until a signal stops the server; `options` are fields of `Settings`.

    Exports, labels and options take the place of those in the file `config`.

    Raises:
        UserError: If a folder has no version, a label, port or config cannot be used, or a package is missing.
    """
    try:
        import pipelines.serving.http.app  # noqa: F401 - find missing packages before opening a port
        from pipelines.serving.server import serve as serve_until_stopped
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pipelines"):
            raise
        raise UserError(
            "serve", f"'{error.name}' is missing; install it with: pip install '.[serve]' in the clone"
        ) from None
    serve_until_stopped(read_settings(exports, config, labels, token, tokens, **options))


def read_settings(
    exports: Sequence[str],
    config: str | None = None,
    labels: Sequence[str] = (),
    token: str | None = None,
    tokens: str | None = None,
    **options: Any,
) -> Settings:
    """Return the settings of a server, from the arguments of `serve`.

    Raises:
        UserError: If they cannot be used.
    """
    from pipelines.serving.access import read_tokens

    read = _read_config(config)
    given = {name: Path(value) if name in PATHS and value else value for name, value in options.items()}
    file = tokens or read.tokens
    return Settings(
        models=_models(read.models, exports, labels),
        token=os.environ.get(read.token_variable) if token is None else token,
        tokens=read_tokens(Path(file)) if file else {},
        **{**read.options, **given},
    )


def _read_config(path: str | None) -> ServeConfig:
    if path is None:
        return ServeConfig()
    from pipelines.serving.config import read_serve_config  # with what reads configs, which a server does not need

    return read_serve_config(path)


def _models(
    configured: Mapping[str, ModelSettings], exports: Sequence[str], labels: Sequence[str]
) -> dict[str, ModelSettings]:
    """Return the models of a config with the folders and labels of the command line in place of its own.

    Raises:
        UserError: If a folder or label cannot be used, or there is no model.
    """
    models = dict(configured)
    for name, folder in checked_folders(exports).items():
        models[name] = replace(models[name], folder=folder) if name in models else ModelSettings(folder)
    if not models:
        raise UserError("serve", "has no model; name folders that `export` wrote, or give a config with `models`")
    for name, own in read_labels(labels, {name: model.folder for name, model in models.items()}).items():
        models[name] = replace(models[name], labels={**models[name].labels, **own})
    return models
