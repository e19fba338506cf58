"""Forms of an export beside the SavedModel, ONNX and LiteRT, for the models that answer numbers with numbers."""

import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.export.parity_worker import FILES
from pipelines.task import NumericEndpoint
from pipelines.trained_model import TrainedModel

PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
OPSET = 17  # of ONNX: what its runtimes have known since 2022
NAMED = 8  # operations that an error lists


def check_installed(forms: Iterable[str]) -> None:
    """Check that what writes and runs these forms is there.

    Raises:
        UserError: naming what to install.
    """
    for form in forms:
        for package in PACKAGES.get(form, ()):
            if find_spec(package) is None:
                mend = f"install it with: pip install 'keras-task-pipelines[{form}]'"
                raise UserError(f"--format {form}", f"'{package}' is missing; {mend}")


def numeric_endpoint(trained: TrainedModel, form: str) -> NumericEndpoint:
    """Give what a model answers in numbers.

    Raises:
        UserError: where it cannot do without texts, naming the operations that stand in the way.
    """
    endpoint = trained.task.numeric_endpoint(trained.model, trained.preprocessor)
    if endpoint is not None:
        return endpoint
    serve = trained.endpoints["serve"]
    graph = tf.function(serve.answer, input_signature=[serve.signature]).get_concrete_function().graph
    texts = {node.type for node in graph.get_operations() if _handles_texts(node)}
    raise UserError(
        f"--format {form}",
        f"knows numbers alone, and {trained.config.task} answers texts with {_listed(texts)}; export a saved_model",
    )


def write_onnx(trained: TrainedModel, endpoint: NumericEndpoint, folder: Path) -> None:
    """Write `model.onnx`.

    Raises:
        UserError: naming the operations that ONNX has no counterpart for.
    """
    import onnx
    import tf2onnx

    function = tf.function(endpoint.answer, input_signature=[endpoint.signature])
    with _quiet("tf2onnx", "tensorflow"):  # what it cannot convert is found below, and said once
        model, _ = tf2onnx.convert.from_function(
            function, [endpoint.signature], opset=OPSET, custom_op_handlers={"Log1p": (_log1p, [])}
        )
    unknown = {node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)}
    if unknown:
        raise UserError("--format onnx", f"has no counterpart for {_listed(unknown)}, of which this model is made")
    onnx.save(model, folder / FILES["onnx"])


def write_litert(trained: TrainedModel, endpoint: NumericEndpoint, folder: Path) -> None:
    """Write `model.tflite`, of operations that every build of LiteRT has.

    Raises:
        UserError: naming the operations that LiteRT has no counterpart for.
    """
    archive = keras.export.ExportArchive()
    archive.track(trained.model)
    archive.add_endpoint("serve", endpoint.answer, input_signature=[endpoint.signature])
    try:
        with _quiet("tensorflow"), tempfile.TemporaryDirectory() as saved_model:
            archive.write_out(saved_model, verbose=False)
            content = tf.lite.TFLiteConverter.from_saved_model(saved_model).convert()
    except Exception as error:  # the converter's own kind of error is not public
        unknown = re.findall(r"(?:Select|Custom) ops: ([\w, ]+)", str(error))
        if not unknown:
            raise
        names = {name.strip() for part in unknown for name in part.split(",")}
        problem = f"has no counterpart for {_listed(names)}, of which this model is made"
        raise UserError("--format litert", problem) from None
    (folder / FILES["litert"]).write_bytes(content)


WRITERS: dict[str, Callable[[TrainedModel, NumericEndpoint, Path], None]] = {"onnx": write_onnx, "litert": write_litert}


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _log1p(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write log(1 + x) in two operations, since ONNX has no single one."""
    one = graph.make_const(f"{name}_one", np.float32(1))
    plus = graph.make_node("Add", [node.input[0], one.output[0]], dtypes=[graph.get_dtype(node.output[0])])
    node.type = "Log"
    graph.replace_inputs(node, [plus.output[0]])


def _handles_texts(node: tf.Operation) -> bool:
    """Say whether an operation reads texts or writes them, rather than moves them about as it would numbers."""
    about_texts = re.search("String|Regex|Lookup|Unicode|Substr|Sentencepiece", node.type)
    return bool(about_texts) and any(tensor.dtype == tf.string for tensor in (*node.inputs, *node.outputs))


def _listed(operations: set[str]) -> str:
    names = sorted(operations)
    more = f" and {len(names) - NAMED} more operations" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
