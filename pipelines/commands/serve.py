"""The `serve` command: serve exports over HTTP and gRPC."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UserError, did_you_mean
from pipelines.export_folder import ExportVersion, is_number


def serve(
    exports: Sequence[str],
    labels: Sequence[str] = (),
    token: str | None = None,
    tokens: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    grpc_socket: str | None = None,
    **options: Any,
) -> None:
    """Serve all exported models until a signal stops the server; `options` are fields of `Settings`.

    Raises:
        UserError: If a folder has no version, a label or port cannot be used, or a package is missing.
    """
    try:
        import pipelines.serving.http.app  # noqa: F401 - find missing packages before opening a port
        from pipelines.serving.access import read_tokens
        from pipelines.serving.models.catalogue import checked_folders
        from pipelines.serving.server import serve as serve_until_stopped
        from pipelines.serving.settings import TOKEN_VARIABLE, Settings
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pipelines"):
            raise
        raise UserError(
            "serve", f"'{error.name}' is missing; install it with: pip install '.[serve]' in the clone"
        ) from None
    folders = checked_folders(exports)
    settings = Settings(
        folders=folders,
        labels=read_labels(labels, folders),
        token=os.environ.get(TOKEN_VARIABLE) if token is None else token,  # click reads no empty variable
        tokens=read_tokens(Path(tokens)) if tokens else {},
        tls_cert=Path(tls_cert) if tls_cert else None,
        tls_key=Path(tls_key) if tls_key else None,
        grpc_socket=Path(grpc_socket) if grpc_socket else None,
        **options,
    )
    serve_until_stopped(settings)


def read_labels(labels: Sequence[str], models: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """Parse labels such as `houses:stable=3` to {model: {label: version}}; `models` maps names to folders.

    Raises:
        UserError: If a label is malformed, or names an unknown model or a version that is not there.
    """
    read: dict[str, dict[str, int]] = {}
    for text in labels:
        model, _, rest = text.partition(":")
        label, _, version = rest.partition("=")
        if not label or not is_number(version):
            raise UserError(f"--label {text}", "should be MODEL:LABEL=VERSION, such as houses:stable=3")
        if model not in models:
            raise UserError(f"--label {text}", f"no model '{model}' is served{did_you_mean(model, sorted(models))}")
        if not ExportVersion(models[model] / version).is_complete:
            raise UserError(f"--label {text}", f"there is no version {version} in {models[model]}")
        read.setdefault(model, {})[label] = int(version)
    return read
