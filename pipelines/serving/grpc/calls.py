"""Common handling of all gRPC calls: authentication, logging, metrics and unexpected errors."""

import hmac
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from tensorflow_serving.apis import model_pb2

from pipelines.serving.conversion import parse_message
from pipelines.serving.logs import log
from pipelines.serving.request_errors import Kind, RequestError, invalid
from pipelines.serving.service import Address, Service


class Calls:
    """Handling of calls around the methods of a service: requests as bytes in, answers as bytes out."""

    def __init__(self, service: Service):
        self.service = service

    def handler(self, descriptor: ServiceDescriptor, servicer: Any) -> grpc.GenericRpcHandler:
        """Return the handler of a service; its methods, in `servicer`, get a request and its size in bytes.

        Requests are parsed here, not by gRPC, so that large ones do not stop the event loop.
        """
        handlers = {
            method.name: grpc.unary_unary_rpc_method_handler(
                partial(self._answer, method.name, GetMessageClass(method.input_type), getattr(servicer, method.name))
            )
            for method in descriptor.methods
            if hasattr(servicer, method.name)
        }
        return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)

    async def _answer(
        self,
        method: str,
        kind: type[Message],
        answer: Callable[[Any, int], Awaitable[Message]],
        content: bytes,
        context: grpc.aio.ServicerContext,
    ) -> bytes:
        began, code, model, request_id = time.monotonic(), "OK", "", f"{random.getrandbits(128):032x}"
        self.service.gauges.under_way.inc()
        try:
            self._authenticate(context)
            with self.service.bodies.holding(len(content)):
                run, most = self.service.conversions.run, self.service.settings.max_values
                request = await run(len(content), parse_message, kind, content, most)
                model = model_of(request)
                answered = await answer(request, len(content))
                return await run(answered.ByteSize(), answered.SerializeToString)
        except RequestError as error:
            code = error.kind.grpc
            await context.abort(grpc.StatusCode[code], error.reason)
            raise AssertionError("abort raises") from None
        except Exception:
            code = "INTERNAL"
            log("internal error", logging.ERROR, exc_info=True, request_id=request_id, method=method)
            reason = f"internal error; the server log has the details under request_id {request_id}"
            await context.abort(grpc.StatusCode.INTERNAL, reason)
            raise
        finally:
            self.service.gauges.under_way.dec()
            self._tell(method, model, code, time.monotonic() - began, request_id, context.peer())

    def _authenticate(self, context: grpc.aio.ServicerContext) -> None:
        token = self.service.settings.token
        if token is None:
            return
        given = str(dict(context.invocation_metadata() or ()).get("authorization", ""))
        kind, _, value = given.partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(value.encode(), token.encode()):
            raise RequestError(
                Kind.UNAUTHENTICATED, "the token is missing or wrong; send the metadata 'authorization: Bearer TOKEN'"
            )

    def _tell(self, method: str, model: str, code: str, seconds: float, request_id: str, client: str) -> None:
        known = model if model in self.service.catalogue.models else ""
        self.service.gauges.answered("grpc", known, code, seconds)
        log(
            "request",
            request_id=request_id,
            protocol="grpc",
            method=method,
            model=known,
            status=code,
            milliseconds=round(1000 * seconds, 2),
            client=client,
        )


def model_of(request: Any) -> str:
    """Return the name of the model that a request is for, or an empty string."""
    fields = request.DESCRIPTOR.fields_by_name
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
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )
