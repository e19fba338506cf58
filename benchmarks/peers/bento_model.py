"""The SavedModel on BentoML, with its adaptive batching.

EXPORT=exports/house_prices bentoml serve benchmarks.peers.bento_model:Model --port 8900
"""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml

BATCH, LATENCY_MS, CONCURRENT = 64, 10_000, 256


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": CONCURRENT})
class Model:
    """One worker, which uses all cores through TensorFlow."""

    def __init__(self):
        sys.path.insert(0, str(Path(__file__).parent))
        from saved_model import SavedModel

        self.model = SavedModel(os.environ["EXPORT"])

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=LATENCY_MS)
    def predict(self, instances: list[Any]) -> list[Any]:
        """Answer what came in meanwhile."""
        return self.model.answer(instances)
