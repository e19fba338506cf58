"""Byte-pair encoding with published merges, in the graph, on the bytes of each word (Radford et al. 2019).

SentencePiece does the merging: it joins the two adjacent pieces whose joined piece has the best score, which is the
rank of the merge. Published tokenizers split texts into words by patterns with a lookahead, which TensorFlow's regular
expressions lack. A mark is put where the lookahead would end a word. Shapes: B texts, W words, T tokens.
"""

import re
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from pipelines.tensorflow_startup import silenced
from pipelines.text.tokenizers import END, PAD, START, UNKNOWN

MARK = "\ufdd0"  # a Unicode noncharacter, which texts do not contain
BLANK = r"\t-\r\x{85}\pZ"  # all whitespace
IN_LINE = r"\t\v\f\x{85}\pZ"  # whitespace within a line
CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
# The words of GPT-2 and of the many models that took over its pattern.
GPT2 = rf"{CONTRACTIONS}| ?\pL+| ?\pN+| ?[^{BLANK}\pL\pN{MARK}]+|[{BLANK}]+"
# The words of Llama 3 and Qwen, with at most so many digits.
LLAMA3 = (
    rf"(?i:{CONTRACTIONS})|[^\r\n\pL\pN{MARK}]?\pL+|\pN{{1,%d}}| ?[^{BLANK}\pL\pN{MARK}]+[\r\n]*|[{BLANK}]*[\r\n]+"
    rf"|[{BLANK}]+"
)
DIGITS = {"Llama3": 3, "SmolLM3": 3, "Qwen": 1, "Qwen3": 1}  # by family; all others split words like GPT-2
NORMAL, UNKNOWN_TYPE, CONTROL, WHOLE = range(1, 5)  # kinds of SentencePiece's pieces
LAST_RANK = -1e9  # score of the bytes, which are not merged


def byte_signs() -> list[str]:
    """Return the printable character that stands for each byte in a published vocabulary."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


class BytePairs:
    """Encode texts with published merges."""

    def __init__(self, family: str, tokens: Sequence[str], merges: Sequence[str], whole: Sequence[str]):
        """Take the tokens in the order of their ids, the first of which are special; a name that is empty has no token.

        `whole` are tokens that are found in a text before it is split into words, such as <|endoftext|>.
        """
        digits = DIGITS.get(family)
        words = GPT2 if digits is None else LLAMA3 % digits
        self.before_word = BLANK if digits is None else IN_LINE
        self.whole = "|".join(map(re.escape, sorted(whole, key=len, reverse=True)))
        self.words = f"{self.whole}|{words}" if whole else words
        with silenced():  # it warns that there is no normalization, which is intended
            self.pieces = tf_text.SentencepieceTokenizer(_model(tokens, merges, whole), out_type=tf.int32)

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Convert texts (B,) to ids (B, T)."""
        words = self.split(texts)
        return _flat(words, self.pieces.tokenize(_in_signs(words.flat_values)))

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Split texts (B,) into words (B, W)."""
        if not self.whole:
            return self._split(texts)
        parts = tf_text.regex_split(texts, self.whole, self.whole)
        return _flat(parts, self._split(parts.flat_values))

    def _split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        marked = tf.strings.regex_replace(texts, f"([{self.before_word}])([^{BLANK}])", rf"{MARK}\1\2")
        return tf_text.regex_split(marked, f"{self.words}|{MARK}", self.words)


def _model(tokens: Sequence[str], merges: Sequence[str], whole: Sequence[str]) -> bytes:
    """Return a SentencePiece model whose scores are the ranks of the merges."""
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]  # made at import

    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    signs, frozen = set(byte_signs()), set(whole)
    model = ModelProto()
    for at, token in enumerate(tokens):
        kind, score = CONTROL, 0.0
        if at == UNKNOWN:
            kind = UNKNOWN_TYPE
        elif token in frozen:
            kind = WHOLE
        elif token in ranks or token in signs:
            kind, score = NORMAL, -float(ranks[token]) if token in ranks else LAST_RANK
        # Noncharacters stand for names that are empty, because all names must differ.
        model.pieces.add(piece=token or chr(ord(MARK) + 1 + at), score=score, type=kind)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = trainer.BPE
    trainer.pad_id, trainer.unk_id, trainer.bos_id, trainer.eos_id = PAD, UNKNOWN, START, END
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = normalizer.escape_whitespaces = False
    return model.SerializeToString()


def _in_signs(words: tf.Tensor) -> tf.Tensor:
    """Replace each byte of the words by the character that stands for it."""
    parts = tf.strings.bytes_split(words)
    codes = tf.reshape(tf.io.decode_raw(parts.flat_values, tf.uint8), [-1])  # flat, even if there are no bytes
    signs = tf.gather(tf.constant(byte_signs()), tf.cast(codes, tf.int32))
    return tf.strings.reduce_join(parts.with_flat_values(signs), axis=-1)


def _flat(outer: tf.RaggedTensor, inner: tf.RaggedTensor) -> tf.RaggedTensor:
    """Join the parts (B, P) of each text, each of which is a row of `inner`."""
    splits = tf.gather(tf.cast(inner.row_splits, tf.int64), outer.row_splits)
    return tf.RaggedTensor.from_row_splits(inner.flat_values, splits, validate=False)
