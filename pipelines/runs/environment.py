"""Describe the environment of a run."""

import contextlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
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
    "jax",
)
VECTORS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")


def describe_environment() -> dict[str, Any]:
    """Return the command, the platform and package versions; the version is None if a package is not installed."""
    return {
        "command": ["pipelines", *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {package: package_version(package) for package in PACKAGES},
        "processor": describe_processor(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",  # kernels with other rounding
        "code": fingerprints(),
    }


def package_version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed.

    Another distribution may hold it, as `tensorflow-cpu` holds `tensorflow`.
    """
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    holders = packages_distributions().get(package)
    return version(holders[0]) if holders else None


def describe_processor() -> str:
    """Return the family of the processor and its vector extensions, on which speed and rounding depend."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        flags = {*facts.get("flags", "").split(), *facts.get("Features", "").split()}
        known = [facts.get("vendor_id", platform.machine())]
        known += [f"{key.split()[-1]} {facts[key]}" for key in ("cpu family", "model") if key in facts]
        vectors = [name for name in VECTORS if name in flags]
        return f"{' '.join(known)}, {' '.join(vectors) or 'no known vector extensions'}"
    return platform.processor() or platform.machine()
