"""Requests that another worker of the server answers."""

from contextlib import AsyncExitStack

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from pipelines.serving.request_errors import Kind, RequestError
from pipelines.serving.settings import Settings

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
OF_ONE_CONNECTION = {
    b"connection",
    b"keep-alive",
    b"transfer-encoding",
    b"te",
    b"trailer",
    b"upgrade",
}  # RFC 9110, 7.6.1
OWN = {b"x-request-id", b"x-content-type-options", b"date"}  # which this worker adds itself


def add_forwarding(app: FastAPI, place: str, settings: Settings, stack: AsyncExitStack) -> None:
    """Pass all requests below `place` on to the worker that listens at `playground_port`."""
    scheme = "https" if settings.tls_cert else "http"
    # The certificate names the server's own address, and the other end is this server.
    client = httpx.AsyncClient(
        base_url=f"{scheme}://127.0.0.1:{settings.playground_port}", verify=False, timeout=None, trust_env=False
    )
    stack.push_async_callback(client.aclose)

    @app.api_route(place + "{rest:path}", methods=METHODS, include_in_schema=False)
    async def forward(request: Request) -> Response:
        query = request.scope["query_string"]
        url = httpx.URL(raw_path=request.scope["raw_path"] + (b"?" + query if query else b""))
        given = [(name, value) for name, value in request.headers.raw if name not in OF_ONE_CONNECTION]
        asked = client.build_request(request.method, url, headers=given, content=await request.body())
        try:
            answer = await client.send(asked, stream=True)
        except httpx.TransportError:
            raise RequestError(
                Kind.UNAVAILABLE, "the worker with the playground is not ready; try again later"
            ) from None
        response = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        own = [(name.lower(), value) for name, value in answer.headers.raw]
        response.raw_headers = [header for header in own if header[0] not in OF_ONE_CONNECTION | OWN]
        return response
