"""The certificate of the server, which is read again when its files change."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import uvicorn

from pipelines.serving.logs import log

Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate and its key, in PEM files."""

    def __init__(self, certificate: Path, key: Path):
        self.certificate, self.key = certificate, key
        self._stamp = self._stamped()

    def check(self) -> None:
        """Check that the certificate and the key belong together.

        Raises:
            OSError: If they do not, or a file cannot be read; `ssl.SSLError` is one too.
        """
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)

    def renewed(self) -> bool:
        """Return whether the files were replaced, by ones that work, since the last call."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.check()
        except OSError as error:  # one of the files may not be replaced yet
            log("certificate not renewed", logging.WARNING, certificate=str(self.certificate), reason=str(error))
            return False
        log("certificate renewed", certificate=str(self.certificate))
        return True

    def _stamped(self) -> Stamp:
        try:
            stats = [path.stat() for path in (self.certificate, self.key)]
        except OSError:
            return ()
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


def tls_context(config: uvicorn.Config, create: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return the TLS context of a uvicorn server; each new connection looks whether the certificate was renewed.

    A renewed certificate gets a new context, since loading into one that is in use could fail half-way.
    """
    certificate = Certificate(Path(str(config.ssl_certfile)), Path(str(config.ssl_keyfile)))
    context = newest = create()

    def choose(connection: Any, server_name: str | None, first: ssl.SSLContext) -> None:
        nonlocal newest
        if certificate.renewed():
            newest = create()
        connection.context = newest

    context.sni_callback = choose
    return context


def grpc_credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """Return the TLS credentials of a gRPC server; each new connection looks whether the certificate was renewed."""
    watched = Certificate(certificate, key)

    def read() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(key.read_bytes(), certificate.read_bytes())])

    return grpc.dynamic_ssl_server_credentials(read(), lambda: read() if watched.renewed() else None)
