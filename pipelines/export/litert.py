"""The LiteRT format: `model.tflite`, for models with numeric inputs and outputs."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.export.conversion import listed_operations, quiet

if TYPE_CHECKING:
    from pipelines.export.conversion import Answer
    from pipelines.task import NumericEndpoint
    from pipelines.trained_model import TrainedModel

FILE = "model.tflite"


def write(trained: "TrainedModel", endpoint: "NumericEndpoint", folder: Path) -> None:
    """Write a model that only uses LiteRT's built-in operations.

    Raises:
        UserError: If LiteRT does not support an operation; the message names it.
    """
    import keras
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(trained.model)
    archive.add_endpoint("serve", endpoint.answer, input_signature=[endpoint.signature])
    try:
        with quiet("tensorflow"), tempfile.TemporaryDirectory() as saved_model:
            archive.write_out(saved_model, verbose=False)
            content = tf.lite.TFLiteConverter.from_saved_model(saved_model).convert()
    except Exception as error:  # the converter's own error type is not public
        unknown = re.findall(r"(?:Select|Custom) ops: ([\w, ]+)", str(error))
        if not unknown:
            raise
        names = {name.strip() for part in unknown for name in part.split(",")}
        problem = f"LiteRT does not support {listed_operations(names)}, which this model uses"
        raise UserError("--format litert", problem) from None
    (folder / FILE).write_bytes(content)


def load(folder: Path) -> "Answer":
    """Load `model.tflite` with the LiteRT interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(folder / FILE)).get_signature_runner()
    return lambda signature, inputs: runner(**inputs)
