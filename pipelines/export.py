"""A SavedModel with named raw inputs and named readable answers, in a folder of numbered versions."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_text  # noqa: F401 - knows the operations that exports with subwords are made of

from pipelines.batches import raw_batches
from pipelines.errors import UserError
from pipelines.evaluation import concatenate
from pipelines.fit import Fitted

ABOUT = Path("assets.extra") / "about.json"  # a folder that SavedModel leaves to its writers


def write_export(fitted: Fitted, folder: Path) -> Path:
    """Write the next version below `folder` and give its path; a half-written version is never to be seen.

    Raises:
        UserError: where `folder` cannot be written.
    """
    temporary = folder / f".{os.getpid()}.tmp"
    archive = keras.export.ExportArchive()
    fitted.answerer.function.get_concrete_function()  # a lookup can be tracked only once it was called
    for resource in (fitted.model, *fitted.preprocessor.lookups):
        archive.track(resource)
    for name, endpoint in fitted.endpoints.items():
        archive.add_endpoint(name, endpoint.answer, input_signature=[endpoint.signature])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        archive.write_out(str(temporary), verbose=False)
        about = {"task": fitted.config.task, "model": fitted.config.model, "reading": fitted.reading}
        (temporary / ABOUT).parent.mkdir(parents=True, exist_ok=True)
        (temporary / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
        versions = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
        version = folder / str(max(versions, default=0) + 1)
        temporary.replace(version)
    except OSError as error:
        raise UserError(str(folder), f"cannot write an export here ({os.strerror(error.errno)})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return version


class Export:
    """A loaded export, which needs none of the code that made it."""

    def __init__(self, folder: str | Path):
        """Load a version's folder, or the newest version in a folder of versions.

        Raises:
            UserError: where there is none.
        """
        folder = self.version(Path(folder))
        about = json.loads((folder / ABOUT).read_text())
        self.task: str = about["task"]
        self.reading: dict[str, Any] = about["reading"]
        self._function = tf.saved_model.load(str(folder)).signatures["serving_default"]

    @staticmethod
    def version(folder: Path) -> Path:
        """Find the version to load: `folder` itself, or the highest number in it."""
        if not (folder / "saved_model.pb").is_file() and folder.is_dir():
            versions = [path for path in folder.iterdir() if path.name.isdigit()]
            folder = max(versions, key=lambda path: int(path.name), default=folder)
        if not (folder / ABOUT).is_file():
            raise UserError(str(folder), "neither a run folder nor an export")
        return folder

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Name the raw inputs of a client."""
        return self._function.structured_input_signature[1]

    def answer_table(self, examples: pd.DataFrame) -> Mapping[str, np.ndarray]:
        """Answer every row of a table of raw inputs."""
        raw = raw_batches(examples[list(self.signature)])
        return concatenate([self._function(**batch) for batch in raw])
