"""Examples in ArrayRecord files, the format that TensorFlow Datasets uses for access by position.

Each record is a `tf.train.Example`, which other programs can read. Nothing here imports TensorFlow.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pipelines.errors import UserError

OF_ONE = "group_size:1,uncompressed"  # a record is read without those around it
BY_POSITION = "readahead_buffer_size:0,max_parallelism:0"


class ExampleWriter:
    """Write an ArrayRecord file, example by example."""

    def __init__(self, path: Path):
        from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

        self._example, self._writer = Example, _array_record().ArrayRecordWriter(str(path), OF_ONE)

    def add(self, values: Mapping[str, str | Sequence[str]]) -> None:
        """Write an example: a text or a list of texts for each of its features."""
        example = self._example()
        for name, value in values.items():
            texts = [value] if isinstance(value, str) else value
            example.features.feature[name].bytes_list.value.extend(text.encode(errors="replace") for text in texts)
        self._writer.write(example.SerializeToString())

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class ExampleFiles:
    """The examples of several files, one file after the other; no file is open before an example is read.

    `counts` are the examples of each file; that of the last one does not matter.
    """

    def __init__(self, paths: Sequence[Path], counts: Sequence[int]):
        self.paths, self.ends = list(paths), np.cumsum([0, *counts])

    def __len__(self) -> int:
        return int(self.ends[-2]) + self._readers[-1].num_records()

    @cached_property
    def _readers(self) -> list[Any]:
        return [_array_record().ArrayRecordReader(str(path), BY_POSITION) for path in self.paths]

    def read(self, numbers: np.ndarray) -> list[Mapping[str, Sequence[Any]]]:
        """Return the features of some examples, by their numbers over all files: bytes or numbers."""
        from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

        found: list[Any] = [None] * len(numbers)
        files = np.searchsorted(self.ends[1:-1], numbers, side="right")
        for file in np.unique(files):
            places = np.flatnonzero(files == file)
            contents = self._readers[file].read((numbers[places] - self.ends[file]).tolist())
            for place, content in zip(places.tolist(), contents, strict=True):
                features = Example.FromString(content).features.feature
                found[place] = {name: _values(feature) for name, feature in features.items()}
        return found


def _values(feature: Any) -> Sequence[Any]:
    return feature.bytes_list.value or feature.int64_list.value or feature.float_list.value


def _array_record() -> ModuleType:
    try:
        from array_record.python import array_record_module
    except ImportError:
        problem = "data that is larger than memory needs the package array_record, which this system may not have"
        raise UserError("data", f"{problem}; use Linux, or less data") from None
    return array_record_module
