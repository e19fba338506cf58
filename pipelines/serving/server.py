"""The server process: sockets, workers and signals."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import tempfile
import time
from dataclasses import replace
from functools import partial
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from pipelines.errors import UserError
from pipelines.logged_requests import make_folder
from pipelines.serving.certificate import Certificate, tls_context
from pipelines.serving.logs import configure_logs, log
from pipelines.serving.settings import TOKEN_VARIABLE, Settings
from pipelines.serving.tracing import check_tracing
from pipelines.tensorflow_startup import import_tensorflow

BACKLOG = 2048
INTER_OP_THREADS = 16  # with as many as cores, which is the default, one long graph starves all others
CANCEL_SECONDS = 5.0  # for cancelled calls of models to end, before the process ends anyway
OFFERS = (b"upgrade", b"http2-settings", b"connection")  # headers that ask for another protocol
TOO_MANY_HEADERS = b"HTTP/1.1 431 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CLOSING_SECONDS = 0.05  # interval of the checks for open connections


def serve(settings: Settings) -> None:
    """Serve until a signal stops the server; requests in progress are finished first.

    Raises:
        UserError: If a port is in use, the certificate and key do not work, or requests cannot be logged or traced.
    """
    _check_tls(settings)
    for name in settings.models:
        if (how := settings.of(name).request_log) is not None:
            make_folder(how.folder / name)
    if settings.tracing:
        check_tracing()
    listening = _listen(settings.host, settings.port)
    _listen(settings.host, settings.grpc_port, "--grpc-port").close()  # only a check: each worker binds the port itself
    config = _config(settings)
    configure_logs()
    log(
        "serving",
        http=_url(settings, listening),
        grpc=f"{settings.host}:{settings.grpc_port}",
        workers=settings.workers,
    )
    if settings.is_open:
        reason = f"anyone who reaches {settings.host} can use the models; to ask for a token, set {TOKEN_VARIABLE}"
        log("no token", logging.WARNING, reason=reason)
    if settings.workers == 1:
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn re-raises it after a clean shutdown
        with contextlib.suppress(KeyboardInterrupt):
            Draining(config).run([listening])
        return
    with tempfile.TemporaryDirectory() as figures:  # where the workers share their metrics
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures
        page = _listen("127.0.0.1", 0)  # any free port
        page.listen()  # requests of other workers wait until the first one takes them
        others = _config(replace(settings, playground_port=page.getsockname()[1]))
        Workers(config, [listening], others, page).run()


class Draining(uvicorn.Server):
    """A uvicorn server with graceful shutdown.

    It first reports not ready, then refuses new connections, then closes each connection after its next response.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down in stages, so that no client is cut off."""
        service = self.lifespan.state["service"]
        service.stopping = True
        await asyncio.sleep(service.settings.drain_seconds)  # for load balancers that poll /ready
        for server in self.servers:
            server.close()
        service.closing = True
        due = time.monotonic() + service.settings.drain_seconds
        while self.server_state.connections and time.monotonic() < due:
            await asyncio.sleep(CLOSING_SECONDS)
        await super().shutdown(sockets)
        log("stopped")
        due = time.monotonic() + CANCEL_SECONDS
        while service.runs.active and time.monotonic() < due:
            await asyncio.sleep(CLOSING_SECONDS)
        if service.runs.active:
            log("ended although a model was running", logging.WARNING)
            os._exit(0)  # Python would wait for the thread


class Worker(Process):
    """One of several server processes that share a socket."""

    @property
    def server(self) -> uvicorn.Server:
        """Return the server that this process runs."""
        if self._server is None:
            self._server = Draining(self.config)
        return self._server


class Workers(Multiprocess):
    """The worker processes; a worker that dies is replaced.

    The first one also listens at `page`, where the `others` pass on the requests of the playground: Gradio remembers
    the browsers in its process.
    """

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], others: uvicorn.Config, page: socket.socket
    ):
        super().__init__(config, sockets)
        self.others, self.page = others, page

    def init_processes(self) -> None:
        """Start all workers."""
        for number in range(self.processes_num):
            self.processes.append(self._started(number))

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that died."""
        for number, process in enumerate(self.processes):
            if not self.should_exit.is_set() and not process.process.is_alive():
                process.join()
                log("worker died", 40, code=process.exitcode)
                self.processes[number] = self._started(number)

    def _started(self, number: int) -> Worker:
        worker = Worker(self.others, self.sockets) if number else Worker(self.config, [*self.sockets, self.page])
        worker.start()
        return worker


