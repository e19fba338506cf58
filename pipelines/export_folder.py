"""The folder layout of an export; no other module knows its file names.

exports/houses/1/             a version, which is a SavedModel
exports/houses/1/assets.extra/about.json, sketch.json, tf_serving_warmup_requests
exports/houses/1/parity.json, model_card.md, numbers.json, model.onnx, model.tflite
"""

from dataclasses import dataclass
from pathlib import Path

EXTRA = "assets.extra"  # the SavedModel folder for additional files


@dataclass(frozen=True)
class ExportVersion:
    """The files of one version of an export."""

    folder: Path

    @property
    def saved_model(self) -> Path:
        """Path to the graph of the SavedModel."""
        return self.folder / "saved_model.pb"

    @property
    def about(self) -> Path:
        """Path to a JSON file with the task, the model, the `reading` settings, and the threshold if one was chosen."""
        return self.folder / EXTRA / "about.json"

    @property
    def sketch(self) -> Path:
        """Path to a JSON file that sketches the inputs of train: quantiles, frequent categories and words."""
        return self.folder / EXTRA / "sketch.json"

    @property
    def warmup_requests(self) -> Path:
        """Path to the recorded requests that TensorFlow Serving uses for warmup."""
        return self.folder / EXTRA / "tf_serving_warmup_requests"

    @property
    def parity(self) -> Path:
        """Path to the result of the comparison with the run's model."""
        return self.folder / "parity.json"

    @property
    def model_card(self) -> Path:
        """Path to the model card, in Markdown."""
        return self.folder / "model_card.md"

    @property
    def numbers(self) -> Path:
        """Path to a description of how clients convert raw inputs to the numeric inputs of ONNX and LiteRT."""
        return self.folder / "numbers.json"

    @property
    def is_complete(self) -> bool:
        """Whether the folder name is a number and the folder contains a SavedModel."""
        return is_number(self.folder.name) and self.saved_model.is_file()


def is_number(name: str) -> bool:
    """Return whether the name of a folder is a version number, which protocols send as int64."""
    return name.isascii() and name.isdigit() and len(name) < 20 and int(name) < 1 << 63


def numbered(folder: Path) -> list[Path]:
    """Return the subfolders of an export whose names are numbers, in numeric order."""
    return sorted((path for path in folder.iterdir() if is_number(path.name)), key=lambda path: int(path.name))
