"""Describe the environment of a run."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipelines.extensions import fingerprints

PACKAGES = (
    "tensorflow",
    "keras",
    "keras-tuner",
    "tensorflow-datasets",
    "tensorflow-text",
    "sentencepiece",
    "numpy",
    "pandas",
    "scikit-learn",
    "sacrebleu",
)


def describe_environment() -> dict[str, Any]:
    """Return the command, the platform and package versions; the version is None if a package is not installed."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "command": ["pipelines", *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": versions,
        "code": fingerprints(),
    }
