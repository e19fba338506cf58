"""A SavedModel with named raw inputs and named readable answers, in a folder of numbered versions."""

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipelines.export.conversion import numeric_endpoint
from pipelines.export.formats import FORMATS, check_installed
from pipelines.export.model_card import model_card
from pipelines.export.parity import Questions, ask, ask_in_numbers, compare
from pipelines.export_folder import ExportVersion, numbered
from pipelines.operating_point import OperatingPoint
from pipelines.runs.run import Run
from pipelines.storage import as_json, writing
from pipelines.trained_model import TrainedModel

WARMUP_ROWS = (1, 8)  # of the requests that a server answers before it takes over


def write_export(
    trained: TrainedModel,
    run: Run,
    folder: Path,
    test: pd.DataFrame | None,
    formats: Sequence[str] = ("saved_model",),
    point: OperatingPoint | None = None,
) -> Path:
    """Write the next version below `folder` and give its path; a half-written or drifting one is never to be seen.

    Every version holds a SavedModel; `formats` may name others to write beside it. Each format answers examples of
    the split `test` in a fresh process, and must answer as the model does; without `test` nothing is compared.
    `point` is the threshold of `trained` where it is not the run's.

    Raises:
        UserError: where `folder` cannot be written, a format cannot hold the model, or answers drift.
    """
    check_installed(formats)
    others = {name: numeric_endpoint(trained, name) for name in formats if FORMATS[name].write is not None}
    temporary = folder / f".{os.getpid()}.tmp"
    version = ExportVersion(temporary)
    try:
        with writing(folder, "cannot write an export here"):
            folder.mkdir(parents=True, exist_ok=True)
            _write_saved_model(trained, version, point)
            for name, endpoint in others.items():
                FORMATS[name].write(trained, endpoint, temporary)
                _write_json(version.numbers, endpoint.reading)
            parity = {"compared": False, "reason": "the examples were not at hand"}
            if test is not None:
                questions = ask(trained, test)
                asked = {name: ask_in_numbers(questions, endpoint) for name, endpoint in others.items()}
                parity = _parity(run, temporary, {"saved_model": questions, **asked})
                _write_warmup(version.warmup_requests, folder.name, questions)
            _write_json(version.parity, parity)
            version.model_card.write_text(model_card(trained, run, parity, point), encoding="utf-8")
            return _as_next_version(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _as_next_version(temporary: Path, folder: Path) -> Path:
    """Give a finished export its number, the next where another process was faster."""
    number = max((int(path.name) for path in numbered(folder)), default=0) + 1
    try:
        return temporary.replace(folder / str(number))
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return _as_next_version(temporary, folder)


def _write_saved_model(trained: TrainedModel, version: ExportVersion, point: OperatingPoint | None) -> None:
    archive = keras.export.ExportArchive()
    trained.answerer.function.get_concrete_function()  # a lookup can be tracked only once it was called
    for resource in (trained.model, *trained.preprocessor.lookups):
        archive.track(resource)
    for name, endpoint in trained.endpoints.items():
        archive.add_endpoint(name, endpoint.answer, input_signature=[endpoint.signature])
    archive.write_out(str(version.folder), verbose=False)
    version.about.parent.mkdir(exist_ok=True)
    about = {"task": trained.config.task, "model": trained.config.model, "reading": trained.reading}
    chosen = {"operating_point": point.record()} if point else {}
    _write_json(version.about, {**about, **chosen})


def _parity(run: Run, folder: Path, asked: Mapping[str, Questions]) -> dict[str, Any]:
    """Compare each format with the model, and record what was compared."""
    return {
        "compared": True,
        "split": "test",
        "fingerprint": run.data()["fingerprint"]["test"],
        "examples": asked["saved_model"].examples,
        "formats": {name: compare(name, folder, questions) for name, questions in asked.items()},
    }


def _write_warmup(path: Path, model: str, questions: Questions) -> None:
    """Record a few of the requests that were compared, for TensorFlow Serving and our own server to answer at first."""
    asked = dict(reversed(questions.requests))  # the first request to each signature
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
