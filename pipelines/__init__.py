"""Keras task pipelines: train, evaluate, export and serve a Keras model from a config file."""

from pipelines.api import (
    ExportedModel,
    FinishedComparison,
    FinishedSearch,
    TrainedRun,
    compare,
    compare_runs,
    diagnose,
    load,
    load_code,
    load_data,
    models,
    train,
    tune,
)
from pipelines.errors import DataWarning, UserError

__all__ = [
    "DataWarning",
    "ExportedModel",
    "FinishedComparison",
    "FinishedSearch",
    "TrainedRun",
    "UserError",
    "compare",
    "compare_runs",
    "diagnose",
    "load",
    "load_code",
    "load_data",
    "models",
    "train",
    "tune",
]
__version__ = "0.1.0"  # the single source: packaging, `--version` and the server read it from here
