"""Between text and token ids, in graph: bytes, characters, words, subwords or given tokens, learnt from training text.

Shapes: B texts, T tokens.
"""

import abc
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Literal

import keras
import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
from pydantic import Field

from pipelines.errors import UserError
from pipelines.storage import pack_texts, unpack_texts
from pipelines.tensorflow_startup import silenced

PAD, UNKNOWN, START, END = range(4)  # the first ids of every vocabulary
SPLIT_AT_ONCE = 1000  # texts: one by one, a call for each is nearly all of the time
SPECIAL = ("", "\ufffd", "<start>", "<end>")  # how they are listed
SPLIT_UNKNOWN, LINE_END = "<unk>", "\n"  # in texts that were split into tokens before
BLANKS = r"[ \t\r\f\v]+"
# What SentencePiece takes for something of its own, and Unicode noncharacters, which no text has, to stand for it.
RESERVED = {"\u2581": "\ufdd0", "\u2585": "\ufdd1", "\x1f": "\ufdd2", "\0": "\ufdd3"}
WORDS = r" ?[\pL\pM]+| ?\pN+| ?[^\s\pL\pM\pN]+|\s"  # a blank belongs to the word after it, so that no text is lost

Level = Annotated[
    Literal["byte", "character", "word", "subword", "token"],
    Field(
        description="what a token is: a byte, a character, a word with the blank before it, a piece of a word, or"
        " (token) what stands between blanks, for text that was split into tokens before: there a line's end is a"
        " token too, and <unk> is the unknown one"
    ),
]
VocabularySize = Annotated[
    int,
    Field(
        ge=8,
        description="tokens of the vocabulary at the most, the most frequent first, 4 special ones included (at level"
        " token only the unknown one); of bytes it is always 260",
    ),
]
Algorithm = Annotated[
    Literal["unigram", "bpe"],
    Field(description="how subwords are learnt: a unigram model (Kudo 2018) or merged pairs (Sennrich et al. 2016)"),
]


class Tokenizer(abc.ABC):
    """Turn texts into token ids and back. `state` holds all that `learn` found, as plain arrays."""

    state: dict[str, np.ndarray]
    pieces: list[str]  # the text of each id, for people to read
    lookups: list[tf.Module] = []  # what an export has to carry along

    @property
    def size(self) -> int:
        """Count the ids."""
        return len(self.pieces)

    @property
    def characters(self) -> np.ndarray:
        """Count the characters that each id stands for, (size,) float32."""
        return np.array([0, 1, 0, 0, *(len(piece) for piece in self.pieces[4:])], np.float32)

    @abc.abstractmethod
    def learn(self, texts: Iterable[str]) -> None:
        """Learn the vocabulary."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the `state` of a tokenizer with the same settings."""

    @abc.abstractmethod
    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Turn texts (B,) into ids (B, T) int32, without `START` and `END`."""

    @abc.abstractmethod
    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Turn ids (B, T), padded with `PAD` anywhere, into texts (B,)."""


