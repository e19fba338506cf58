"""In-graph tokenizers for bytes, characters, words, subwords and pre-tokenized text, learned from training text.

Shapes: B texts, T tokens.
"""

import abc
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Literal

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_text as tf_text
from pydantic import Field

from pipelines.errors import UserError
from pipelines.presets import PREFIX, preset_of
from pipelines.storage import pack_texts, unpack_texts
from pipelines.task import beyond
from pipelines.tensorflow_startup import silenced
from pipelines.text import LINE_END, SPLIT_UNKNOWN

PAD, UNKNOWN, START, END = range(4)  # the first ids of every vocabulary
SPLIT_AT_ONCE = 1000  # texts per call; with one text per call, the call overhead takes nearly all of the time
SPECIAL = ("", "\ufffd", "<start>", "<end>")  # their names in `pieces`
BLANKS = r"[ \t\r\f\v]+"
# Characters that SentencePiece reserves, and the Unicode noncharacters that replace them, which texts do not contain.
RESERVED = {"\u2581": "\ufdd0", "\u2585": "\ufdd1", "\x1f": "\ufdd2", "\0": "\ufdd3"}
WORDS = r" ?[\pL\pM]+| ?\pN+| ?[^\s\pL\pM\pN]+|\s"  # a space belongs to the word after it, so that no text is lost

Level = Annotated[
    Literal["byte", "character", "word", "subword", "token"],
    Field(
        description="unit of a token: byte, character, word (with the space before it), subword, or token for"
        " pre-tokenized text, which is split at spaces; there a line end is a token too, and <unk> is the unknown"
        " token"
    ),
]
VocabularySize = Annotated[
    int,
    Field(
        ge=8,
        description="maximum vocabulary size, most frequent tokens first; includes 4 special tokens (at level token"
        " only the unknown token); ignored at level byte, where it is always 260",
    ),
]
Algorithm = Annotated[
    Literal["unigram", "bpe"],
    Field(description="subword algorithm: unigram (Kudo 2018) or byte-pair encoding, bpe (Sennrich et al. 2016)"),
]


