"""The tokenizers of published models: of a language model, with our own special tokens, and of a text encoder.

Shapes: B texts, T tokens, V token ids.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from pipelines.errors import UserError
from pipelines.presets import Preset
from pipelines.tensorflow_startup import silenced
from pipelines.text.byte_pairs import BytePairs, byte_signs
from pipelines.text.tokenizers import END, PAD, SPECIAL, START, UNKNOWN, Tokenizer

BYTE = re.compile("<0x([0-9A-F]{2})>")  # SentencePiece's name of the piece of a byte
SPACE = "\u2581"  # SentencePiece's sign for a space
OWN_WORDS = "MistralTekkenTokenizer"  # splits words by a pattern of the preset


class PublishedTokenizer(Tokenizer):
    """Byte-pair or SentencePiece tokenizer of a preset, as published.

    The first ids are our special tokens. All other published tokens follow in their order. `published` (V,) is the
    published id of each id. A special token that was not published has the id of another one there, and `absent` (V,)
    says so: no text contains it, and a model must never predict it.
    """

    end = END  # the token after each text

    def __init__(self, preset: Preset):
        self.preset, self.state = preset, preset.state()
        published, hub = _read(preset), preset.tokenizer
        from_padding = preset.family == "T5"  # nothing is before its texts, but its decoder begins with padding
        end = hub.end_token_id
        start = hub.pad_token_id if from_padding else getattr(hub, "start_token_id", None)
        others = sorted({*published.texts} - {end, start, published.unknown})
        special = [getattr(hub, "pad_token_id", None), published.unknown, start, end]
        self.published = np.array([*(end if each is None else each for each in special), *others])
        self.absent = np.zeros(len(self.published), bool)
        self.absent[[PAD, UNKNOWN, START]] = True, published.unknown is None, start in (None, end)
        # The token before each text, if any.
        self.before = None if start is None or from_padding else END if start == end else START
        self.bytes = [b"", SPECIAL[UNKNOWN].encode(), b"", b"", *(published.texts[each] for each in others)]
        self.pieces = [*SPECIAL, *(each.decode(errors="replace") for each in self.bytes[len(SPECIAL) :])]
        self._encode, self.lookups = published.encoder(self.published, self.absent)

    @property
    def characters(self) -> np.ndarray:
        """Return the number of characters that begin in each id, (V,) float32."""
        return np.array([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self.bytes], np.float32)

    def learn(self, texts: Iterable[str]) -> None:
        """Do nothing: the vocabulary was published."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Do nothing: the preset is the state."""

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Convert texts (B,) to ids (B, T), as the published tokenizer does."""
        return self._encode(texts)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Join the bytes; invalid UTF-8 becomes replacement characters."""
        joined = tf.strings.reduce_join(tf.gather(tf.constant(self.bytes), ids), axis=-1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8")


class EncoderTokenizer(Tokenizer):
    """Tokenizer of a published text encoder, which reads texts only; id i is the published id i - 1."""

    state: dict[str, np.ndarray] = {}

    def __init__(self, preset: Preset):
        hub: Any = preset.tokenizer
        self.preset = preset
        self.before, self.end = hub.start_token_id + 1, hub.end_token_id + 1  # the tokens around each text
        self.pieces = ["", *hub.get_vocabulary()]
        self._published, self.lookups = text_encoder(preset)

    def learn(self, texts: Iterable[str]) -> None:
        """Do nothing: the vocabulary was published."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Do nothing: the preset is part of the preprocessor's state."""

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Convert texts (B,) to ids (B, T), as the published tokenizer does."""
        ids = self._published(texts)
        return ids.with_flat_values(ids.flat_values + 1)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Raise: no text is written with these tokens."""
        raise NotImplementedError


def _read(preset: Preset) -> "PublishedPairs | PublishedPieces":
    hub: Any = preset.tokenizer
    if preset.tokenizer_class == OWN_WORDS or getattr(hub, "end_token_id", None) is None:
        raise UserError(preset.name, f"its tokenizer, {preset.tokenizer_class}, is not supported")
    return PublishedPairs(preset) if hasattr(hub, "merges") else PublishedPieces(hub.proto)


Encoder = tuple[Callable[[tf.Tensor], tf.RaggedTensor], list[Any]]


def text_encoder(preset: Preset) -> Encoder:
    """Return a function from texts (B,) to their published ids (B, T), and what an export of it must track.

    A byte-pair tokenizer is rebuilt: TensorFlow takes 24 seconds to trace that of KerasHub, and one second for ours.
    """
    hub: Any = preset.tokenizer
    if hasattr(hub, "merges"):
        pairs = PublishedPairs(preset)
        published = np.array([0] * len(SPECIAL) + sorted(pairs.texts))
        encode, lookups = pairs.encoder(published, np.arange(len(published)) < len(SPECIAL))

        def with_published_ids(texts: tf.Tensor) -> tf.RaggedTensor:
            ids = encode(tf.strings.join([" ", texts]) if hub.add_prefix_space else texts)
            return ids.with_flat_values(tf.gather(tf.constant(published, tf.int32), ids.flat_values))

        return with_published_ids, lookups
    unknown = preset.unknown_id
    # Outside a graph, the tokenizer would use another library and return lists.
    tokenize = tf.function(hub, input_signature=[tf.TensorSpec([None], tf.string)])

    def with_unknown(texts: tf.Tensor) -> tf.RaggedTensor:
        ids = tokenize(texts).with_row_splits_dtype(tf.int64)
        values = tf.cast(ids.flat_values, tf.int32)
        return ids.with_flat_values(tf.where(values < 0, unknown, values))

    return with_unknown, [hub]


class PublishedPairs:
    """The byte-pair tokenizer of a preset: the bytes of each published id, and an encoder."""

    def __init__(self, preset: Preset):
        hub: Any = preset.tokenizer
        self.family, self.merges = preset.family, hub.merges
        self.names: dict[int, str] = {number: token for token, number in hub.vocabulary.items()}
        self.whole = [token for token in hub.unsplittable_tokens or [] if token in hub.vocabulary]
        signs = {sign: bytes([byte]) for byte, sign in enumerate(byte_signs())}
        self.texts = {
            number: token.encode() if token in self.whole else b"".join(signs.get(s, s.encode()) for s in token)
            for number, token in self.names.items()
        }
        lacking = len(signs.keys() - hub.vocabulary.keys())
        if lacking:
            raise UserError(preset.name, f"its tokenizer lacks {lacking} of the 256 bytes")
        self.unknown = None

    def encoder(self, published: np.ndarray, absent: np.ndarray) -> Encoder:
        """Return a function from texts to ids, given the published id of each."""
        names = ["" if gone else self.names[number] for number, gone in zip(published.tolist(), absent, strict=True)]
        pairs = BytePairs(self.family, names, self.merges, self.whole)
        return pairs.encode, [pairs.pieces]


class PublishedPieces:
    """The SentencePiece tokenizer of a preset: the bytes of each published id, and an encoder."""

    def __init__(self, proto: bytes):
        from sentencepiece import SentencePieceProcessor

        pieces = SentencePieceProcessor(model_proto=proto)
        names = {number: pieces.id_to_piece(number) for number in range(pieces.get_piece_size())}
        self.texts = {
            number: bytes.fromhex(byte[1])
            if (byte := BYTE.fullmatch(name))
            else name.replace(SPACE, " ").encode() * (not pieces.is_control(number))
            for number, name in names.items()
        }
        self.proto, self.unknown = proto, pieces.unk_id()

    def encoder(self, published: np.ndarray, absent: np.ndarray) -> Encoder:
        """Return a function from texts to ids, given the published id of each."""
        with silenced():
            pieces = tf_text.SentencepieceTokenizer(self.proto, out_type=tf.int32)
        ids = np.zeros(max(self.texts) + 1, np.int32)
        ids[published[~absent]] = np.flatnonzero(~absent)

        def encode(texts: tf.Tensor) -> tf.RaggedTensor:
            found = pieces.tokenize(texts).with_row_splits_dtype(tf.int64)
            return found.with_flat_values(tf.gather(tf.constant(ids), found.flat_values))

        return encode, [pieces]
