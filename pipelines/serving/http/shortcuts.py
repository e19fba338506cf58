"""Fast paths for the most frequent requests; they skip FastAPI's routing, a fifth of the time of a request."""

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.serving.http import open_inference, tf_serving_rest
from pipelines.serving.service import Address, Service

PLACES = {
    re.compile(r"/v1/models/([^/:]+):predict"): tf_serving_rest.predict,
    re.compile(r"/v2/models/([^/:]+)/infer"): open_inference.infer_tensors,
}


class Shortcuts:
    """Middleware that handles inference requests without a version; OpenAPI still describes them by the routes."""

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Raises:
            RequestError: If the request fails; `RequestGuard` converts it to a response.
        """
        for place, handle in PLACES.items() if scope["type"] == "http" and scope["method"] == "POST" else ():
            found = place.fullmatch(scope["path"])
            if found:
                response = await handle(self.service, Request(scope, receive), Address(found[1]))
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)
