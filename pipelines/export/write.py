"""A SavedModel with named raw inputs and named readable answers, in a folder of numbered versions."""

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipelines.errors import UserError
from pipelines.evaluation import answer_table, answer_with
from pipelines.export.formats import WRITERS, check_installed, numeric_endpoint
from pipelines.export.model_card import model_card
from pipelines.export.parity import Questions, ask, ask_in_numbers, compare
from pipelines.export.saved_model import load_saved_model
from pipelines.operating_point import OperatingPoint
from pipelines.runs.run import Run
from pipelines.storage import as_json, writing
from pipelines.tensorflow_startup import silenced
from pipelines.trained_model import TrainedModel

EXTRA = "assets.extra"  # a folder that SavedModel leaves to its writers
ABOUT = Path(EXTRA) / "about.json"
WARMUP = Path(EXTRA) / "tf_serving_warmup_requests"  # where TensorFlow Serving looks for them
WARMUP_ROWS = (1, 8)  # of the requests that a server answers before it takes over
NUMBERS, PARITY, CARD = "numbers.json", "parity.json", "model_card.md"


def write_export(
    trained: TrainedModel,
    run: Run,
    folder: Path,
    test: pd.DataFrame | None,
    forms: Sequence[str] = ("saved_model",),
    point: OperatingPoint | None = None,
) -> Path:
    """Write the next version below `folder` and give its path; a half-written or drifting one is never to be seen.

    Every version holds a SavedModel; `forms` may name others to write beside it. Each form answers examples of the
    split `test` in a process of its own, and has to give what the model gives; without `test` that is left out.
    `point` is the threshold that `trained` has, where it is not the run's.

    Raises:
        UserError: where `folder` cannot be written, a form cannot hold the model, or answers drift.
    """
    check_installed(forms)
    others = {form: numeric_endpoint(trained, form) for form in forms if form != "saved_model"}
    temporary = folder / f".{os.getpid()}.tmp"
    try:
        with writing(folder, "cannot write an export here"):
            folder.mkdir(parents=True, exist_ok=True)
            _write_saved_model(trained, temporary, point)
            for form, endpoint in others.items():
                WRITERS[form](trained, endpoint, temporary)
                _write_json(temporary / NUMBERS, endpoint.reading)
            parity = {"compared": False, "reason": "the examples were not at hand"}
            if test is not None:
                questions = ask(trained, test)
                asked = {form: ask_in_numbers(questions, endpoint) for form, endpoint in others.items()}
                parity = _parity(run, temporary, {"saved_model": questions, **asked})
                _write_warmup(temporary / WARMUP, folder.name, questions)
            _write_json(temporary / PARITY, parity)
            (temporary / CARD).write_text(model_card(trained, run, parity, point), encoding="utf-8")
            return _as_next_version(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _as_next_version(temporary: Path, folder: Path) -> Path:
    """Give a finished export its number, the next where another process was faster."""
    number = max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0) + 1
    try:
        return temporary.replace(folder / str(number))
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return _as_next_version(temporary, folder)


class Export:
    """A loaded export, which needs none of the code that made it."""

    def __init__(self, folder: str | Path):
        """Load a version's folder, or the newest version in a folder of versions.

        Raises:
            UserError: where there is none.
        """
        folder = self.version(Path(folder))
        try:
            about = json.loads((folder / ABOUT).read_text())
            self.task: str = about["task"]
            self.reading: dict[str, Any] = about["reading"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(str(folder / ABOUT), "missing or damaged: this is not what export wrote") from None
        with silenced():  # SentencePiece says that there is no normalisation
            self._function = load_saved_model(folder).signatures["serving_default"]

    @staticmethod
    def version(folder: Path) -> Path:
        """Find the version to load: `folder` itself, or the highest number in it."""
        if not (folder / "saved_model.pb").is_file() and folder.is_dir():
            versions = [path for path in folder.iterdir() if path.name.isdigit()]
            folder = max(versions, key=lambda path: int(path.name), default=folder)
        if not (folder / ABOUT).is_file():
            raise UserError(str(folder), "neither a run folder nor an export")
        return folder

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Name the raw inputs of a client."""
        return self._function.structured_input_signature[1]

    def answer_table(self, examples: pd.DataFrame) -> Mapping[str, np.ndarray]:
        """Answer every row of a table of raw inputs."""
        answer = partial(answer_with, self.signature, lambda raw: self._function(**raw))
        return answer_table(answer, examples[list(self.signature)])


def _write_saved_model(trained: TrainedModel, folder: Path, point: OperatingPoint | None) -> None:
    archive = keras.export.ExportArchive()
    trained.answerer.function.get_concrete_function()  # a lookup can be tracked only once it was called
    for resource in (trained.model, *trained.preprocessor.lookups):
        archive.track(resource)
    for name, endpoint in trained.endpoints.items():
        archive.add_endpoint(name, endpoint.answer, input_signature=[endpoint.signature])
    archive.write_out(str(folder), verbose=False)
    (folder / EXTRA).mkdir(exist_ok=True)
    about = {"task": trained.config.task, "model": trained.config.model, "reading": trained.reading}
    chosen = {"operating_point": point.record()} if point else {}
    _write_json(folder / ABOUT, {**about, **chosen})


def _parity(run: Run, folder: Path, asked: Mapping[str, Questions]) -> dict[str, Any]:
    """Compare each form with the model, and say what was compared."""
    return {
        "compared": True,
        "split": "test",
        "fingerprint": run.data()["fingerprint"]["test"],
        "examples": asked["saved_model"].examples,
        "formats": {form: compare(form, folder, questions) for form, questions in asked.items()},
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
