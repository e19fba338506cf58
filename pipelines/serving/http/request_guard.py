"""ASGI middleware for all HTTP requests: authentication, limits, logging, metrics and unexpected errors."""

import asyncio
import base64
import binascii
import contextlib
import random
import re
import time
import zlib
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serving.asked import ASKED, ROUTING_KEY, Asked
from pipelines.serving.budget import Share
from pipelines.serving.http.bodies import NAMED, error_response, is_openai
from pipelines.serving.logs import log
from pipelines.serving.request_errors import Kind, RequestError, invalid
from pipelines.serving.service import Service
from pipelines.serving.tracing import Trace

OPEN = {"/live", "/ready", "/v2/health/live", "/v2/health/ready"}  # probes need no token
CLIENT_GONE = 499  # the status in the log, as in that of nginx
_MODEL = re.compile(r"/v[12]/models/([^/:]+)")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_ROUTING_KEY = ROUTING_KEY.encode()
RawHeaders = dict[bytes, bytes]  # keys are lowercase header names
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


class RequestGuard:
    """Middleware that checks the token and the body size of each request, and logs, counts and times it."""

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service, self.settings = app, service, service.settings
        self.active = 0  # requests in progress, but probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = _plain(scope)
        began, headers, status = time.monotonic(), dict(scope["headers"]), 0
        request_id, reading, client = _request_id(headers), Reading(headers), ""
        ASKED.set(Asked(request_id, headers.get(_ROUTING_KEY, b"").decode("latin-1"), self._trace(scope, headers)))

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                # What is left of a refused body would be read on and on.
                own += [(b"connection", b"close")] if self.service.closing or not reading.done else []
                message["headers"] = [*message["headers"], *own]
            await send(message)

        self.service.gauges.under_way.inc()
        try:
            with self._counted(scope):
                client = self._authenticate(scope, headers)
                self._count(scope, client)
                await self._answer(scope, headers, reading.watched(receive), send_on)
        except RequestError as refused:
            await error_response(refused, scope)(scope, receive, send_on)
        except asyncio.CancelledError:  # the client has gone, or the server stops
            status = status or CLIENT_GONE
        except Exception:
            log("internal error", 40, exc_info=True, request_id=request_id, path=scope["path"])
            if not status:
                failure = RequestError(
                    Kind.FAILED, f"internal error; the server log has the details under request_id {request_id}"
                )
                await error_response(failure, scope)(scope, receive, send_on)
        finally:
            self.service.gauges.under_way.dec()
            self._tell(scope, status or 500, time.monotonic() - began, request_id, client)

    def _trace(self, scope: Scope, headers: RawHeaders) -> Trace | None:
        """Begin the trace of a request of an API, if they are on."""
        if self.service.tracing is None or not _is_api(scope) or scope["path"] in OPEN:
            return None
        return self.service.tracing.begin({name.decode("latin-1"): headers[name].decode("latin-1") for name in headers})

    async def _answer(self, scope: Scope, headers: RawHeaders, receive: Receive, send: Send) -> None:
        with self.service.bodies.holding() as held:
            body = await self._read(headers, receive, held)
            await self.app(scope, _replayed(body, receive), send)

    @contextlib.contextmanager
    def _counted(self, scope: Scope) -> Iterator[None]:
        """Count a request that is no probe among those in progress.

        Raises:
            RequestError: If they are too many.
        """
        counts = scope["path"] not in OPEN
        if counts and self.active >= self.settings.max_connections:
            raise RequestError(Kind.UNAVAILABLE, "too many requests at once; try again later")
        self.active += counts
        try:
            yield
        finally:
            self.active -= counts

    def _authenticate(self, scope: Scope, headers: RawHeaders) -> str:
        """Return the name of the client whose token a request has; probes need none."""
        if scope["path"] in OPEN:
            return ""
        kind, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() == "basic" and not _is_api(scope):
            given = _password(given)  # browsers prompt for Basic credentials
        elif kind.lower() != "bearer":
            given = ""
        client = self.service.access.client(given)
        if client is None:
            raise Unauthenticated(scope)
        return client

    def _count(self, scope: Scope, client: str) -> None:
        """Count a request of a client; the pictures and scripts of pages, and metrics, are not limited."""
        if scope["path"] not in OPEN and (_is_api(scope) or scope["method"] == "POST"):
            self.service.access.count(client)

    async def _read(self, headers: RawHeaders, receive: Receive, held: Share) -> bytes:
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
        if encoding != "identity" and encoding not in _WINDOW_BITS:
            raise RequestError(Kind.UNSUPPORTED, f"unknown Content-Encoding '{encoding}'; use gzip or deflate")
        most, parts = self.settings.max_body_bytes, []
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self.settings.read_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise invalid("the client disconnected before it sent the whole body")
                    held.take(len(message.get("body", b"")))
                    if held.size > most:
                        raise _too_large(most)
                    parts.append(message.get("body", b""))
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise RequestError(Kind.SLOW, f"the body did not arrive within {self.settings.read_seconds:g} s") from None
        body = b"".join(parts)
        if encoding == "identity":
            return body
        body = await self.service.conversions.run(most, _unpacked, body, encoding, most)
        held.take(len(body))
        return body

    def _tell(self, scope: Scope, status: int, seconds: float, request_id: str, client: str) -> None:
        found = _MODEL.match(scope["path"])
        named = found.group(1) if found else scope.get(NAMED, "")
        model = named if named in self.service.catalogue.models else ""
        protocol = "openai" if is_openai(scope) else {"/v1": "rest", "/v2": "v2"}.get(scope["path"][:3], "http")
        asked = ASKED.get()
        version = asked.version if model else ""
        self.service.gauges.answered(protocol, model, version, str(status), seconds)
        known: dict[str, Any] = {"token_name": client} if client else {}
        if asked.trace is not None:
            known["trace_id"] = asked.trace.id
            # The path of a model that is not there could be anything.
            name = f"{scope['method']} {scope['path'] if model else protocol}"
            asked.trace.end(
                name,
                status >= 500,
                {
                    "http.request.method": scope["method"],
                    "http.response.status_code": status,
                    "url.path": scope["path"],
                    "pipelines.model": model,
                    "pipelines.version": version,
                },
            )
        log(
            "request",
            request_id=request_id,
            protocol=protocol,
            method=scope["method"],
            path=scope["path"],
            version=version,
            status=status,
            milliseconds=round(1000 * seconds, 2),
            client=(scope.get("client") or [""])[0],
            **known,
        )


