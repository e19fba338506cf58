"""One loaded version of an export: its signatures, its warm-up, and who still uses it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipelines.export.saved_model import load_saved_model, read_graph
from pipelines.export_folder import ExportVersion
from pipelines.serving.models.protos import from_proto
from pipelines.serving.models.signatures import DEFAULT, Arrays, Signature
from pipelines.serving.models.tensors import Spec

MOST_WARMUPS = 1000  # as TensorFlow Serving reads of such a file


class Version:
    """A SavedModel in memory."""

    def __init__(self, folder: Path):
        """Load a version's folder and read what it says of itself.

        Raises:
            Exception: whatever TensorFlow finds wrong with the folder.
        """
        self.number = int(folder.name)
        self.folder = folder
        signatures = read_graph(folder).signature_def.items()
        self.definitions = {name: definition for name, definition in signatures if not name.startswith("__")}
        self._loaded = load_saved_model(folder)  # signatures stop working where this is let go
        functions = self._loaded.signatures
        self.signatures = {
            name: Signature.read(name, definition, functions[name]) for name, definition in self.definitions.items()
        }
        about = ExportVersion(folder).about
        self.about: dict[str, Any] = json.loads(about.read_text()) if about.is_file() else {}
        self.examples: dict[str, Arrays] = {}  # signature -> the first recorded request to it
        self.users = 0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the version loaded for the time of a request."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1

    def unload(self) -> None:
        """Let go of what the model holds."""
        self.signatures = {}
        self._loaded = None

    def warm_up(self) -> int:
        """Answer the recorded requests, or one made up for each signature; give how many were answered.

        Raises:
            Exception: whatever keeps the model from answering a recorded request.
        """
        recorded = ExportVersion(self.folder).warmup_requests
        if not recorded.is_file():
            return sum(self._try(signature) for signature in self.signatures.values())
        count = 0
        for record in tf.data.TFRecordDataset(str(recorded)).take(MOST_WARMUPS).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") == "predict_log":
                request = log.predict_log.request
                signature = self.signatures[request.model_spec.signature_name or DEFAULT]
                inputs = {key: from_proto(request.inputs[key], spec) for key, spec in signature.inputs.items()}
                signature.call(inputs)
                self.examples.setdefault(signature.name, inputs)
                count += 1
        return count

    @staticmethod
    def _try(signature: Signature) -> int:
        try:
            signature.call(made_up(signature))
        except Exception:  # an empty text is no image: a model may refuse what was made up and still be sound
            return 0
        return 1


def made_up(signature: Signature) -> Arrays:
    """Make a request of zeros and empty texts, with 1 for each dimension that may vary."""

    def array(spec: Spec) -> np.ndarray:
        shape = [length or 1 for length in spec.shape or (1,)]
        return np.full(shape, spec.empty, object if spec.is_text else spec.dtype.as_numpy_dtype)

    return {name: array(spec) for name, spec in signature.inputs.items()}
