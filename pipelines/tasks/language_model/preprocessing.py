"""Preprocessing of the language model: texts to token ids, and token ids to windows.

Shapes: B windows or texts, T tokens.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data.batches import tensors
from pipelines.data.rows import row_hashes
from pipelines.presets import Preset, preset_of
from pipelines.storage import GrowingArray, cache_folder, write_whole
from pipelines.task import Preprocessor, Tensors, evenly_spaced
from pipelines.tasks.language_model.sources import DOCUMENT, TEXT
from pipelines.text.published import PublishedTokenizer
from pipelines.text.tokenizers import END, Algorithm, Level, Tokenizer, VocabularySize, make_tokenizer

LEARNT_FROM = 1 << 14  # stretches used to learn the vocabulary; more of them hardly change it
ENCODING = 2  # increase it when a tokenizer with the same state produces other ids, so that older files are not used
AT_ONCE = 256  # stretches encoded at a time


@dataclass(frozen=True)
class Features:
    """Number of token ids, length of a window, the training text and the tokenizer, for the model builders."""

    tokens: int
    context: int
    train_ids: Callable[[], np.ndarray]
    tokenizer: Tokenizer | None = None


class TextPreprocessor(Preprocessor):
    """Learn a vocabulary from the training text, or take that of a preset; encode the text into a file of token ids."""

    def __init__(
        self,
        preset: Preset | None = None,
        *,
        level: Level,
        vocabulary: VocabularySize,
        algorithm: Algorithm,
        context: Annotated[int, Field(ge=2, description="number of tokens in a training window")],
        token_folder: Annotated[
            str | None,
            Field(
                description="folder for files of token ids. Each text is encoded once per vocabulary, and the file is"
                " read from disk. null: the user's cache folder"
            ),
        ],
    ):
        self.preset, self.context = preset, context
        self.level, self.vocabulary, self.algorithm = level, vocabulary, algorithm
        self.token_folder = Path(token_folder or cache_folder() / "tokens")

    may_change = ("vocabulary", "context", "token_folder")

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn the vocabulary, from evenly spaced stretches if the text is long."""
        tokenizer = self._make_tokenizer()
        tokenizer.learn(map(str, evenly_spaced(train, LEARNT_FROM)[TEXT]))
        self._take(tokenizer)
        self._train = train

    def extend(self, state: Mapping[str, np.ndarray], train: pd.DataFrame) -> None:
        """Add characters or words to the vocabulary of a state; subwords stay as they are."""
        self.restore(state)
        self.added = {"tokens": self.tokenizer.extend(map(str, evenly_spaced(train, LEARNT_FROM)[TEXT]))}
        self._take(self.tokenizer)
        self._train = train

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore the vocabulary, or the preset."""
        self.preset = preset_of(state)
        tokenizer = self._make_tokenizer()
        tokenizer.restore(state)
        self._take(tokenizer)

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the inputs: stretches of text."""
        return {TEXT: tf.TensorSpec([None], tf.string, name=TEXT)}

    @property
    def features(self) -> Features:
        """Return the number of token ids, the context, and a function for the training ids (only in training)."""
        return Features(self.tokenizer.size, self.context, lambda: self.ids(self._train), self.tokenizer)

    def inputs(self, raw: Tensors) -> Tensors:
        """Encode texts as token ids (B, T), ragged."""
        return {"tokens": self.tokenizer.encode(raw[TEXT])}

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Return all tokens of a text but the last, the following tokens as labels, and weights of 1.

        All are (B, T), ragged.
        """
        ids = self.tokenizer.encode(raw[TEXT])
        labels = ids[:, 1:]
        return {"tokens": ids[:, :-1]}, labels, tf.ones_like(labels, tf.float32)

    def steps(self, example: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the tokens of a text with their ids, and the token to predict after each."""
        given, labels, _ = self.example(tensors(example), training=False)
        table = self.tokenizer.table(given["tokens"][0].numpy())
        return {"tokens": table.assign(next=self.tokenizer.table(labels[0].numpy())["token"])}

    def ids(self, examples: pd.DataFrame) -> np.ndarray:
        """Return the token ids of the stretches in order, with `END` before each document (N,).

        The array is memory-mapped from a file.
        """
        digest = hashlib.sha256(f"{ENCODING} {self.level}".encode())
        for array in (*self.state.values(), row_hashes(examples), examples[DOCUMENT].to_numpy(np.int64)):
            digest.update(array.tobytes())
        path = self.token_folder / f"{digest.hexdigest()}.npy"
        if not path.is_file():
            write_whole(path, lambda temporary: self._write_ids(temporary, examples))
        return np.load(path, mmap_mode="r")

    def _write_ids(self, path: Path, examples: pd.DataFrame) -> None:
        file = GrowingArray(path, np.dtype(np.uint16 if self.tokenizer.size <= 1 << 16 else np.int32))
        for ids in self._encoded(examples):
            file.append(ids)
        file.close()

    def _encoded(self, examples: pd.DataFrame) -> Iterator[np.ndarray]:
        first = ~examples[DOCUMENT].duplicated().to_numpy()
        for start in range(0, len(examples), AT_ONCE):
            texts = [str(text) for text in examples[TEXT].iloc[start : start + AT_ONCE]]
            for row, begins in zip(self.tokenizer.encode(tf.constant(texts)), first[start:], strict=False):
                yield np.concatenate([[END], row.numpy()]) if begins else row.numpy()

    def _make_tokenizer(self) -> Tokenizer:
        if self.preset is None:
            return make_tokenizer(self.level, self.vocabulary, self.algorithm)
        self.level = "subword"
        return PublishedTokenizer(self.preset)

    def _take(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.state, self.lookups = tokenizer, tokenizer.state, tokenizer.lookups
