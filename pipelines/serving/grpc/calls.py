"""Common handling of all gRPC calls: authentication, logging, metrics and unexpected errors."""

import hmac
import logging
import random
import time
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import model_pb2

from pipelines.serving.logs import log
from pipelines.serving.request_errors import Kind, RequestError, invalid
from pipelines.serving.service import Address, Service


class Calls:
    """Wrapper of gRPC handlers that converts exceptions to gRPC errors."""

    def __init__(self, service: Service):
        self.service = service

    async def answer(
        self, method: str, model: str, context: grpc.aio.ServicerContext, answer: Callable[[], Awaitable[Message]]
    ) -> Message:
        """Run `answer` and return its message, or abort the call with a status and reason."""
        began, code, request_id = time.monotonic(), "OK", f"{random.getrandbits(128):032x}"
        self.service.gauges.under_way.inc()
        try:
            self._authenticate(context)
            return await answer()
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
