"""Run recorded requests with one export format, in a process that only imports the library of that format."""

import pickle
import sys
from pathlib import Path

from pipelines.export.formats import FORMATS
from pipelines.runs.environment import package_version


def answer_requests(format_name: str, folder: Path, requests: Path, answers: Path) -> None:
    """Read requests, a list of (signature, inputs), and write the predictions and library versions."""
    chosen = FORMATS[format_name]
    answer = chosen.load(folder)
    found = [answer(signature, inputs) for signature, inputs in pickle.loads(requests.read_bytes())]
    assert "keras" not in sys.modules, "an export must not need Keras"
    answers.write_bytes(pickle.dumps((found, {package: package_version(package) for package in chosen.packages})))


if __name__ == "__main__":
    answer_requests(sys.argv[1], *map(Path, sys.argv[2:]))
