"""Whether an export answers as the model does that was measured: held-out raw inputs through both."""

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
from pipelines.evaluation import Answerer
from pipelines.export.formats import FORMATS, Arrays
from pipelines.storage import writing
from pipelines.task import Endpoint, NumericEndpoint, evenly_spaced
from pipelines.trained_model import TrainedModel

DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY  # what an export calls the endpoint `serve`
COMPARED = 256  # test examples, evenly evenly_spaced over the split

NUMBERS_APART, ROWS_DIFFER = "largest_difference", "differing_rows"
REFUSED = (
    "does not come out as the run's model gives it ({0} {1:.3g}); the export is refused and nothing was written."
    " This is no mistake of yours: please report it, with the run's config.yaml and environment.json"
)


@dataclass(frozen=True)
class Questions:
    """Held-out raw inputs as clients would send them, and the model's answers to them."""

    examples: int
    requests: list[tuple[str, Arrays]] = field(default_factory=list)  # signature and inputs
    answers: list[Arrays] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # signature -> why no example can be sent to it


def ask(trained: TrainedModel, test: pd.DataFrame) -> Questions:
    """Send examples of the test split to each endpoint of a model, in this process."""
    examples = evenly_spaced(trained.task.evaluation_examples("test", test), COMPARED)
    sent = trained.task.client_inputs(examples)
    columns = sent.join(examples[[name for name in examples if name not in sent]])
    questions = Questions(len(examples))
    for name, endpoint in trained.endpoints.items():
        signature = DEFAULT if name == "serve" else name
        lacking = [key for key in endpoint.signature if key not in columns and key not in endpoint.typical]
        if lacking:
            questions.left_out[signature] = f"no example holds {', '.join(lacking)}"
            continue
        answerer = Answerer(endpoint)
        for inputs in _inputs(endpoint, columns):
            questions.requests.append((signature, _arrays(inputs)))
            questions.answers.append(_arrays(answerer.function(inputs)))
    return questions


def ask_in_numbers(questions: Questions, endpoint: NumericEndpoint) -> Questions:
    """Put what was sent to `serve` in numbers, for formats that know nothing else; the model's answers stay."""
    numbers = Questions(questions.examples, left_out={"all but serve": "this format has a single signature"})
    for (signature, inputs), answers in zip(questions.requests, questions.answers, strict=True):
        if signature == DEFAULT:
            raw = {name: tf.constant(array) for name, array in inputs.items()}
            numbers.requests.append((signature, _arrays(endpoint.numbers(raw))))
            numbers.answers.append(answers)
    return numbers


def compare(format_name: str, folder: Path, questions: Questions) -> dict[str, Any]:
    """Answer the same raw inputs from a format of an export in a fresh process; return what was compared.

    Numbers may lie apart by the format's tolerance; texts and whole numbers must be equal.

    Raises:
        UserError: where answers drift.
    """
    answers, versions = _answers_of_a_fresh_process(format_name, folder, questions)
    tolerance = FORMATS[format_name].tolerance
    signatures: dict[str, Any] = {}
    for (signature, inputs), own, other in zip(questions.requests, questions.answers, answers, strict=True):
        entry = signatures.setdefault(signature, {"inputs": sorted(inputs), "answers": {}})
        for name in sorted(other):
            kind, apart = _difference(own[name], other[name])
            if not apart <= (tolerance if kind == NUMBERS_APART else 0):
                raise UserError(
                    f"{format_name}, signature '{signature}', answer '{name}'",
                    REFUSED.format(kind.replace("_", " "), apart),
                )
            entry["answers"][name] = {kind: max(apart, entry["answers"].get(name, {kind: 0})[kind])}
    return {"versions": versions, "tolerance": tolerance, "signatures": signatures, "left_out": questions.left_out}


def _inputs(endpoint: Endpoint, columns: pd.DataFrame) -> Iterator[dict[str, tf.Tensor]]:
    known = [name for name in endpoint.signature if name in columns]
    sizes = (size for spec in endpoint.signature.values() for size in spec.shape[:1] if size)
    most = min(sizes, default=len(columns))
    for batch in raw_batches(columns[known].head(most)):  # a signature may be for so many rows and no more
        rows = len(next(iter(batch.values())))
        typical = {name: tf.fill([rows], value) for name, value in endpoint.typical.items()}
        whole = {**typical, **batch}
        yield {name: tf.cast(whole[name], spec.dtype) for name, spec in endpoint.signature.items()}


def _arrays(tensors: Any) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _answers_of_a_fresh_process(name: str, folder: Path, questions: Questions) -> tuple[list[Arrays], dict[str, str]]:
    root = Path(__file__).parents[2]
    # Without the second variable TensorFlow imports Keras at its start.
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_USE_LEGACY_KERAS": "1"}
    with writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as exchange:
        requests, answers = Path(exchange) / "requests", Path(exchange) / "answers"
        requests.write_bytes(pickle.dumps(questions.requests))
        worker = [sys.executable, "-P", "-m", "pipelines.export.parity_worker"]
        command = [*worker, name, str(folder.resolve()), requests, answers]
        done = subprocess.run(command, cwd=exchange, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the exported {name} does not answer in a fresh process:\n{done.stderr}")
        return pickle.loads(answers.read_bytes())


def _difference(own: np.ndarray, other: np.ndarray) -> tuple[str, float]:
    """Give how far numbers lie apart, as a share of the largest, or how many rows of texts and whole numbers differ."""
    if own.shape != other.shape:
        return ROWS_DIFFER, len(own)
    if own.dtype.kind != "f":
        return ROWS_DIFFER, int((own != other).reshape(len(own), -1).any(axis=1).sum())
    same = (own == other) | (np.isnan(own) & np.isnan(other))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        apart = np.where(same, 0.0, np.abs(own.astype("float64") - other))
    scale = np.abs(own[np.isfinite(own)]).max(initial=0.0) or 1.0
    return NUMBERS_APART, float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0) / scale)
