"""Write an export: a SavedModel from raw inputs to readable outputs, in a folder of numbered versions."""

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipelines.audit.sketch import sketch_of
from pipelines.data import Dataset
from pipelines.export.conversion import numeric_endpoint
from pipelines.export.formats import FORMATS, check_installed
from pipelines.export.model_card import model_card
from pipelines.export.parity import DEFAULT, Questions, ask, ask_in_numbers, compare
from pipelines.export_folder import ExportVersion, numbered
from pipelines.operating_point import OperatingPoint
from pipelines.runs.run import Run
from pipelines.starts import origin
from pipelines.storage import as_json, writing
from pipelines.trained_model import TrainedModel

WARMUP_ROWS = (1, 8)  # batch sizes of the requests that a server runs for warmup


def write_export(
    trained: TrainedModel,
    run: Run,
    folder: Path,
    dataset: Dataset | None,
    formats: Sequence[str] = ("saved_model",),
    point: OperatingPoint | None = None,
) -> Path:
    """Write the next version to `folder` and return its path. An incomplete or differing version never appears there.

    Every version has a SavedModel; `formats` may name additional formats. Each format must make the same predictions
    as the model on examples of the test split of `dataset`, in a new process. Without `dataset`, nothing is compared,
    and the export has no sketch of its training data.
    `point` is the operating point of `trained`, if it differs from the run's.

    Raises:
        UserError: If `folder` cannot be written, a format does not support the model, or predictions differ.
    """
    check_installed(formats)
    writers = {name: write for name in formats if (write := FORMATS[name].write) is not None}
    endpoints = {name: numeric_endpoint(trained, name) for name in writers}
    temporary = folder / f".{os.getpid()}.tmp"
    version = ExportVersion(temporary)
    try:
        with writing(folder, "cannot write an export here"):
            folder.mkdir(parents=True, exist_ok=True)
            _write_saved_model(trained, version, point)
            for name, write in writers.items():
                write(trained, endpoints[name], temporary)
                _write_json(version.numbers, endpoints[name].reading)
            parity = {"compared": False, "reason": "the test examples were not available"}
            if dataset is not None:
                questions = ask(trained, dataset.test)
                _write_sketch(trained, dataset.train, version)
                asked = {name: ask_in_numbers(questions, endpoint) for name, endpoint in endpoints.items()}
                parity = _parity(run, temporary, {"saved_model": questions, **asked})
                _write_warmup(version.warmup_requests, folder.name, questions)
            _write_json(version.parity, {"run": origin(str(run.folder)), **parity})
            version.model_card.write_text(model_card(trained, run, parity, point), encoding="utf-8")
            return _as_next_version(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _as_next_version(temporary: Path, folder: Path) -> Path:
    """Rename a finished export to the next free version number; retry if another process took it."""
    number = max((int(path.name) for path in numbered(folder)), default=0) + 1
    try:
        return temporary.replace(folder / str(number))
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return _as_next_version(temporary, folder)


def _write_saved_model(trained: TrainedModel, version: ExportVersion, point: OperatingPoint | None) -> None:
    # Not `keras.export.ExportArchive`, which gives TensorFlow the functions: while it saves, it would trace each again.
    traces = {name: answerer.function.get_concrete_function() for name, answerer in trained.answerers.items()}
    module = tf.Module()
    module.tracked = [variable for trace in traces.values() for variable in trace.variables]
    for root in (trained.model, *trained.preprocessor.lookups):
        parts = tf.train.TrackableView(root).descendants()
        module.tracked += [part for part in parts if isinstance(part, tf.saved_model.experimental.TrackableResource)]
    tf.saved_model.save(module, str(version.folder), {**traces, DEFAULT: traces["serve"]})
    version.about.parent.mkdir(exist_ok=True)
    about = {"task": trained.config.task, "model": trained.config.model, "reading": trained.reading}
    chosen = {"operating_point": point.record()} if point else {}
    defaults = {name: each.typical for name, each in trained.endpoints.items() if each.typical}
    preset = trained.preprocessor.preset
    chat = {"chat": preset.chat} if preset is not None and preset.chat else {}
    _write_json(version.about, {**about, **chosen, "defaults": defaults, **chat})


def _parity(run: Run, folder: Path, asked: Mapping[str, Questions]) -> dict[str, Any]:
    """Compare each format with the model and return the record."""
    return {
        "compared": True,
        "split": "test",
        "fingerprint": run.data()["fingerprint"]["test"],
        "examples": asked["saved_model"].examples,
        "formats": {name: compare(name, folder, questions) for name, questions in asked.items()},
    }


def _write_sketch(trained: TrainedModel, train: pd.DataFrame, version: ExportVersion) -> None:
    sketch = sketch_of(trained.task.fields, train)
    if sketch is not None:
        _write_json(version.sketch, sketch.record())


def _write_warmup(path: Path, model: str, questions: Questions) -> None:
    """Record a few of the compared requests, as warmup for TensorFlow Serving and the built-in server."""
    asked = dict(reversed(questions.requests))  # keeps the first request to each signature
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in asked.items():
            for rows in WARMUP_ROWS:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = model, signature
                for name, array in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(array[:rows]))
                file.write(log.SerializeToString())


def _write_json(path: Path, content: Any) -> None:
    path.write_text(as_json(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
