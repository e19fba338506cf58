"""Preprocessing of the translator: text pairs to token ids, with one vocabulary or two.

Shapes: B pairs, S source tokens, T target tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Annotated

import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data.batches import padded, tensors
from pipelines.data.pairs.read import SOURCE, TARGET
from pipelines.data.stored import parts
from pipelines.presets import ENCODERS, Preset, preset_of
from pipelines.task import Preprocessor, Tensors, evenly_spaced
from pipelines.text.published import EncoderTokenizer, PublishedTokenizer
from pipelines.text.token_splitting import TokenSplitter
from pipelines.text.tokenizers import END, PAD, START, Algorithm, Level, Tokenizer, VocabularySize, make_tokenizer

LEARNT_FROM = 200_000  # pairs from which subwords are learned, evenly spaced; SentencePiece holds them in memory


@dataclass(frozen=True)
class Features:
    """Sizes of the vocabularies, whether they are shared, and the largest number of tokens, for the model builders.

    `source` is the tokenizer of the source texts, which has the preset, if there is one.
    """

    source_tokens: int
    target_tokens: int
    shared: bool
    longest: int
    source: Tokenizer | None = None


class PairPreprocessor(Preprocessor):
    """Learn one vocabulary for both languages or one for each, and encode texts as token ids.

    With a preset, the tokenizer of an encoder-decoder encodes both sides as published; that of a text encoder encodes
    the source, and only the vocabulary of the target is learned.
    """

    def __init__(
        self,
        preset: Preset | None = None,
        *,
        level: Level,
        vocabulary: VocabularySize,
        algorithm: Algorithm,
        split_digits: Annotated[bool, Field(description="make each digit a separate subword")],
        shared: Annotated[
            bool, Field(description="use one vocabulary for both languages (Sennrich et al. 2016) instead of two")
        ],
        lower_case: Annotated[bool, Field(description="convert both sides to lower case")],
        longest: Annotated[
            int, Field(ge=2, description="maximum number of tokens in a text; longer texts are truncated")
        ],
        split_tokens: Annotated[
            float,
            Field(
                ge=0,
                le=1,
                description="expected number of attempts per token to split it into two other tokens of the vocabulary,"
                " drawn for each training mini-batch (Sims et al. 2025); 0: none; only words and subwords can be"
                " split",
            ),
        ] = 0.0,
        prefix: Annotated[
            str,
            Field(
                description="text put before each source text, such as 'translate English to French: ' for a T5 model;"
                " empty: none"
            ),
        ] = "",
    ):
        self.preset, self.prefix = preset, prefix
        self.settings = (level, vocabulary, algorithm, split_digits)
        # Tokens of this level are joined with spaces, so a split token would be decoded with a space inside.
        self.split_tokens = 0.0 if level == "token" else split_tokens
        self.shared, self.lower_case, self.longest = shared, lower_case, longest

    may_change = ("vocabulary", "longest", "split_tokens", "prefix")

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn the vocabularies that no preset has."""
        learnt = self._make_tokenizers()
        for name, texts in self._texts(train).items():
            learnt[name].learn(texts)
        self._take(learnt)

    def extend(self, state: Mapping[str, np.ndarray], train: pd.DataFrame) -> None:
        """Add characters or words to the vocabularies of a state; subwords stay as they are."""
        learnt = self._restored(state)
        new = {name: learnt[name].extend(texts) for name, texts in self._texts(train).items()}
        self._take(learnt)
        self.added = {"tokens" if self.shared else f"{name} tokens": tokens for name, tokens in new.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore the vocabularies, and the preset."""
        self._take(self._restored(state))

    def _texts(self, train: pd.DataFrame) -> dict[str, Iterator[str]]:
        """Return the normalized texts from which each vocabulary is learned; those of subwords are a sample of many."""
        if self.settings[0] == "subword":
            train = evenly_spaced(train, LEARNT_FROM)
        texts = {side: self._plain_texts(side, train) for side in (SOURCE, TARGET)}
        return {"both": chain(texts[SOURCE], texts[TARGET])} if self.shared else texts

    def _plain_texts(self, side: str, examples: pd.DataFrame) -> Iterator[str]:
        for part in parts(examples[[side]]):
            plain = self._plain(side, tf.constant(part[side].tolist())).numpy()
            yield from (text.decode() for text in plain)

    def _make_tokenizers(self) -> dict[str, Tokenizer]:
        """Return a tokenizer for both sides or one for each; those of a preset have nothing to learn."""
        if self.preset is not None:
            self.shared, self.split_tokens = self.preset.family not in ENCODERS, 0.0
            if self.shared:
                return {"both": PublishedTokenizer(self.preset)}
            return {SOURCE: EncoderTokenizer(self.preset), TARGET: make_tokenizer(*self.settings)}
        return {name: make_tokenizer(*self.settings) for name in (["both"] if self.shared else [SOURCE, TARGET])}

    def _restored(self, state: Mapping[str, np.ndarray]) -> dict[str, Tokenizer]:
        self.preset = preset_of(state)
        learnt = self._make_tokenizers()
        for name, tokenizer in learnt.items():
            tokenizer.restore(
                {key.partition(".")[2]: value for key, value in state.items() if key.partition(".")[0] == name}
            )
        return learnt

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the inputs: text pairs."""
        return {side: tf.TensorSpec([None], tf.string, name=side) for side in (SOURCE, TARGET)}

    @property
    def features(self) -> Features:
        """Return the sizes of the vocabularies and the largest number of tokens."""
        source, target = (self.tokenizers[side] for side in (SOURCE, TARGET))
        return Features(source.size, target.size, self.shared, self.longest, source)

    def inputs(self, raw: Tensors) -> Tensors:
        """Encode source texts as token ids (B, S), ragged."""
        return {SOURCE: self.encode(SOURCE, raw[SOURCE])}

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Return model inputs, labels and weights of 1, all ragged.

        The inputs are the source (B, S) and the target (B, T), which is shifted by one token against the labels (B, T).
        """
        return _paired(*(self.encode(side, raw[side]) for side in (SOURCE, TARGET)))

    def augment(
        self, inputs: Tensors, labels: tf.Tensor, weights: tf.Tensor, *, seed: tf.Tensor
    ) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Split some tokens of both sides in two."""
        if not self.split_tokens:
            return inputs, labels, weights
        sides = {SOURCE: inputs[SOURCE], TARGET: labels}
        split = [
            self.splitters[side].split(
                tf.RaggedTensor.from_tensor(ids, padding=PAD), tf.random.experimental.stateless_fold_in(seed, at)
            )[:, : self.longest]
            for at, (side, ids) in enumerate(sides.items())
        ]
        return padded(_paired(*split))

    def steps(self, example: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the tokens of both sides with their ids; each target token is to be predicted from those before it."""
        given, labels, _ = self.example(tensors(example), training=False)
        found = {}
        for side, ids in ((SOURCE, given[SOURCE][0].numpy()), (TARGET, given[TARGET][0].numpy())):
            found[side] = self.tokenizers[side].table(ids)
        found[TARGET]["next"] = self.tokenizers[TARGET].table(labels[0].numpy())["token"]
        return found

    def encode(self, side: str, texts: tf.Tensor) -> tf.RaggedTensor:
        """Encode texts (B,) as token ids that end with `END`, unless the text was cut off.

        A published encoder reads its own tokens around each source text, even if that was cut off.
        """
        tokenizer = self.tokenizers[side]
        ids = tokenizer.encode(self._plain(side, texts))
        if side == SOURCE and isinstance(tokenizer, PublishedTokenizer | EncoderTokenizer):
            before = [] if tokenizer.before is None else [tokenizer.before]
            return _between(before, ids[:, : self.longest - len(before) - 1], [tokenizer.end])
        return _between([], ids, [END])[:, : self.longest]

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Decode target token ids (B, T) into texts (B,)."""
        return tf.strings.strip(self.tokenizers[TARGET].decode(ids))

    def _plain(self, side: str, texts: tf.Tensor) -> tf.Tensor:
        """Normalize ASCII white space, and put the prefix before a source text.

        For a tokenizer that is not a preset's, each text begins with a space, so that its first word is encoded like
        any other word.
        """
        published = self.preset is not None and (self.shared or side == SOURCE)
        texts = tf.strings.strip(tf.strings.regex_replace(texts, r"\s+", " "))
        texts = tf.strings.lower(texts, encoding="utf-8") if self.lower_case else texts
        return tf.strings.join(["" if published else " ", self.prefix if side == SOURCE else "", texts])

    def _take(self, learnt: Mapping[str, Tokenizer]) -> None:
        names = {side: "both" if self.shared else side for side in (SOURCE, TARGET)}
        self.tokenizers = {side: learnt[name] for side, name in names.items()}
        if self.split_tokens:
            splitters = {name: TokenSplitter(own.pieces, self.split_tokens) for name, own in learnt.items()}
            self.splitters = {side: splitters[name] for side, name in names.items()}
        self.state = self.preset.state() if self.preset else {}
        for name, own in learnt.items():
            if not isinstance(own, PublishedTokenizer):  # its state is the preset
                self.state |= {f"{name}.{key}": value for key, value in own.state.items()}
        self.lookups = [lookup for own in learnt.values() for lookup in own.lookups]


def _paired(source: tf.RaggedTensor, labels: tf.RaggedTensor) -> tuple[Tensors, tf.RaggedTensor, tf.RaggedTensor]:
    """Return the source and the shifted target, the labels, and weights of 1."""
    start = tf.fill([labels.nrows(), 1], START)
    target = tf.concat([start, labels[:, :-1]], axis=1)
    return {SOURCE: source, TARGET: target}, labels, tf.ones_like(labels, tf.float32)


def _between(before: list[int], ids: tf.RaggedTensor, after: list[int]) -> tf.RaggedTensor:
    """Put tokens before and after each row of ids (B, T)."""
    ends = [tf.repeat(tf.constant([each], tf.int32), ids.nrows(), axis=0) for each in (before, after)]
    return tf.concat([ends[0], ids, ends[1]], axis=1)
