"""The HTTP application of the model server on Ray Serve.

EXPORTS=exports/house_prices,exports/entity_tagger REPLICAS=2 serve run deploy.ray_serve:app
"""

import os

from ray import serve
from starlette.types import ASGIApp

from pipelines.serving.settings import Settings
from pipelines.tensorflow_startup import import_tensorflow

WAIT_SECONDS = 1.0  # interval of the checks for open requests when a replica stops


def application(settings: Settings, replicas: int) -> serve.Application:
    """Return the Ray Serve application with `replicas` replicas, each with all models."""

    def build() -> ASGIApp:  # called by Ray in each replica; it must be a plain function
        import_tensorflow(verbose=False, keras=False)
        from pipelines.serving.http.app import create_app
        from pipelines.serving.logs import configure_logs

        configure_logs()
        return create_app(settings, with_grpc=False, starts_ready=True)  # Ray sends requests to a replica that started

    deployment = serve.deployment(
        serve.ingress(build)(),
        name="models",
        num_replicas=replicas,
        max_ongoing_requests=settings.max_connections,
        graceful_shutdown_wait_loop_s=WAIT_SECONDS,
        graceful_shutdown_timeout_s=settings.stop_seconds,
    )
    return deployment.bind()


def _from_environment() -> serve.Application:
    from pipelines.commands.serve import read_settings

    return application(read_settings(os.environ["EXPORTS"].split(",")), int(os.environ.get("REPLICAS", "1")))


def __getattr__(name: str) -> serve.Application:
    """Create `app` only when `serve run` asks for it, so that importing `application` needs no environment."""
    if name != "app":
        raise AttributeError(name)
    return _from_environment()