class Reading:
    """Whether the body of a request has been received to its end."""

    def __init__(self, headers: RawHeaders):
        self.done = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"

    def watched(self, receive: Receive) -> Receive:
        """Return `receive`, which notes the end of the body."""

        async def receive_and_note() -> Message:
            message = await receive()
            self.done = self.done or not message.get("more_body")
            return message

        return receive_and_note


class Unauthenticated(RequestError):
    """The error for a missing or wrong token; on pages, the browser prompts for the token."""

    def __init__(self, scope: Scope):
        super().__init__(
            Kind.UNAUTHENTICATED, "the token is missing or wrong; send the header 'Authorization: Bearer TOKEN'"
        )
        self._challenge = "Bearer" if _is_api(scope) else 'Basic realm="models", charset="UTF-8"'

    @property
    def headers(self) -> dict[str, str]:
        """Return the WWW-Authenticate header."""
        return {"WWW-Authenticate": self._challenge}


def _is_api(scope: Scope) -> bool:
    return scope["path"].startswith(("/v1/", "/v2"))


def _plain(scope: Scope) -> Scope:
    """Return the request as the routes know it: HEAD as GET, whose body uvicorn leaves out, and no slash at the end."""
    path = scope["path"]
    if scope["method"] == "HEAD":
        scope = {**scope, "method": "GET"}
    return {**scope, "path": path.rstrip("/")} if path.startswith(("/v1/", "/v2/")) and path.endswith("/") else scope


def _request_id(headers: RawHeaders) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def _password(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _unpacked(body: bytes, encoding: str, most: int) -> bytes:
    unpacking = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        unpacked = unpacking.decompress(body, most + 1)
    except zlib.error as error:
        raise invalid(f"the body is not valid {encoding} data: {error}") from None
    if len(unpacked) > most:
        raise _too_large(most)
    if not unpacking.eof:
        raise invalid(f"the body is incomplete: its {encoding} data ends too early")
    return unpacked


def _too_large(most: int) -> RequestError:
    return RequestError(Kind.TOO_LARGE, f"the body is larger than {most:,} bytes")


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def on_request_error(request: Request, error: Exception) -> Any:
    """Convert a `RequestError` of a handler to a response."""
    assert isinstance(error, RequestError)
    return error_response(error, request.scope)
