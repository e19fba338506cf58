"""Keras task pipelines: from a config file to a trained, measured, exported and served Keras model."""

from pipelines.api import ExportedModel, FinishedSearch, TrainedRun, load, load_data, models, train, tune
from pipelines.errors import DataWarning, UserError

__all__ = [
    "DataWarning",
    "ExportedModel",
    "FinishedSearch",
    "TrainedRun",
    "UserError",
    "load",
    "load_data",
    "models",
    "train",
    "tune",
]
__version__ = "0.1.0"  # the one place: packaging, `--version` and the server read it here
