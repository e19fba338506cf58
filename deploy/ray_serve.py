"""The model server's HTTP application on Ray Serve.

EXPORTS=exports/house_prices,exports/entity_tagger REPLICAS=2 serve run deploy.ray_serve:app
"""

import os

from ray import serve
from starlette.types import ASGIApp

from pipelines.serving.settings import TOKEN_VARIABLE, Settings
from pipelines.tensorflow_startup import import_tensorflow

WAIT_SECONDS = 1.0  # for requests that end, when a replica is to stop


def application(settings: Settings, replicas: int) -> serve.Application:
    """Give the application with as many replicas, each with all models."""

    def build() -> ASGIApp:  # Ray calls it in each replica, and takes nothing but a plain function for that
        import_tensorflow(verbose=False, keras=False)
        from pipelines.serving.http.app import create_app
        from pipelines.serving.logs import configure_logs

        configure_logs()
        return create_app(settings, with_grpc=False)

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
    from pipelines.serving.models.catalogue import checked_folders

    folders = checked_folders(tuple(os.environ["EXPORTS"].split(",")))
    settings = Settings(folders, token=os.environ.get(TOKEN_VARIABLE))
    return application(settings, int(os.environ.get("REPLICAS", "1")))


def __getattr__(name: str) -> serve.Application:
    """Make `app` when `serve run` asks for it, and not where this module is imported for `application`."""
    if name != "app":
        raise AttributeError(name)
    return _from_environment()
