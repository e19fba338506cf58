"""The folder of an export, and the only code that knows its file names.

exports/houses/1/             a version: a SavedModel
exports/houses/1/assets.extra/about.json, tf_serving_warmup_requests
exports/houses/1/parity.json, model_card.md, numbers.json, model.onnx, model.tflite
"""

from dataclasses import dataclass
from pathlib import Path

EXTRA = "assets.extra"  # a folder that SavedModel leaves to its writers


@dataclass(frozen=True)
class ExportVersion:
    """The files of one version."""

    folder: Path

    @property
    def saved_model(self) -> Path:
        """The SavedModel's graph."""
        return self.folder / "saved_model.pb"

    @property
    def about(self) -> Path:
        """Task, model, how files were read, and the threshold where one was chosen."""
        return self.folder / EXTRA / "about.json"

    @property
    def warmup_requests(self) -> Path:
        """Recorded requests, where TensorFlow Serving looks for them."""
        return self.folder / EXTRA / "tf_serving_warmup_requests"

    @property
    def parity(self) -> Path:
        """What was compared with the run's model, and how far apart the answers are."""
        return self.folder / "parity.json"

    @property
    def model_card(self) -> Path:
        """What the model is for, as Markdown."""
        return self.folder / "model_card.md"

    @property
    def numbers(self) -> Path:
        """How clients turn raw inputs into the numbers that ONNX and LiteRT take."""
        return self.folder / "numbers.json"

    @property
    def is_complete(self) -> bool:
        """Whether the folder is named by a number and holds a SavedModel."""
        return self.folder.name.isdigit() and self.saved_model.is_file()


def numbered(folder: Path) -> list[Path]:
    """List the subfolders of an export that have a number for their name, in order."""
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