class Http1(HttpToolsProtocol):
    """HTTP/1.1 with limits.

    The headers of a request are limited in size, and must arrive within `read_seconds` from the start of the
    connection or request. Of more than `max_connections`, the one that is idle longest is closed. An offer to upgrade
    the protocol is ignored (RFC 9110, section 7.8). If the client leaves, its request is cancelled.
    """

    _header_bytes = 0
    _offered = False
    _answering: tuple[RequestResponseCycle, asyncio.Task] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start the header timeout of the first request."""
        super().connection_made(transport)
        app = self.config.app
        assert isinstance(app, partial)  # from `_config`
        self._settings: Settings = app.args[0]
        self._active = self.loop.time()
        if len(self.connections) > self._settings.max_connections:
            self._close_an_idle_one()
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; if the headers are too large, respond with 431 and close.

        Without this limit, the parser would keep headers of any size in memory.
        """
        self._active = self.loop.time()
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._offered:
                self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        self._header_bytes = 0 if self._headers_due.cancelled() else self._header_bytes + len(data)
        if self._header_bytes > self._settings.max_header_bytes:
            self.transport.write(TOO_MANY_HEADERS)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Restart the header timeout for the next request."""
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        """Cancel the header timeout, and start to answer, unless an upgrade must be declined first."""
        self._headers_due.cancel()
        self._offered = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._offered:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note the end of the body; the parser believes that a request with an upgrade has none."""
        if not self._offered:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeouts, which would keep what was received in memory, and the request in progress."""
        self._headers_due.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._answering is not None:
            cycle, task = self._answering
            cycle.disconnected = True  # uvicorn tells that to the last request only, of several on a connection
            task.cancel()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # as in uvicorn, but the task is kept
        task = self.loop.create_task(cycle.run_asgi(app))
        self._answering = cycle, task
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _decline(self, rest: bytes) -> None:
        """Parse the request again without its offer to upgrade, then what followed its headers."""
        self._offered = False
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] not in OFFERS]
        connection = b",".join(value for name, value in self.headers if name == b"connection")
        kept = [token.strip() for token in connection.split(b",") if token.strip().lower() not in OFFERS]
        if kept:
            lines.append(b"connection: " + b", ".join(kept))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]) + rest)

    def _close_an_idle_one(self) -> None:
        idle = [one for one in self.connections if isinstance(one, Http1) and one.idle and one is not self]
        if idle:
            min(idle, key=lambda one: one._active).transport.close()

    @property
    def idle(self) -> bool:
        """Return whether no request of this connection is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _await_headers(self) -> None:
        previous = getattr(self, "_headers_due", None)
        if previous is not None:
            previous.cancel()
        self._headers_due = self.loop.call_later(self._settings.read_seconds, self.transport.close)


def _app(settings: Settings) -> ASGIApp:
    import_tensorflow(verbose=False, keras=False)  # each worker is a new process
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(INTER_OP_THREADS)
    configure_logs()
    from pipelines.serving.http.app import create_app

    return create_app(settings)


def _config(settings: Settings) -> uvicorn.Config:
    tls: dict[str, Any] = {}
    if settings.tls_cert:
        tls = {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key, "ssl_context_factory": tls_context}
    return uvicorn.Config(
        partial(_app, settings),
        factory=True,
        http=Http1,
        ws="none",
        lifespan="on",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # log the connected peer, not an address from a header
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,  # longer than the idle timeout of load balancers
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
        raise UserError("--tls-cert", "needs a certificate and its key; set both --tls-cert and --tls-key")
    if settings.tls_cert and settings.tls_key:
        try:
            Certificate(settings.tls_cert, settings.tls_key).check()
        except OSError as error:
            raise UserError("--tls-cert", f"cannot use this certificate and key: {error}") from None


def _url(settings: Settings, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{'https' if settings.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
