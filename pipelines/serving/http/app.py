"""The HTTP application: inference protocols, probes, metrics and pages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp

from pipelines import __version__
from pipelines.serving.grpc.grpc_server import serve_grpc
from pipelines.serving.http import open_inference, openai_api, tf_serving_rest
from pipelines.serving.http.bodies import failure, on_validation_error, written
from pipelines.serving.http.playground import add_playground
from pipelines.serving.http.request_guard import RequestGuard, on_request_error
from pipelines.serving.http.shortcuts import Shortcuts
from pipelines.serving.request_errors import RequestError
from pipelines.serving.service import Service
from pipelines.serving.settings import Settings

CORS_METHODS = ("GET", "HEAD", "POST")
CORS_EXPOSED = ("Inference-Header-Content-Length", "Retry-After", "X-Request-ID")
COMPRESSED_BYTES = 16 << 10  # a smaller answer is sent sooner as it is
COMPRESSION = 1  # zlib's fastest level; higher ones take several times as long for a few percent
NOT_COMPRESSED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/octet-stream")  # binary tensors hardly shrink
LOADING_SECONDS = 0.1  # interval of the checks for loaded models
ABOUT = (
    "Predictions of exported models over TensorFlow Serving's REST API and the Open Inference Protocol v2, and texts"
    " over OpenAI's API."
)


def create_app(settings: Settings, with_grpc: bool = True, starts_ready: bool = False) -> ASGIApp:
    """Return the application; it loads the models after it starts, or before if it `starts_ready`."""
    service = Service(settings)
    playground = contextlib.AsyncExitStack()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Service]]:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(service.running())
            await stack.enter_async_context(playground)
            if with_grpc:
                await stack.enter_async_context(serve_grpc(service))
            while starts_ready and not service.ready:
                await asyncio.sleep(LOADING_SECONDS)
            yield {"service": service}

    app = FastAPIOffline(
        title="Model server", description=ABOUT, version=__version__, redoc_url=None, lifespan=lifespan
    )
    app.include_router(tf_serving_rest.router(service))
    app.include_router(open_inference.router(service, __version__))
    app.include_router(openai_api.router(service))
    _add_probes(app, service)
    for kind, handle in _handlers().items():
        app.add_exception_handler(kind, handle)
    add_playground(app, service, playground)
    fast = Shortcuts(app, service)  # outside FastAPI, so most requests skip its middleware
    compressed = GZipMiddleware(fast, COMPRESSED_BYTES, COMPRESSION, exclude_content_types=NOT_COMPRESSED)
    guarded = RequestGuard(compressed, service)
    if not settings.cors_origins:
        return guarded
    return CORSMiddleware(  # outside the guard, since browsers ask without a token whether they may send one
        guarded, settings.cors_origins, CORS_METHODS, allow_headers=["*"], expose_headers=CORS_EXPOSED
    )


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/live", tags=["Probes"], summary="Check that the server is running")
    async def live() -> Response:
        return written({"live": True})

    @app.get(
        "/ready",
        tags=["Probes"],
        summary="Check that all models are ready",
        responses={503: {"description": "a model is not ready yet, or the server is shutting down"}},
    )
    async def ready() -> Response:
        models = {name: sorted(model.versions) for name, model in service.catalogue.models.items()}
        return written({"ready": service.ready, "models": models}, 200 if service.ready else 503)

    @app.get("/monitoring/prometheus/metrics", include_in_schema=False)  # its place in TensorFlow Serving
    @app.get("/metrics", tags=["Probes"], summary="Metrics for Prometheus")
    async def metrics() -> Response:
        content, kind = service.gauges.written()
        return Response(content, media_type=kind)


def _handlers() -> dict[type[Exception], Callable]:
    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        reason = f"Malformed request: {request.method} {request.url.path}"
        return failure(reason, error.status_code, error.headers or {}, request.scope)

    return {RequestError: on_request_error, RequestValidationError: on_validation_error, HTTPException: on_http}
