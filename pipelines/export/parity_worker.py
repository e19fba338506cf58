"""Answer recorded requests from one format of an export, in a process that has that format's library and no more."""

import pickle
import sys
from importlib.metadata import version
from pathlib import Path

from pipelines.export.formats import FORMATS


def answer_requests(format_name: str, folder: Path, requests: Path, answers: Path) -> None:
    """Read requests, [(signature, inputs)], and write their answers with the versions of the libraries."""
    chosen = FORMATS[format_name]
    answer = chosen.load(folder)
    found = [answer(signature, inputs) for signature, inputs in pickle.loads(requests.read_bytes())]
    assert "keras" not in sys.modules, "an export must not need Keras"
    answers.write_bytes(pickle.dumps((found, {package: version(package) for package in chosen.packages})))


if __name__ == "__main__":
    answer_requests(sys.argv[1], *map(Path, sys.argv[2:]))
