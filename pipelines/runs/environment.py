"""What a run depends on besides its config and its data."""

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
    """Name the command, the platform, and the versions of packages; null where one is not installed."""
    versions = {}
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
