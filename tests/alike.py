"""Train a config on one device and on two of one process, and say by how much they differ: a process for tests to start.

The arguments are a folder, a config and its overrides.
"""

import json
import sys
from pathlib import Path

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow()

import numpy as np  # noqa: E402 - after TensorFlow, which prints when it is imported

from pipelines.commands.train import train  # noqa: E402
from pipelines.training.devices import connect  # noqa: E402


def differences(folder: Path, config: str, overrides: list[str]) -> dict[str, object]:
    """Return the largest difference of weights, and of metrics relative to their size, and the computing on two."""
    connect("mirrored", 2)
    weights, metrics = [], []
    for name, strategy in (("one", "{strategy: one}"), ("two", "{strategy: mirrored, count: 2}")):
        trained, run = train(config, [*overrides, f"training.devices={strategy}"], folder / name)
        weights.append(trained.model.get_weights())
        metrics.append(np.array([value for split in run.metrics().values() for value in split.values()]))
    apart = [np.abs(one - two).max() for one, two in zip(*weights, strict=True) if one.dtype.kind == "f"]
    one, two = metrics
    relative = np.abs(one - two) / np.maximum(np.abs(one), 1e-3)
    return {"weights": float(max(apart)), "metrics": float(relative.max()), **run.environment()["training"][-1]}


if __name__ == "__main__":
    folder, config, *overrides = sys.argv[1:]
    print(json.dumps(differences(Path(folder), config, overrides)))
