"""Train each rung of a task for an epoch, in tiny, and print what has to be the same in every process."""

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

import numpy as np  # noqa: E402 - after TensorFlow, which is to be quiet
from presets import TINY as PRESETS  # noqa: E402

from pipelines.config.load import load_config  # noqa: E402
from pipelines.config.read import shipped_config  # noqa: E402
from pipelines.fit import adapt_preprocessor, train_model  # noqa: E402
from pipelines.runs.run import Run  # noqa: E402
from pipelines.tasks import load_task  # noqa: E402
from pipelines.trained_model import load_run_dataset  # noqa: E402

TINY = {
    "cat_classifier": ["data.count=120", "preprocessing.image_size=32", "models.resnet.filters=4"],
    "house_prices": [],
    "entity_tagger": ["data.count=200"],
    "translator": ["preprocessing.vocabulary=300", "batches.tokens=512"],
    "language_model": ["batches.steps=2", "models.transformer.layers=1", "models.gru.counts=3"],
}
EXAMPLES = 40  # of each split


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Tell arrays apart that differ in a single bit."""
    whole = hashlib.sha256()
    for array in map(np.asarray, arrays):
        whole.update(array.tobytes())
    return whole.hexdigest()


def repeat(task: str, folder: Path) -> dict:
    """Give the preprocessor's state, and each rung's weights before and after training with its figures."""
    every = [*TINY[task], "training.epochs=1", "training.execution={jit_compile: false, steps_per_execution: 1}"]
    if task == "language_model":
        every.append(f"preprocessing.token_folder={folder}/tokens")
    load_task(task).samples = 0  # what a model writes as it trains is slow, and drawn by a seed of its own
    config = load_config(shipped_config(task), every)
    dataset = load_run_dataset(config)
    small = {name: dataset[name].head(EXAMPLES) for name in ("train", "validation", "test")}
    dataset = replace(dataset, **small)
    preprocessor = adapt_preprocessor(config, dataset)
    found = {"preprocessor": digest(preprocessor.state.values())}
    for rung, settings in config.models.items():
        run, own, adapted = Run(folder / rung), [*every, f"model={rung}"], preprocessor
        if "preset" in settings:
            own.append(f"models.{rung}.preset={PRESETS[load_task(task).preset_kind](folder / 'preset')}")
            adapted = adapt_preprocessor(load_config(shipped_config(task), own), dataset)
        trained = train_model(load_config(shipped_config(task), own), run, dataset, adapted)
        figures = {name: value for name, value in run.best_epoch().items() if name != "seconds"}
        found[rung] = {"weights": digest(trained.model.get_weights()), **figures}
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(repeat(sys.argv[1], Path(temporary))))
