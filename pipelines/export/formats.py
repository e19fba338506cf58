"""The formats of an export by name: how each is written, how it is loaded, and what it needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.export import litert, onnx, saved_model

if TYPE_CHECKING:
    import numpy as np

    from pipelines.task import NumericEndpoint
    from pipelines.trained_model import TrainedModel

Arrays = dict[str, "np.ndarray"]
Answer = Callable[[str, Arrays], Arrays]  # a signature's name and its inputs to its answers


@dataclass(frozen=True)
class Format:
    """One format of an export; its functions import their libraries when they are called."""

    load: Callable[[Path], Answer]
    packages: tuple[str, ...]  # distributions that load it; `parity.json` has their versions
    tolerance: float  # how far a number may lie from the model's, as a share of the largest of that answer
    modules: tuple[str, ...] = ()  # that have to be installed to write and load it
    # Writes a model that answers numbers into a version's folder; every version holds a SavedModel, written apart.
    write: "Callable[[TrainedModel, NumericEndpoint, Path], None] | None" = None


FORMATS = {
    # A SavedModel runs the kernels that the model ran; other libraries add up in another order, in 32 bits.
    "saved_model": Format(saved_model.load, ("tensorflow", "tensorflow-text"), 1e-5),
    "onnx": Format(onnx.load, ("onnxruntime",), 1e-4, ("tf2onnx", "onnx", "onnxruntime"), onnx.write),
    "litert": Format(litert.load, ("ai-edge-litert",), 1e-4, ("ai_edge_litert",), litert.write),
}


def check_installed(formats: Iterable[str]) -> None:
    """Check that what writes and loads these formats is installed.

    Raises:
        UserError: naming what to install.
    """
    for name in formats:
        for module in FORMATS[name].modules:
            if find_spec(module) is None:
                fix = f"install it with: pip install 'keras-task-pipelines[{name}]'"
                raise UserError(f"--format {name}", f"'{module}' is missing; {fix}")
