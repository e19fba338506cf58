"""Read parts of large files by position: the images in tar files, and in the files of TensorFlow Datasets."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipelines.data.examples import ExampleFiles

# Bytes in one of several files. In an ArrayRecord file, `start` is the number of a record, and `size` is not used.
SPAN = np.dtype([("file", "<u4"), ("start", "<u8"), ("size", "<u4")])


def is_array_record(path: Path) -> bool:
    """Return whether a file is an ArrayRecord file, by its name, such as images-train.array_record-00000-of-00010."""
    return ".array_record" in path.name


class SpanFiles:
    """Files that spans are read from; none is open before a span is read.

    `feature` is that of the records of ArrayRecord files.
    """

    def __init__(self, paths: Sequence[Path], feature: str):
        self.paths, self.feature = list(paths), feature

    @cached_property
    def _open(self) -> dict[int, BinaryIO]:
        return {}

    @cached_property
    def _records(self) -> dict[int, ExampleFiles]:
        return {n: ExampleFiles([path], [0]) for n, path in enumerate(self.paths) if is_array_record(path)}

    def read(self, spans: np.ndarray) -> list[bytes]:
        """Return the bytes of each span."""
        found = []
        for file, start, size in spans.tolist():
            if file in self._records:
                (example,) = self._records[file].read(np.array([start]))
                found.append(example[self.feature][0])
                continue
            if file not in self._open:
                self._open[file] = self.paths[file].open("rb", buffering=0)
            found.append(os.pread(self._open[file].fileno(), size, start))
        return found
