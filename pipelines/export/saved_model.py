"""Load SavedModels with TensorFlow only, without Keras or the code that created them."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.export_folder import ExportVersion

if TYPE_CHECKING:
    from tensorflow.core.protobuf import meta_graph_pb2

    from pipelines.export.conversion import Answer, Arrays


def load(folder: Path) -> "Answer":
    """Load a SavedModel and return a function that calls its signatures."""
    import tensorflow as tf

    loaded = load_saved_model(folder)  # keep a reference: its signatures stop working once it is garbage-collected

    def answer(signature: str, inputs: "Arrays") -> "Arrays":
        outputs = loaded.signatures[signature](**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return answer


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel, and the operations of tensorflow-text if its graph uses them."""
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    if any(op_def_registry.get(operation) is None for operation in _operations(read_graph(folder))):
        _load_text_operations()
    return tf.saved_model.load(str(folder))


def read_graph(folder: Path) -> "meta_graph_pb2.MetaGraphDef":
    """Read a SavedModel's graph and signatures without loading it."""
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString(ExportVersion(folder).saved_model.read_bytes()).meta_graphs[0]


def _operations(graph: "meta_graph_pb2.MetaGraphDef") -> Iterator[str]:
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes = [*graph.graph_def.node, *(node for function in functions.values() for node in function.node_def)]
    return (operation for operation in {node.op for node in nodes} if operation not in functions)


def _load_text_operations() -> None:
    """Load the operation libraries of tensorflow-text directly, since importing the package would import Keras."""
    import tensorflow as tf

    package = find_spec("tensorflow_text")
    if package is None or package.origin is None:
        return  # TensorFlow will report the missing operation
    for library in sorted((Path(package.origin).parent / "python" / "ops").glob("*.so")):
        tf.load_op_library(str(library))
