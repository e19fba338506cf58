"""Answer recorded requests from one form of an export, in a process that has the library for that form and no more."""

import pickle
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
Answer = Callable[[str, Arrays], Arrays]  # a signature and its inputs to its answers

FILES = {"saved_model": "saved_model.pb", "onnx": "model.onnx", "litert": "model.tflite"}


def saved_model(folder: Path) -> Answer:
    """Answer with TensorFlow."""
    import tensorflow as tf

    from pipelines.export.saved_model import load_saved_model

    loaded = load_saved_model(folder)  # signatures stop working where this is let go

    def answer(signature: str, inputs: Arrays) -> Arrays:
        outputs = loaded.signatures[signature](**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return answer


def onnx(folder: Path) -> Answer:
    """Answer with ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / FILES["onnx"], providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda signature, inputs: dict(zip(names, session.run(names, inputs), strict=True))


def litert(folder: Path) -> Answer:
    """Answer with LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(folder / FILES["litert"])).get_signature_runner()
    return lambda signature, inputs: runner(**inputs)


LIBRARIES = {
    "saved_model": (saved_model, ("tensorflow", "tensorflow-text")),
    "onnx": (onnx, ("onnxruntime",)),
    "litert": (litert, ("ai-edge-litert",)),
}


def replay(form: str, folder: Path, requests: Path, answers: Path) -> None:
    """Read requests, [(signature, inputs)], and write their answers with the versions of the libraries."""
    load, packages = LIBRARIES[form]
    answer = load(folder)
    found = [answer(signature, inputs) for signature, inputs in pickle.loads(requests.read_bytes())]
    assert "keras" not in sys.modules, "an export has to do without Keras"
    answers.write_bytes(pickle.dumps((found, {package: version(package) for package in packages})))


if __name__ == "__main__":
    replay(sys.argv[1], *map(Path, sys.argv[2:]))
