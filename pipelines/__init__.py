"""Keras task pipelines: train, evaluate, export and serve a Keras model from a config file."""

from pipelines.api import (
    ExportedModel,
    FinishedAudit,
    FinishedComparison,
    FinishedSearch,
    TrainedRun,
    audit_data,
    compare,
    compare_runs,
    diagnose,
    inspect,
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
    "FinishedAudit",
    "FinishedComparison",
    "FinishedSearch",
    "TrainedRun",
    "UserError",
    "audit_data",
    "compare",
    "compare_runs",
    "diagnose",
    "inspect",
    "load",
    "load_code",
    "load_data",
    "models",
    "train",
    "tune",
]
__version__ = "0.1.0"  # the single source: packaging, `--version` and the server read it from here