class Tokenizer(abc.ABC):
    """Convert texts to token ids and back; `state` holds everything that `learn` found, as NumPy arrays."""

    state: dict[str, np.ndarray]
    pieces: list[str]  # human-readable text of each id
    lookups: list[tf.Module] = []  # modules and layers that an export has to include

    @property
    def size(self) -> int:
        """Return the number of ids."""
        return len(self.pieces)

    @property
    def characters(self) -> np.ndarray:
        """Return the number of characters that each id stands for, (size,) float32."""
        return np.array([0, 1, 0, 0, *(len(piece) for piece in self.pieces[4:])], np.float32)

    def table(self, ids: np.ndarray) -> pd.DataFrame:
        """Return the tokens of ids (T,), one row each."""
        return pd.DataFrame({"token": [self.pieces[each] for each in ids], "id": ids})

    @abc.abstractmethod
    def learn(self, texts: Iterable[str]) -> None:
        """Learn the vocabulary from texts."""

    def extend(self, texts: Iterable[str]) -> list[str]:
        """Add the tokens of texts to the vocabulary, after the known ones, and return them. Default: add none."""
        return []

    @abc.abstractmethod
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Load the `state` of a tokenizer with the same settings."""

    @abc.abstractmethod
    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Convert texts (B,) to ids (B, T) int32, without `START` and `END`."""

    @abc.abstractmethod
    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Convert ids (B, T) to texts (B,); `PAD` is ignored at any position."""


class Bytes(Tokenizer):
    """Tokenizer whose tokens are the bytes of UTF-8."""

    pieces = [*SPECIAL, *(chr(byte) if 32 <= byte < 127 else f"<{byte:02x}>" for byte in range(256))]
    state: dict[str, np.ndarray] = {}

    @property
    def characters(self) -> np.ndarray:
        """Return 1 for each first byte of a character and 0 for continuation bytes, (size,) float32."""
        return np.array([0, 1, 0, 0, *(byte & 0xC0 != 0x80 for byte in range(256))], np.float32)

    def learn(self, texts: Iterable[str]) -> None:
        """Do nothing: the vocabulary is fixed."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Do nothing: there is no state."""

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Convert each byte to its value plus 4, the number of special tokens."""
        parts = tf.strings.bytes_split(texts)
        values = tf.reshape(tf.io.decode_raw(parts.flat_values, tf.uint8), [-1])  # flat, even if there are no bytes
        return parts.with_flat_values(tf.cast(values, tf.int32) + len(SPECIAL))

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Join the bytes; invalid UTF-8 becomes replacement characters."""
        table = tf.constant([b"", "\ufffd".encode(), b"", b"", *(bytes([byte]) for byte in range(256))])
        joined = tf.strings.reduce_join(tf.gather(table, ids), axis=-1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8")


class Vocabulary(Tokenizer):
    """Tokenizer that splits texts and looks up each part in a list of the most frequent ones."""

    unknown = SPECIAL[UNKNOWN]  # token of parts that are not in the list

    def __init__(self, split: Callable[[tf.Tensor], tf.RaggedTensor], size: int):
        self.split, self.most = split, size

    def learn(self, texts: Iterable[str]) -> None:
        """Count the parts of the texts and keep the most frequent ones."""
        self.restore({"vocabulary": pack_texts(self._frequent(texts)[: self.most - len(SPECIAL)])})

    def extend(self, texts: Iterable[str]) -> list[str]:
        """Add the most frequent of the parts that the list lacks, up to the size of the vocabulary."""
        known = self.pieces[len(SPECIAL) :]
        new = beyond(known, self._frequent(texts))[: max(0, self.most - len(self.pieces))]
        self.restore({"vocabulary": pack_texts([*known, *new])})
        return new

    def _frequent(self, texts: Iterable[str]) -> list[str]:
        """List the parts of texts that can be looked up, most frequent first."""
        counts: Counter[bytes] = Counter()
        rest = iter(texts)
        while some := list(itertools.islice(rest, SPLIT_AT_ONCE)):
            counts.update(self.split(tf.constant(some)).flat_values.numpy().tolist())
        parts = (part.decode() for part, _ in counts.most_common())
        # Keras cannot look up a string that ends in a zero byte. \x1f separates the strings in the state.
        return [part for part in parts if not (part.endswith("\0") or "\x1f" in part or part == self.unknown)]

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Load the list."""
        self.state = {"vocabulary": state["vocabulary"]}
        words = unpack_texts(state["vocabulary"])
        self.pieces = [SPECIAL[PAD], self.unknown, *SPECIAL[2:], *words]
        self._ids = keras.layers.StringLookup(
            vocabulary=["\x1f<start>", "\x1f<end>", *words], mask_token="", oov_token="\x1f\x1f", name="tokens"
        )
        self.lookups = [self._ids]

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Split the texts and look up the parts."""
        parts = self.split(texts)
        return parts.with_flat_values(tf.cast(self._ids(parts.flat_values), tf.int32))

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Join the parts; if all of them are known, the result is exactly the encoded text."""
        return _joined(["", self.unknown, "", "", *self.pieces[4:]], ids)


class GivenTokens(Vocabulary):
    """Tokenizer for pre-tokenized text; the tokens are separated by spaces, and each line end is a token."""

    unknown = SPLIT_UNKNOWN

    def __init__(self, size: int):
        # Published vocabulary sizes such as 10,000 include the unknown token but no other special token.
        super().__init__(split_at_blanks, size + len(SPECIAL) - 1)

    @property
    def characters(self) -> np.ndarray:
        """Return the number of characters per id, plus one for the space that separates tokens, (size,) float32."""
        lengths = [0 if piece == LINE_END else len(piece) for piece in self.pieces]
        return np.array([0, lengths[UNKNOWN] + 1, 0, 0, *(length + 1 for length in lengths[4:])], np.float32)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Join the tokens with a space before each, except at the beginning of a line."""
        words = [piece if piece == LINE_END else f" {piece}" for piece in self.pieces]
        return tf.strings.regex_replace(_joined(["", words[UNKNOWN], "", "", *words[4:]], ids), "\n ", "\n")


class Subwords(Tokenizer):
    """Subword tokenizer by SentencePiece (Kudo & Richardson 2018), configured to preserve spaces and line ends."""

    def __init__(self, size: int, algorithm: str, split_digits: bool):
        self.most, self.algorithm, self.split_digits = size, algorithm, split_digits

    def learn(self, texts: Iterable[str]) -> None:
        """Train SentencePiece on texts.

        Raises:
            UserError: If SentencePiece cannot train, for example because there is too little text.
        """
        import sentencepiece

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=map(_set_aside, texts),
                model_writer=model,
                vocab_size=self.most,
                model_type=self.algorithm,
                pad_id=PAD,
                unk_id=UNKNOWN,
                bos_id=START,
                eos_id=END,
                # With the usual names <pad>, <unk>, <s> and </s>, a text could not contain these strings.
                pad_piece="\ufdd4",
                unk_piece="\ufdd5",
                bos_piece="\ufdd6",
                eos_piece="\ufdd7",
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                user_defined_symbols=["\n"],
                character_coverage=1.0,
                max_sentence_length=1 << 24,
                num_threads=1,
                minloglevel=2,
                split_digits=self.split_digits,
                hard_vocab_limit=False,
            )
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].rpartition("] ")[2]  # after the source location
            problem = f"SentencePiece cannot learn a vocabulary of {self.most}: {reason}"
            raise UserError("preprocessing.vocabulary", problem) from None
        self.restore({"sentencepiece": np.frombuffer(model.getvalue(), np.uint8)})

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Load the SentencePiece model."""
        self.state = {"sentencepiece": state["sentencepiece"]}
        model = state["sentencepiece"].tobytes()
        with silenced():  # it warns that there is no normalization, which is intended
            self._tokenizer = tf_text.SentencepieceTokenizer(model=model, out_type=tf.int32)
        self.lookups = [self._tokenizer]
        size = int(self._tokenizer.vocab_size())
        learnt = [piece.decode() for piece in self._tokenizer.id_to_string(tf.range(size)).numpy()[4:]]
        self.pieces = [*SPECIAL, *(_put_back(piece.replace("\u2581", " ")) for piece in learnt)]

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Split texts into the most probable pieces, or by the learned merges (BPE)."""
        for sign, stand_in in RESERVED.items():
            texts = tf.strings.regex_replace(texts, re.escape(sign), stand_in)
        return self._tokenizer.tokenize(texts).with_row_splits_dtype(tf.int64)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Join the pieces; each run of characters that training did not have becomes one replacement character."""
        return _joined(["", SPECIAL[UNKNOWN], "", "", *self.pieces[4:]], ids)


def _set_aside(text: str) -> str:
    return text.translate(str.maketrans("".join(RESERVED), "".join(RESERVED.values())))


def _put_back(piece: str) -> str:
    return piece.translate(str.maketrans("".join(RESERVED.values()), "".join(RESERVED)))


def _joined(table: list[str], ids: tf.Tensor) -> tf.Tensor:
    """Look up ids (B, T) in `table` and join them to texts (B,)."""
    return tf.strings.reduce_join(tf.gather(tf.constant(table), ids), axis=-1)


def check_same_tokens(theirs: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], same_level: bool) -> None:
    """Check that the tokenizers of a teacher and of its pupil, by their states, have the same tokens.

    Raises:
        UserError: If they have not.
    """
    theirs, own = _tokens_only(theirs), _tokens_only(own)
    same = same_level and set(theirs) == set(own)
    if not same or not all(np.array_equal(theirs[name], own[name]) for name in own):
        problem = "it has other tokens; train both on the same data with the same preprocessing"
        raise UserError("distill.teacher", problem)


def _tokens_only(state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return the part of a state that decides on the tokens: of a preset its family and its tokenizer."""
    preset = preset_of(state)
    if preset is None:
        return state
    about = json.dumps([preset.family, preset.tokenizer_class, preset.tokenizer_config], sort_keys=True)
    return {**state, PREFIX: np.frombuffer(about.encode(), np.uint8)}


def make_tokenizer(level: str, size: int, algorithm: str, split_digits: bool = False) -> Tokenizer:
    """Return a new tokenizer for a level; call `learn` or `restore` before use.

    `split_digits` makes each digit a separate subword, so that no token spans several digits.
    """
    if level == "byte":
        return Bytes()
    if level == "subword":
        return Subwords(size, algorithm, split_digits)
    if level == "token":
        return GivenTokens(size)
    split = split_words if level == "word" else partial(tf.strings.unicode_split, input_encoding="UTF-8")
    return Vocabulary(split, size)


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Split texts (B,) into words, numbers, punctuation and whitespace (B, T), without losing any character."""
    return tf_text.regex_split(texts, delim_regex_pattern=WORDS, keep_delim_regex_pattern=WORDS)


def split_at_blanks(texts: tf.Tensor) -> tf.RaggedTensor:
    """Split texts (B,) at spaces and line ends (B, T); the line ends are kept as tokens."""
    return tf_text.regex_split(texts, delim_regex_pattern=f"{BLANKS}|{LINE_END}", keep_delim_regex_pattern=LINE_END)
