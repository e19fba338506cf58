"""From text to token ids and to windows of them.

Shapes: B windows or texts, T tokens.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data import row_hashes
from pipelines.storage import write_whole
from pipelines.task import Preprocessor, Tensors, evenly_spaced
from pipelines.tasks.language_model.sources import DOCUMENT, TEXT
from pipelines.text.tokenizers import END, Algorithm, Level, VocabularySize, make_tokenizer

LEARNT_FROM = 1 << 14  # stretches of text: a vocabulary hardly changes with more
ENCODING = 2  # raised where a tokenizer with the same state gives other ids, so that no older file is read
AT_ONCE = 256  # stretches turned into ids at a time


@dataclass(frozen=True)
class Features:
    """What a model builder has to know: how many token ids there are, how long a window is, and what train holds."""

    tokens: int
    context: int
    train_ids: Callable[[], np.ndarray]


class TextPreprocessor(Preprocessor):
    """Learn a vocabulary from the training text; keep that text as a file of token ids, prepared once."""

    def __init__(
        self,
        *,
        level: Level,
        vocabulary: VocabularySize,
        algorithm: Algorithm,
        context: Annotated[int, Field(ge=2, description="tokens of a training window")],
        token_folder: Annotated[
            str | None,
            Field(
                description="folder for files of token ids, which are made once for a text and a vocabulary and read"
                " where they lie; null: the user's cache folder"
            ),
        ],
    ):
        self.level, self.vocabulary, self.algorithm = level, vocabulary, algorithm
        self.context = context
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "keras-task-pipelines"
        self.token_folder = Path(token_folder or cache / "tokens")

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn the vocabulary; evenly evenly_spaced stretches stand for a long text."""
        tokenizer = make_tokenizer(self.level, self.vocabulary, self.algorithm)
        tokenizer.learn(map(str, evenly_spaced(train, LEARNT_FROM)[TEXT]))
        self._take(tokenizer)
        self._train = train

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the vocabulary."""
        tokenizer = make_tokenizer(self.level, self.vocabulary, self.algorithm)
        tokenizer.restore(state)
        self._take(tokenizer)

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Take stretches of text."""
        return {TEXT: tf.TensorSpec([None], tf.string, name=TEXT)}

    @property
    def features(self) -> Features:
        """Give the number of token ids, the context, and the training text's ids, which only training can ask for."""
        return Features(self.tokenizer.size, self.context, lambda: self.ids(self._train))

    def inputs(self, raw: Tensors) -> Tensors:
        """Turn texts into token ids (B, T), ragged."""
        return {"tokens": self.tokenizer.encode(raw[TEXT])}

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Give each token of a text but the last, the tokens that follow, and weights of 1, (B, T) each, ragged."""
        ids = self.tokenizer.encode(raw[TEXT])
        labels = ids[:, 1:]
        return {"tokens": ids[:, :-1]}, labels, tf.ones_like(labels, tf.float32)

    def ids(self, examples: pd.DataFrame) -> np.ndarray:
        """Give the token ids of stretches in order, `END` before each document, as an array on disk (N,)."""
        digest = hashlib.sha256(f"{ENCODING} {self.level}".encode())
        for array in (*self.state.values(), row_hashes(examples), examples[DOCUMENT].to_numpy(np.int64)):
            digest.update(array.tobytes())
        path = self.token_folder / f"{digest.hexdigest()}.npy"
        if not path.is_file():
            write_whole(path, lambda temporary: self._write_ids(temporary, examples))
        return np.load(path, mmap_mode="r")

    def _write_ids(self, path: Path, examples: pd.DataFrame) -> None:
        """Write an array of a length that is known only at its end."""
        kind = np.dtype(np.uint16 if self.tokenizer.size <= 1 << 16 else np.int32)
        with path.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
            np.lib.format.write_array_header_1_0(file, {**header, "shape": (1 << 62,)})
            count = 0
            for ids in self._encoded(examples):
                file.write(ids.astype(kind).tobytes())
                count += len(ids)
            end = file.tell()
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, {**header, "shape": (count,)})
            assert file.tell() + count * kind.itemsize == end  # numpy leaves room for a larger shape

    def _encoded(self, examples: pd.DataFrame) -> Iterator[np.ndarray]:
        first = ~examples[DOCUMENT].duplicated().to_numpy()
        for start in range(0, len(examples), AT_ONCE):
            texts = [str(text) for text in examples[TEXT].iloc[start : start + AT_ONCE]]
            for row, begins in zip(self.tokenizer.encode(tf.constant(texts)), first[start:], strict=False):
                yield np.concatenate([[END], row.numpy()]) if begins else row.numpy()

    def _take(self, tokenizer) -> None:
        self.tokenizer, self.state, self.lookups = tokenizer, tokenizer.state, tokenizer.lookups
