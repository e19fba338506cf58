"""Load an export to predict raw inputs in this process."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.evaluation import answer_table, answer_with
from pipelines.export.saved_model import load_saved_model
from pipelines.export_folder import ExportVersion, numbered
from pipelines.tensorflow_startup import silenced


class LoadedExport:
    """A loaded export, which needs none of the code that created it."""

    def __init__(self, folder: str | Path):
        """Load a version's folder, or the newest version in a folder of versions.

        Raises:
            UserError: If there is no version.
        """
        version = newest_version(Path(folder))
        try:
            about = json.loads(version.about.read_text())
            self.task: str = about["task"]
            self.reading: dict[str, Any] = about["reading"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(str(version.about), "is missing or damaged; export the run again") from None
        with silenced():  # SentencePiece reports that the model has no normalizer
            self._function = load_saved_model(version.folder).signatures["serving_default"]

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Specs of the raw inputs of a client, by name."""
        return self._function.structured_input_signature[1]

    def answer_table(self, examples: pd.DataFrame) -> Mapping[str, np.ndarray]:
        """Predict every row of a table of raw inputs."""
        answer = partial(answer_with, self.signature, lambda raw: self._function(**raw))
        return answer_table(answer, examples[list(self.signature)])


def newest_version(folder: Path) -> ExportVersion:
    """Return the version to load: `folder` itself, or the highest version in it."""
    if not ExportVersion(folder).saved_model.is_file() and folder.is_dir():
        folder = next(reversed(numbered(folder)), folder)
    if not ExportVersion(folder).about.is_file():
        raise UserError(str(folder), "is neither a run folder nor an export")
    return ExportVersion(folder)
