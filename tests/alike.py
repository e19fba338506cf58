"""Train a config on one device and on two of one process, for tests that start this in a process of its own.

The arguments are a folder, the number of examples of each split to use, a config and its overrides. What is printed is
JSON: the largest difference of weights, that of the figures of the last epoch relative to their size, and the devices.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow()

import numpy as np  # noqa: E402 - after TensorFlow, which prints when it is imported

from pipelines.config.load import load_config  # noqa: E402
from pipelines.fit import adapt_preprocessor, train_model  # noqa: E402
from pipelines.runs.run import Run  # noqa: E402
from pipelines.trained_model import load_run_dataset  # noqa: E402
from pipelines.training.devices import connect  # noqa: E402


def differences(folder: Path, examples: int, path: str, overrides: list[str]) -> dict[str, object]:
    """Return what is printed."""
    two = connect("mirrored", 2)
    config = load_config(path, overrides)
    dataset = load_run_dataset(config)
    dataset = replace(dataset, **{split: dataset[split].head(examples) for split in ("train", "validation", "test")})
    preprocessor = adapt_preprocessor(config, dataset)
    weights, figures = [], []
    for name, on in (("one", connect("one")), ("two", two)):
        run = Run(folder / name)
        trained = train_model(config, run, dataset, preprocessor, on=on)
        weights.append(trained.model.get_weights())
        figures.append(run.history().drop(columns="seconds").iloc[-1].to_numpy("float64"))
    apart = [np.abs(one - two).max() for one, two in zip(*weights, strict=True) if one.dtype.kind == "f"]
    relative = np.abs(figures[0] - figures[1]) / np.maximum(np.abs(figures[0]), 1e-3)
    return {"weights": float(max(apart)), "figures": float(relative.max()), **run.environment()["training"][-1]}


if __name__ == "__main__":
    folder, examples, path, *overrides = sys.argv[1:]
    print(json.dumps(differences(Path(folder), int(examples), path, overrides)))