class Bytes(Tokenizer):
    """Take every byte of the UTF-8 form for a token."""

    pieces = [*SPECIAL, *(chr(byte) if 32 <= byte < 127 else f"<{byte:02x}>" for byte in range(256))]
    state: dict[str, np.ndarray] = {}

    @property
    def characters(self) -> np.ndarray:
        """Count a character at its first byte."""
        return np.array([0, 1, 0, 0, *(byte & 0xC0 != 0x80 for byte in range(256))], np.float32)

    def learn(self, texts: Iterable[str]) -> None:
        """Learn nothing: there are 256 bytes."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over nothing."""

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Give bytes their numbers, from 4 on."""
        parts = tf.strings.bytes_split(texts)
        values = tf.reshape(tf.io.decode_raw(parts.flat_values, tf.uint8), [-1])  # an empty text has none
        return parts.with_flat_values(tf.cast(values, tf.int32) + len(SPECIAL))

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Join bytes; what then is no UTF-8 becomes a replacement character."""
        table = tf.constant([b"", "\ufffd".encode(), b"", b"", *(bytes([byte]) for byte in range(256))])
        joined = tf.strings.reduce_join(tf.gather(table, ids), axis=-1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8")


class Vocabulary(Tokenizer):
    """Split texts and look each part up in a list of the most frequent ones."""

    unknown = SPECIAL[UNKNOWN]  # what a part that is not in the list becomes

    def __init__(self, split: Callable[[tf.Tensor], tf.RaggedTensor], size: int):
        self.split, self.most = split, size

    def learn(self, texts: Iterable[str]) -> None:
        """Count the parts of the texts."""
        counts: Counter[bytes] = Counter()
        rest = iter(texts)
        while some := list(itertools.islice(rest, SPLIT_AT_ONCE)):
            counts.update(self.split(tf.constant(some)).flat_values.numpy().tolist())
        parts = (part.decode() for part, _ in counts.most_common())
        # Keras cannot look up a text that ends in a zero byte, nor the state hold one with the byte that joins texts.
        kept = [part for part in parts if not (part.endswith("\0") or "\x1f" in part or part == self.unknown)]
        self.restore({"vocabulary": pack_texts(kept[: self.most - len(SPECIAL)])})

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the list."""
        self.state = {"vocabulary": state["vocabulary"]}
        words = unpack_texts(state["vocabulary"])
        self.pieces = [SPECIAL[PAD], self.unknown, *SPECIAL[2:], *words]
        self._ids = keras.layers.StringLookup(
            vocabulary=["\x1f<start>", "\x1f<end>", *words], mask_token="", oov_token="\x1f\x1f", name="tokens"
        )
        self.lookups = [self._ids]

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Split and look up."""
        parts = self.split(texts)
        return parts.with_flat_values(tf.cast(self._ids(parts.flat_values), tf.int32))

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Join the parts: with every part known, this is the text that was encoded."""
        return _joined(["", self.unknown, "", "", *self.pieces[4:]], ids)


class GivenTokens(Vocabulary):
    """Take for tokens what stands between blanks, and each line's end: a text that was split into tokens before."""

    unknown = SPLIT_UNKNOWN

    def __init__(self, size: int):
        # Only the unknown token counts as one: a vocabulary of 10,000 is the text's own, as published figures have it.
        super().__init__(split_at_blanks, size + len(SPECIAL) - 1)

    @property
    def characters(self) -> np.ndarray:
        """Count the characters that each id stands for, and the blank that follows all but a line's end."""
        lengths = [0 if piece == LINE_END else len(piece) for piece in self.pieces]
        return np.array([0, lengths[UNKNOWN] + 1, 0, 0, *(length + 1 for length in lengths[4:])], np.float32)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Write a blank before each token but at the beginning of a line."""
        words = [piece if piece == LINE_END else f" {piece}" for piece in self.pieces]
        return tf.strings.regex_replace(_joined(["", words[UNKNOWN], "", "", *words[4:]], ids), "\n ", "\n")


class Subwords(Tokenizer):
    """Cut texts into pieces by SentencePiece (Kudo & Richardson 2018), which keeps blanks and lines as they are."""

    def __init__(self, size: int, algorithm: str, split_digits: bool):
        self.most, self.algorithm, self.split_digits = size, algorithm, split_digits

    def learn(self, texts: Iterable[str]) -> None:
        """Train on texts.

        Raises:
            UserError: where there is too little text for so many pieces.
        """
        import sentencepiece

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=map(_set_aside, texts),
                model_writer=model,
                vocab_size=self.most,
                model_type=self.algorithm,
                **{"pad_id": PAD, "unk_id": UNKNOWN, "bos_id": START, "eos_id": END},
                # Were they called <pad>, <unk>, <s> and </s>, as usual, a text could not hold these.
                **{"pad_piece": "\ufdd4", "unk_piece": "\ufdd5", "bos_piece": "\ufdd6", "eos_piece": "\ufdd7"},
                **{"normalization_rule_name": "identity", "add_dummy_prefix": False},
                **{"remove_extra_whitespaces": False, "user_defined_symbols": ["\n"]},
                **{"character_coverage": 1.0, "max_sentence_length": 1 << 24, "num_threads": 1, "minloglevel": 2},
                split_digits=self.split_digits,
                hard_vocab_limit=False,
            )
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].rpartition("] ")[2]  # after the place in its code
            raise UserError("preprocessing.vocabulary", f"SentencePiece cannot learn {self.most}: {reason}") from None
        self.restore({"sentencepiece": np.frombuffer(model.getvalue(), np.uint8)})

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Load SentencePiece's model."""
        self.state = {"sentencepiece": state["sentencepiece"]}
        model = state["sentencepiece"].tobytes()
        with silenced():  # it says that there is no normalisation, as was asked for
            self._tokenizer = tf_text.SentencepieceTokenizer(model=model, out_type=tf.int32)
        self.lookups = [self._tokenizer]
        size = int(self._tokenizer.vocab_size())
        learnt = [piece.decode() for piece in self._tokenizer.id_to_string(tf.range(size)).numpy()[4:]]
        self.pieces = [*SPECIAL, *(_put_back(piece.replace("\u2581", " ")) for piece in learnt)]

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Cut into the most probable pieces, or by the learnt merges."""
        for sign, stand_in in RESERVED.items():
            texts = tf.strings.regex_replace(texts, re.escape(sign), stand_in)
        return self._tokenizer.tokenize(texts).with_row_splits_dtype(tf.int64)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Join pieces; characters that training had none of are replacement characters, those side by side one."""
        return _joined(["", SPECIAL[UNKNOWN], "", "", *self.pieces[4:]], ids)


def _set_aside(text: str) -> str:
    return text.translate(str.maketrans(RESERVED))


def _put_back(piece: str) -> str:
    return piece.translate(str.maketrans({stand_in: sign for sign, stand_in in RESERVED.items()}))


def _joined(table: list[str], ids: tf.Tensor) -> tf.Tensor:
    """Join what ids (B, T) stand for: (B,)."""
    return tf.strings.reduce_join(tf.gather(tf.constant(table), ids), axis=-1)


def make_tokenizer(level: str, size: int, algorithm: str, split_digits: bool = False) -> Tokenizer:
    """Make the tokenizer of a level, yet to learn or to be restored.

    `split_digits` keeps digits apart in subwords, so that no number is a token of its own.
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
    """Cut texts (B,) into words, numbers, signs and blanks (B, T), of which nothing is lost."""
    return tf_text.regex_split(texts, delim_regex_pattern=WORDS, keep_delim_regex_pattern=WORDS)


def split_at_blanks(texts: tf.Tensor) -> tf.RaggedTensor:
    """Cut texts (B,) into what stands between blanks, and the ends of lines (B, T)."""
    return tf_text.regex_split(texts, delim_regex_pattern=f"{BLANKS}|{LINE_END}", keep_delim_regex_pattern=LINE_END)
