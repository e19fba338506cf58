"""Check that an export and the evaluated model make the same predictions on held-out inputs."""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.batches import raw_batches
from pipelines.errors import UserError
from pipelines.export.conversion import Arrays
from pipelines.export.formats import FORMATS
from pipelines.storage import writing
from pipelines.task import Endpoint, NumericEndpoint, evenly_spaced
from pipelines.trained_model import TrainedModel

DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY  # the signature name of the endpoint `serve`
COMPARED = 256  # test examples, evenly spaced over the split

NUMBERS_APART, ROWS_DIFFER, PIXELS_APART = "largest_difference", "differing_rows", "largest_pixel_difference"
PIXEL_TOLERANCE = 0.05  # share of the range: a number that is rounded the other way may change a colour a little
PNG = b"\x89PNG\r\n"  # how a PNG file starts
REFUSED = (
    "differs from the prediction of the run's model ({0}: {1:.3g}), so nothing was exported."
    " This is a bug: please report it with the run's config.yaml and environment.json"
)


@dataclass(frozen=True)
class Questions:
    """Held-out raw inputs as clients would send them, and the model's predictions."""

    examples: int
    requests: list[tuple[str, Arrays]] = field(default_factory=list)  # (signature, inputs)
    answers: list[Arrays] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # signature -> why it could not be compared


def ask(trained: TrainedModel, test: pd.DataFrame) -> Questions:
    """Predict test examples with each endpoint of a model, in this process."""
    examples = evenly_spaced(trained.task.evaluation_examples("test", test), COMPARED)
    sent = trained.task.client_inputs(examples)
    columns = sent.join(examples[[name for name in examples if name not in sent]])
    questions = Questions(len(examples))
    for name, endpoint in trained.endpoints.items():
        signature = DEFAULT if name == "serve" else name
        lacking = [key for key in endpoint.signature if key not in columns and key not in endpoint.typical]
        if lacking:
            questions.left_out[signature] = f"the examples have no {', '.join(lacking)}"
            continue
        for inputs in _inputs(endpoint, columns.head(endpoint.compared or COMPARED)):
            questions.requests.append((signature, _arrays(inputs)))
            questions.answers.append(_arrays(trained.answerers[name].function(inputs)))
    return questions


def ask_in_numbers(questions: Questions, endpoint: NumericEndpoint) -> Questions:
    """Convert the requests to `serve` to numeric inputs, for numeric-only formats; keep the model's predictions."""
    numbers = Questions(questions.examples, left_out={"all but serve": "this format has a single signature"})
    for (signature, inputs), answers in zip(questions.requests, questions.answers, strict=True):
        if signature == DEFAULT:
            raw = {name: tf.constant(array) for name, array in inputs.items()}
            numbers.requests.append((signature, _arrays(endpoint.numbers(raw))))
            numbers.answers.append(answers)
    return numbers


def compare(format_name: str, folder: Path, questions: Questions) -> dict[str, Any]:
    """Predict the same raw inputs with an export format in a new process, and return the comparison.

    Floats may differ by the format's tolerance, and pixels of PNG files a little. Texts and integers must be equal.

    Raises:
        UserError: If predictions differ.
    """
    answers, versions = _answers_of_a_fresh_process(format_name, folder, questions)
    tolerance = FORMATS[format_name].tolerance
    allowed = {NUMBERS_APART: tolerance, PIXELS_APART: PIXEL_TOLERANCE, ROWS_DIFFER: 0}
    signatures: dict[str, Any] = {}
    for (signature, inputs), own, other in zip(questions.requests, questions.answers, answers, strict=True):
        entry = signatures.setdefault(signature, {"inputs": sorted(inputs), "answers": {}})
        for name in sorted(other):
            kind, apart = _difference(own[name], other[name])
            if not apart <= allowed[kind]:
                raise UserError(
                    f"{format_name}, signature '{signature}', output '{name}'",
                    REFUSED.format(kind.replace("_", " "), apart),
                )
            entry["answers"][name] = {kind: max(apart, entry["answers"].get(name, {kind: 0})[kind])}
    return {"versions": versions, "tolerance": tolerance, "signatures": signatures, "left_out": questions.left_out}


def _inputs(endpoint: Endpoint, columns: pd.DataFrame) -> Iterator[dict[str, tf.Tensor]]:
    known = [name for name in endpoint.signature if name in columns]
    sizes = (size for spec in endpoint.signature.values() for size in spec.shape[:1] if size)
    most = min(sizes, default=len(columns))
    for batch in raw_batches(columns[known].head(most)):  # a signature may have a fixed batch size
        rows = len(next(iter(batch.values())))
        typical = {name: tf.stack([value] * rows) for name, value in endpoint.typical.items()}
        whole = {**typical, **batch}
        yield {name: tf.cast(whole[name], spec.dtype) for name, spec in endpoint.signature.items()}


def _arrays(tensors: Any) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _answers_of_a_fresh_process(name: str, folder: Path, questions: Questions) -> tuple[list[Arrays], dict[str, str]]:
    root = Path(__file__).parents[2]
    # Without TF_USE_LEGACY_KERAS, TensorFlow imports Keras at startup.
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_USE_LEGACY_KERAS": "1"}
    with writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as exchange:
        requests, answers = Path(exchange) / "requests", Path(exchange) / "answers"
        requests.write_bytes(pickle.dumps(questions.requests))
        worker = [sys.executable, "-P", "-m", "pipelines.export.parity_worker"]
        command = [*worker, name, str(folder.resolve()), str(requests), str(answers)]
        done = subprocess.run(command, cwd=exchange, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the exported {name} failed in a new process:\n{done.stderr}")
        return pickle.loads(answers.read_bytes())


def _difference(own: np.ndarray, other: np.ndarray) -> tuple[str, float]:
    """Return the largest relative difference of floats, the largest difference of pixels, or of others the rows."""
    if own.shape != other.shape:
        return ROWS_DIFFER, len(own)
    if own.dtype == object and own.size and all(each.startswith(PNG) for each in (*own.flat, *other.flat)):
        return PIXELS_APART, _pixels_apart(own, other)
    if own.dtype.kind != "f":
        return ROWS_DIFFER, int((own != other).reshape(len(own), -1).any(axis=1).sum())
    same = (own == other) | (np.isnan(own) & np.isnan(other))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        apart = np.where(same, 0.0, np.abs(own.astype("float64") - other))
    scale = np.abs(own[np.isfinite(own)]).max(initial=0.0) or 1.0
    return NUMBERS_APART, float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0) / scale)


def _pixels_apart(own: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of the pixels of PNG files, as a share of their range; 1 if the sizes differ."""
    pairs = [[tf.io.decode_png(each).numpy() for each in pair] for pair in zip(own.flat, other.flat, strict=True)]
    if any(one.shape != two.shape for one, two in pairs):
        return 1.0
    return max(float(np.abs(one.astype("float64") - two).max()) / 255 for one, two in pairs)
