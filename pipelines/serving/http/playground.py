"""The playground: a page to try the models, with a form for each signature."""

import asyncio
import os
import re
from contextlib import AsyncExitStack
from importlib.util import find_spec

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.serving.http.bodies import error_response, on_validation_error
from pipelines.serving.request_errors import invalid
from pipelines.serving.service import Service

PLACE = "/playground"
UNUSED = re.compile(PLACE + r"(/gradio_api)?/(api|call|run|component_server|process_recording)(/.*)?")
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<rect width="16" height="16" rx="4" fill="#e8590c"/>
<path d="M4 4h3v3H4zM9 9h3v3H9zM7 5.5h3.5V9M5.5 7v3.5H9" fill="none" stroke="#fff" stroke-width="1.4"/></svg>
"""
MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Model server</title>
<body style="font-family: sans-serif; max-width: 40em; margin: 4em auto">
<h1>Model server</h1>
<p>The page for trying the models needs Gradio. Install it in the clone and restart the server:</p>
<pre>pip install '.[playground]'</pre>
<p>Everything else works without it: see the <a href="/docs">API documentation</a>.</p></body></html>
"""


def add_playground(app: FastAPI, service: Service, stack: AsyncExitStack) -> None:
    """Add the playground, or if Gradio is missing a page that says so.

    The first visit imports Gradio: its import would be half of the server's start. `stack` closes the playground. Of
    several workers, one has the playground, and the others pass requests on to it.
    """
    there = find_spec("gradio") is not None

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return RedirectResponse(f"{PLACE}/") if there else HTMLResponse(MISSING)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    if there and service.settings.playground_port is not None:
        from pipelines.serving.http.forwarding import add_forwarding

        add_forwarding(app, PLACE, service.settings, stack)
    elif there:
        opening = asyncio.Lock()

        @app.get(PLACE + "{rest:path}", include_in_schema=False)
        async def first_visit(request: Request) -> Response:
            async with opening:
                if this in app.router.routes:
                    app.router.routes.append(await _open(service, stack))
                    app.router.routes.remove(this)
            return RedirectResponse(request.url.path)  # this route is gone: the path is Gradio's now

        this = app.router.routes[-1]


async def _open(service: Service, stack: AsyncExitStack) -> BaseRoute:
    site = await asyncio.to_thread(_site, service)
    await stack.enter_async_context(site.router.lifespan_context(site))
    return site.router.routes[-1]


def _site(service: Service) -> FastAPI:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio sends analytics on import
    from python_multipart.exceptions import FormParserError

    from pipelines.serving.http.playground_page import mount

    site = FastAPI(openapi_url=None)
    mount(site, service, PLACE)
    mounted = site.router.routes[-1]
    assert isinstance(mounted, Mount)
    page = mounted.app
    assert isinstance(page, FastAPI)
    page.add_exception_handler(RequestValidationError, on_validation_error)  # its own fails on some bodies
    page.add_exception_handler(FormParserError, _on_form_error)
    mounted.app = _without_unused(page)
    return site


async def _on_form_error(request: Request, error: Exception) -> Response:
    return error_response(invalid(f"the form cannot be read: {error}"), request.scope)


def _without_unused(page: ASGIApp) -> ASGIApp:
    """Return the page without places of Gradio that it does not use, such as the API for programs: they fail oddly."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        used = not UNUSED.fullmatch(scope["path"])
        await (page if used else PlainTextResponse("Not Found", 404))(scope, receive, send)

    return call
