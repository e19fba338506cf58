"""Common handling of all gRPC calls: authentication, logging, metrics and unexpected errors."""

import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from tensorflow_serving.apis import model_pb2

from pipelines.serving.asked import ASKED, ROUTING_KEY, Asked
from pipelines.serving.conversion import parse_message
from pipelines.serving.logs import log
from pipelines.serving.request_errors import Kind, RequestError, invalid
from pipelines.serving.service import Address, Service

FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}  # of the server


class Calls:
    """Handling of calls around the methods of a service: requests as bytes in, answers as bytes out."""

    def __init__(self, service: Service):
        self.service = service

    def handler(self, descriptor: ServiceDescriptor, servicer: Any) -> grpc.GenericRpcHandler:
        """Return the handler of a service; its methods, in `servicer`, get a request and its size in bytes.

        Requests are parsed here, not by gRPC, so that large ones do not stop the event loop. Those to a servicer that
        `waits` are answered once the models are loaded.
        """
        handlers = {}
        for method in descriptor.methods:
            if hasattr(servicer, method.name):
                made = (method.name, GetMessageClass(method.input_type), getattr(servicer, method.name), servicer.waits)
                handlers[method.name] = (
                    grpc.stream_stream_rpc_method_handler(partial(self._exchange, *made))
                    if method.server_streaming
                    else grpc.unary_unary_rpc_method_handler(partial(self._answer, *made))
                )
        return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)

    async def _exchange(
        self,
        method: str,
        kind: type[Message],
        answer: Callable[[Any, int], AsyncIterator[Message]],
        waits: bool,
        contents: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext,
    ) -> AsyncIterator[bytes]:
        """Answer each request of a stream, one after the other, with any number of messages."""
        call = Call(self, method, context)
        async with call:
            async for content in contents:
                self.service.access.count(call.client)
                with self.service.bodies.holding(len(content)):
                    request = await self._parsed(kind, content)
                    call.model = model_of(request)
                    async for answered in answer(request, len(content)):
                        yield answered.SerializeToString()

    async def _answer(
        self,
        method: str,
        kind: type[Message],
        answer: Callable[[Any, int], Awaitable[Message]],
        waits: bool,
        content: bytes,
        context: grpc.aio.ServicerContext,
    ) -> bytes:
        call = Call(self, method, context)
        async with call:
            self.service.access.count(call.client)
            if waits:
                await self.service.catalogue.tried.wait()
            with self.service.bodies.holding(len(content)):
                request = await self._parsed(kind, content)
                call.model = model_of(request)
                answered = await answer(request, len(content))
                return await self.service.conversions.run(answered.ByteSize(), answered.SerializeToString)
        raise AssertionError("a failed call is aborted")

    async def _parsed(self, kind: type[Message], content: bytes) -> Any:
        most = self.service.settings.max_values
        return await self.service.conversions.run(len(content), parse_message, kind, content, most)

    def authenticate(self, context: grpc.aio.ServicerContext) -> str:
        """Return the name of the client whose token a call has.

        Raises:
            RequestError: If it is missing or wrong.
        """
        given = str(dict(context.invocation_metadata() or ()).get("authorization", ""))
        kind, _, value = given.partition(" ")
        client = self.service.access.client(value if kind.lower() == "bearer" else "")
        if client is None:
            raise RequestError(
                Kind.UNAUTHENTICATED, "the token is missing or wrong; send the metadata 'authorization: Bearer TOKEN'"
            )
        return client

    def tell(self, call: "Call", code: str) -> None:
        """Count and log a call that ended."""
        seconds = time.monotonic() - call.began
        known = call.model if call.model in self.service.catalogue.models else ""
        asked = ASKED.get()
        version = asked.version if known else ""
        self.service.gauges.answered("grpc", known, version, code, seconds)
        named: dict[str, Any] = {"token_name": call.client} if call.client else {}
        if asked.trace is not None:
            named["trace_id"] = asked.trace.id
            asked.trace.end(
                f"grpc {call.method}",
                code in FAULTS,
                {
                    "rpc.system": "grpc",
                    "rpc.method": call.method,
                    "rpc.grpc.status_code": grpc.StatusCode[code].value[0],
                    "pipelines.model": known,
                    "pipelines.version": version,
                },
            )
        log(
            "request",
            request_id=call.request_id,
            protocol="grpc",
            method=call.method,
            model=known,
            version=version,
            status=code,
            milliseconds=round(1000 * seconds, 2),
            client=call.peer,
            **named,
        )


class Call:
    """The context in which a call is answered: counted, logged, and aborted with the code of an error."""

    def __init__(self, calls: Calls, method: str, context: grpc.aio.ServicerContext):
        self.calls, self.method, self.context = calls, method, context
        self.began, self.model, self.request_id = time.monotonic(), "", f"{random.getrandbits(128):032x}"
        self.client = ""  # the name of its token
        self.peer = context.peer()  # now, since gRPC reads freed memory if it is asked after the client has gone
        sent = {name: str(value) for name, value in context.invocation_metadata() or ()}
        trace = None if calls.service.tracing is None else calls.service.tracing.begin(sent)
        ASKED.set(Asked(self.request_id, sent.get(ROUTING_KEY, ""), trace))

    async def __aenter__(self) -> None:
        """Begin the call.

        Raises:
            RequestError: Never; a call without the token is aborted.
        """
        self.calls.service.gauges.under_way.inc()
        try:
            self.client = self.calls.authenticate(self.context)
        except RequestError as error:
            await self.__aexit__(type(error), error, None)

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        """End the call."""
        code, reason = "OK", ""
        if isinstance(error, RequestError):
            code, reason = error.kind.grpc, error.reason
        elif isinstance(error, Exception):
            code = "INTERNAL"
            log("internal error", logging.ERROR, exc_info=True, request_id=self.request_id, method=self.method)
            reason = f"internal error; the server log has the details under request_id {self.request_id}"
        elif error is not None:  # the client has gone, or the server stops
            code = "CANCELLED"
        self.calls.service.gauges.under_way.dec()
        self.calls.tell(self, code)
        if reason:
            await self.context.abort(grpc.StatusCode[code], reason)


def model_of(request: Any) -> str:
    """Return the name of the model that a request is for, or an empty string."""
    fields = request.DESCRIPTOR.fields_by_name
    if "model_name" in fields:
        return request.model_name
    if "model_spec" in fields:
        return request.model_spec.name
    return request.tasks[0].model_spec.name if "tasks" in fields and request.tasks else ""


def address_of(spec: model_pb2.ModelSpec) -> Address:
    """Return the model and version that a call names.

    Raises:
        RequestError: If it names no model.
    """
    if not spec.name:
        raise invalid("Missing ModelSpec name")
    choice = spec.WhichOneof("version_choice")
    return Address(
        spec.name,
        (spec.version.value or None) if choice == "version" else None,  # clients of OpenVINO send 0 for the newest
        spec.version_label if choice == "version_label" else None,
    )
