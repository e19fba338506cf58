"""Export formats by name: how to write and load each, and what it requires."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.export import litert, onnx, saved_model
from pipelines.export.conversion import Answer

if TYPE_CHECKING:
    from pipelines.task import NumericEndpoint
    from pipelines.trained_model import TrainedModel


@dataclass(frozen=True)
class Format:
    """An export format. Its functions import their libraries when called."""

    load: Callable[[Path], Answer]
    packages: tuple[str, ...]  # distributions needed to load it; `parity.json` records their versions
    tolerance: float  # allowed difference, relative to the largest value of the output
    modules: tuple[str, ...] = ()  # modules needed to write and load it
    # Write a numeric model to a version's folder; None for the SavedModel, which every version has.
    write: "Callable[[TrainedModel, NumericEndpoint, Path], None] | None" = None


FORMATS = {
    # A SavedModel runs the model's own kernels. Other libraries sum float32 values in a different order.
    "saved_model": Format(saved_model.load, ("tensorflow", "tensorflow-text"), 1e-5),
    "onnx": Format(onnx.load, ("onnxruntime",), 1e-4, ("tf2onnx", "onnx", "onnxruntime"), onnx.write),
    "litert": Format(litert.load, ("ai-edge-litert",), 1e-4, ("ai_edge_litert",), litert.write),
}


def check_installed(formats: Iterable[str]) -> None:
    """Check that the modules needed for these formats are installed.

    Raises:
        UserError: If a module is missing; the message says how to install it.
    """
    for name in formats:
        for module in FORMATS[name].modules:
            if find_spec(module) is None:
                fix = f"install it with: pip install '.[{name}]' in the clone"
                raise UserError(f"--format {name}", f"'{module}' is not installed; {fix}")
