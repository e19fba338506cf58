"""The process that serves: sockets, workers, signals."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import tempfile
import time
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from pipelines.errors import UserError
from pipelines.serving.logs import configure_logs, log
from pipelines.serving.settings import Settings
from pipelines.tensorflow_startup import import_tensorflow

BACKLOG = 2048
TOO_MANY_HEADERS = b"HTTP/1.1 431 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CLOSING_SECONDS = 0.05  # between looks at whether the last connection is closed


def serve(settings: Settings) -> None:
    """Serve until a signal ends it; answers under way are finished.

    Raises:
        UserError: where a port is taken, or certificate and key do not work.
    """
    _check_tls(settings)
    listening = _listen(settings.host, settings.port)
    _listen(settings.host, settings.grpc_port, "--grpc-port").close()  # each worker binds it by itself
    config = _config(settings)
    configure_logs()
    log(
        "serving",
        http=_url(settings, listening),
        grpc=f"{settings.host}:{settings.grpc_port}",
        workers=settings.workers,
    )
    if settings.workers == 1:
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again at the end, which has gone well
        with contextlib.suppress(KeyboardInterrupt):
            Draining(config).run([listening])
        return
    with tempfile.TemporaryDirectory() as figures:  # by which the workers' figures are added up
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures
        Workers(config, [listening]).run()


class Draining(uvicorn.Server):
    """End in steps that cut off nobody: be not ready, take no more connections, close each after its next answer."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let clients go before their connections are closed."""
        service = self.lifespan.state["service"]
        service.stopping = True
        await asyncio.sleep(service.settings.drain_seconds)  # for whoever sends requests here by looking at /ready
        for server in self.servers:
            server.close()
        service.closing = True
        due = time.monotonic() + service.settings.drain_seconds
        while self.server_state.connections and time.monotonic() < due:
            await asyncio.sleep(CLOSING_SECONDS)
        await super().shutdown(sockets)
        log("stopped")


class Worker(Process):
    """One of several processes on the same socket."""

    @property
    def server(self) -> uvicorn.Server:
        """Give the server that this process runs."""
        if self._server is None:
            self._server = Draining(self.config)
        return self._server


class Workers(Multiprocess):
    """The processes, each replaced where it dies."""

    def init_processes(self) -> None:
        """Start them."""
        for _ in range(self.processes_num):
            self.processes.append(self._started())

    def keep_subprocess_alive(self) -> None:
        """Replace those that died."""
        for number, process in enumerate(self.processes):
            if not self.should_exit.is_set() and not process.process.is_alive():
                process.join()
                log("worker died", 40, code=process.exitcode)
                self.processes[number] = self._started()

    def _started(self) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker


class HeaderTimeout(HttpToolsProtocol):
    """Give a client `read_seconds` for its headers, from the connection's or request's beginning, and bound them."""

    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to count."""
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes, as long as the headers among them do not become too many: the parser would keep them all."""
        super().data_received(data)
        self._header_bytes = 0 if self._headers_due.cancelled() else self._header_bytes + len(data)
        if self._header_bytes > self.config.app.args[0].max_header_bytes:
            self.transport.write(TOO_MANY_HEADERS)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to count for a further request."""
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._headers_due.cancel()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        self._headers_due.cancel()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        previous = getattr(self, "_headers_due", None)
        if previous is not None:
            previous.cancel()
        self._headers_due = self.loop.call_later(self.config.app.args[0].read_seconds, self.transport.close)


def _app(settings: Settings) -> ASGIApp:
    import_tensorflow(verbose=False, keras=False)  # a worker is a fresh process
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    configure_logs()
    from pipelines.serving.http.app import create_app

    return create_app(settings)


def _config(settings: Settings) -> uvicorn.Config:
    tls: dict[str, Any] = {}
    if settings.tls_cert:
        tls = {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key}
    return uvicorn.Config(
        partial(_app, settings),
        factory=True,
        http=HeaderTimeout,
        ws="none",
        lifespan="on",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the log names who connects, not who a header says
        server_header=False,
        limit_concurrency=settings.max_connections,
        backlog=BACKLOG,
        timeout_keep_alive=75,  # longer than what load balancers keep idle connections for
        timeout_graceful_shutdown=int(settings.stop_seconds),
        **tls,
    )


def _listen(host: str, port: int, option: str = "--port") -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise UserError(option, f"cannot listen on {host}:{port} ({error.strerror})") from None
    return listening


def _check_tls(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UserError("--tls-cert", "certificate and key go together; give --tls-cert and --tls-key")
    if settings.tls_cert is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise UserError("--tls-cert", f"certificate and key do not work: {error}") from None


def _url(settings: Settings, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{'https' if settings.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
