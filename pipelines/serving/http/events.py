"""Responses of server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pipelines.serving.http.bodies import to_bytes

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(content: Any) -> bytes:
    """Return an event whose data is JSON."""
    return b"data: %b\n\n" % to_bytes(content)


class Events(Response):
    """A response of events within a context, which ends with the response, however that ends.

    An error while the context is entered gets a response of its own.
    """

    def __init__(self, opened: AbstractAsyncContextManager[AsyncIterator[bytes]]):
        super().__init__()
        self.opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events.

        Raises:
            RequestError: If the context cannot be entered.
        """
        async with self.opened as events:
            await StreamingResponse(events, headers=HEADERS, media_type="text/event-stream")(scope, receive, send)
