"""One loaded version of an export: its signatures, warm-up and usage count."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipelines.export.saved_model import load_saved_model, read_graph
from pipelines.export_folder import ExportVersion
from pipelines.serving.logs import log
from pipelines.serving.models.protos import from_proto
from pipelines.serving.models.signatures import DEFAULT, Arrays, Signature
from pipelines.serving.models.statistics import Statistics
from pipelines.serving.models.tensors import Spec

MOST_WARMUPS = 1000  # the limit of TensorFlow Serving


class Version:
    """A SavedModel in memory."""

    def __init__(self, folder: Path):
        """Load the SavedModel and the metadata in a version's folder.

        Raises:
            Exception: If TensorFlow cannot load the folder.
        """
        self.number = int(folder.name)
        self.folder = folder
        signatures = read_graph(folder).signature_def.items()
        self.definitions = {name: definition for name, definition in signatures if not name.startswith("__")}
        self._loaded = load_saved_model(folder)  # signatures stop working when this is freed
        functions = self._loaded.signatures
        about = ExportVersion(folder).about
        self.about: dict[str, Any] = json.loads(about.read_text()) if about.is_file() else {}
        self.signatures = dict(self._readable(functions))
        if not self.signatures:
            raise ValueError("no signature can be served")
        self.examples: dict[str, Arrays] = {}  # signature name -> inputs of its first recorded request
        self.statistics = Statistics()
        self.users = 0

    def _readable(self, functions: Mapping[str, Any]) -> Iterator[tuple[str, Signature]]:
        """Yield the signatures that can be served: one with a ragged or sparse tensor, for example, cannot."""
        for name, definition in self.definitions.items():
            try:
                defaults = self.about.get("defaults", {}).get(name)
                yield name, Signature.read(name, definition, functions[name], defaults)
            except (KeyError, TypeError, ValueError) as error:
                log(
                    "signature not served", logging.WARNING, version=str(self.folder), signature=name, reason=str(error)
                )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the version loaded during a request."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1

    def unload(self) -> None:
        """Free the model."""
        self.signatures = {}
        self._loaded = None

    def warm_up(self) -> int:
        """Run the recorded warm-up requests, or a made-up one per signature; return how many succeeded.

        Raises:
            Exception: If the model fails on a recorded request.
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
        except Exception:  # a valid model may reject made-up inputs, such as an empty string as an image
            return 0
        return 1


def made_up(signature: Signature) -> Arrays:
    """Return a request of zeros and empty strings, with size 1 for each variable dimension."""

    def array(spec: Spec) -> np.ndarray:
        shape = [length or 1 for length in spec.shape or (1,)]
        return np.full(shape, spec.empty, object if spec.is_text else spec.dtype.as_numpy_dtype)

    return {name: array(spec) for name, spec in signature.inputs.items()}
