"""The ONNX format: `model.onnx`, for models with numeric inputs and outputs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.export.conversion import listed_operations, quiet

if TYPE_CHECKING:
    from pipelines.export.conversion import Answer
    from pipelines.task import NumericEndpoint
    from pipelines.trained_model import TrainedModel

FILE = "model.onnx"
OPSET = 17  # supported by ONNX runtimes since 2022


def write(trained: "TrainedModel", endpoint: "NumericEndpoint", folder: Path) -> None:
    """Write a model to `model.onnx`.

    Raises:
        UserError: If ONNX does not support an operation; the message names it.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    function = tf.function(endpoint.answer, input_signature=[endpoint.signature], autograph=False)
    with quiet("tf2onnx", "tensorflow"):  # operations that cannot be converted are reported below
        model, _ = tf2onnx.convert.from_function(
            function, [endpoint.signature], opset=OPSET, custom_op_handlers={"Log1p": (_log1p, [])}
        )
    unknown = {node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)}
    if unknown:
        raise UserError("--format onnx", f"ONNX does not support {listed_operations(unknown)}, which this model uses")
    onnx.save(model, folder / FILE)


def load(folder: Path) -> "Answer":
    """Load `model.onnx` with ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda signature, inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _log1p(graph: Any, node: Any, name: str, _: Any) -> None:
    """Convert log(1 + x) to two operations, since ONNX has no Log1p."""
    import numpy as np

    one = graph.make_const(f"{name}_one", np.float32(1))
    plus = graph.make_node("Add", [node.input[0], one.output[0]], dtypes=[graph.get_dtype(node.output[0])])
    node.type = "Log"
    graph.replace_inputs(node, [plus.output[0]])
