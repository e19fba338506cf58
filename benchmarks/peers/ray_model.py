"""The SavedModel on Ray Serve, with Ray's own batching.

EXPORT=exports/house_prices PORT=8900 python benchmarks/peers/ray_model.py
"""

import os
import signal
import sys
import time
from pathlib import Path

import ray
from ray import serve
from starlette.requests import Request

BATCH, WAIT_SECONDS, CONCURRENT = 64, 0.001, 256


@serve.deployment(max_ongoing_requests=CONCURRENT)
class Model:
    """One replica, which uses all cores through TensorFlow."""

    def __init__(self, folder: str):
        sys.path.insert(0, os.environ["PEERS"])
        from saved_model import SavedModel

        self.model = SavedModel(folder)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_SECONDS)
    async def together(self, instances: list) -> list:
        """Answer what came in meanwhile."""
        return self.model.answer(instances)

    async def __call__(self, request: Request) -> dict:
        """Answer one request of one instance."""
        (instance,) = (await request.json())["instances"]
        return {"predictions": [await self.together(instance)]}


if __name__ == "__main__":
    peers = str(Path(__file__).resolve().parent)
    ray.init(include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PEERS": peers}})
    serve.start(http_options={"port": int(os.environ["PORT"])})
    serve.run(Model.bind(os.environ["EXPORT"]), route_prefix="/predict")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that Ray's own processes end with this one
    try:
        while True:
            time.sleep(1)
    finally:
        ray.shutdown()
