"""The SavedModel on MLServer, with its adaptive batching.

EXPORT=exports/house_prices PORT=8900 python benchmarks/peers/mlserver_model.py FOLDER GRPC_PORT METRICS_PORT
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, ResponseOutput

BATCH, WAIT_SECONDS = 64, 0.001
DATATYPES = {"O": "BYTES", "f": "FP32", "i": "INT32"}


class Model(MLModel):
    """One worker process, which uses all cores through TensorFlow."""

    async def load(self) -> bool:
        """Load the export."""
        from saved_model import SavedModel

        self.model = SavedModel(os.environ["EXPORT"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer what MLServer put together."""
        outputs = self.model.answer_columns({given.name: _values(given) for given in payload.inputs})
        made = [
            ResponseOutput(name=name, shape=list(array.shape), datatype=DATATYPES[array.dtype.kind], data=_plain(array))
            for name, array in outputs.items()
        ]
        return InferenceResponse(model_name=self.name, outputs=made)


def _values(given: RequestInput) -> list:
    values = given.data.root if hasattr(given.data, "root") else given.data
    if given.datatype != "BYTES":
        return list(values)
    texts = [value.encode() if isinstance(value, str) else value for value in values]
    return [base64.b64decode(text) for text in texts] if given.name == "image" else texts


def _plain(array: np.ndarray) -> list:
    flat = array.reshape(-1).tolist()
    return [text.decode() for text in flat] if array.dtype == object else flat


if __name__ == "__main__":
    folder, grpc_port, metrics_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    ports = {"http_port": int(os.environ["PORT"]), "grpc_port": grpc_port, "metrics_port": metrics_port}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "metrics_endpoint": None, **ports}))
    model = {"name": Path(os.environ["EXPORT"]).name, "implementation": "mlserver_model.Model"}
    batching = {"max_batch_size": BATCH, "max_batch_time": WAIT_SECONDS}
    (folder / "model-settings.json").write_text(json.dumps({**model, **batching}))
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent)}
    start = "from mlserver.cli import main; main()"
    sys.exit(subprocess.call([sys.executable, "-c", start, "start", str(folder)], env=paths))
