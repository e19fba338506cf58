"""From pairs of texts to token ids: source and target, in one vocabulary or two.

Shapes: B pairs, S source tokens, T target tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data.batches import padded
from pipelines.task import Preprocessor, Tensors
from pipelines.text.token_splitting import TokenSplitter
from pipelines.text.tokenizers import END, PAD, START, Algorithm, Level, Tokenizer, VocabularySize, make_tokenizer

SOURCE, TARGET = "source", "target"


@dataclass(frozen=True)
class Features:
    """What a model builder has to know: how many token ids each side has, whether they are the same, how many steps."""

    source_tokens: int
    target_tokens: int
    shared: bool
    longest: int


class PairPreprocessor(Preprocessor):
    """Learn a vocabulary of both sides together, or one of each."""

    def __init__(
        self,
        *,
        level: Level,
        vocabulary: VocabularySize,
        algorithm: Algorithm,
        split_digits: Annotated[bool, Field(description="keep digits apart in subwords, so that numbers are spelt")],
        shared: Annotated[bool, Field(description="one vocabulary for both languages (Sennrich et al. 2016), not two")],
        lower_case: Annotated[bool, Field(description="take capital letters for small ones, on both sides")],
        longest: Annotated[int, Field(ge=2, description="tokens of a text at the most; the rest is cut off")],
        split_tokens: Annotated[
            float,
            Field(
                ge=0,
                le=1,
                description="splits of a token in two that are tokens too, tried in training for each token, about;"
                " drawn anew for each mini-batch (Sims et al. 2025); 0: none; only words and subwords have some",
            ),
        ] = 0.0,
    ):
        self.settings = (level, vocabulary, algorithm, split_digits)
        # Halves of what stands between blanks would be written with a blank between them.
        self.split_tokens = 0.0 if level == "token" else split_tokens
        self.shared, self.lower_case, self.longest = shared, lower_case, longest

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn the vocabularies."""
        texts = {side: self._plain(tf.constant(train[side].tolist())).numpy().tolist() for side in (SOURCE, TARGET)}
        if self.shared:
            texts = {"both": [*texts[SOURCE], *texts[TARGET]]}
        learnt = {name: make_tokenizer(*self.settings) for name in texts}
        for name, tokenizer in learnt.items():
            tokenizer.learn(text.decode() for text in texts[name])
        self._take(learnt)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the vocabularies."""
        learnt = {name: make_tokenizer(*self.settings) for name in self._names()}
        for name, tokenizer in learnt.items():
            tokenizer.restore(
                {key.partition(".")[2]: value for key, value in state.items() if key.partition(".")[0] == name}
            )
        self._take(learnt)

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Take pairs of texts."""
        return {side: tf.TensorSpec([None], tf.string, name=side) for side in (SOURCE, TARGET)}

    @property
    def features(self) -> Features:
        """Give the numbers of token ids and of steps."""
        return Features(self.tokenizers[SOURCE].size, self.tokenizers[TARGET].size, self.shared, self.longest)

    def inputs(self, raw: Tensors) -> Tensors:
        """Turn source texts into token ids (B, S), ragged."""
        return {SOURCE: self.encode(SOURCE, raw[SOURCE])}

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Give both texts, the target a step behind its labels, and weights of 1: (B, S), (B, T) ragged."""
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

    def encode(self, side: str, texts: tf.Tensor) -> tf.RaggedTensor:
        """Turn texts (B,) into token ids, `END` last, but where a text was cut: it does not end there."""
        ids = self.tokenizers[side].encode(self._plain(texts))
        return tf.concat([ids, tf.fill([ids.nrows(), 1], END)], axis=1)[:, : self.longest]

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Turn target token ids (B, T) into texts (B,)."""
        return tf.strings.strip(self.tokenizers[TARGET].decode(ids))

    def _plain(self, texts: tf.Tensor) -> tf.Tensor:
        """Take ASCII white space for one blank; with one before it, a word is the same at the beginning and within."""
        texts = tf.strings.join([" ", tf.strings.strip(tf.strings.regex_replace(texts, r"\s+", " "))])
        return tf.strings.lower(texts, encoding="utf-8") if self.lower_case else texts

    def _names(self) -> Iterable[str]:
        return ["both"] if self.shared else [SOURCE, TARGET]

    def _take(self, learnt: Mapping[str, Tokenizer]) -> None:
        names = {side: "both" if self.shared else side for side in (SOURCE, TARGET)}
        splitters = {name: TokenSplitter(own.pieces, self.split_tokens) for name, own in learnt.items()}
        self.tokenizers = {side: learnt[name] for side, name in names.items()}
        self.splitters = {side: splitters[name] for side, name in names.items()}
        self.state = {f"{name}.{key}": value for name, own in learnt.items() for key, value in own.state.items()}
        self.lookups = [lookup for own in learnt.values() for lookup in own.lookups]


def _paired(source: tf.RaggedTensor, labels: tf.RaggedTensor) -> tuple[Tensors, tf.RaggedTensor, tf.RaggedTensor]:
    """Give source and target, a step behind its labels, the labels, and weights of 1."""
    start = tf.fill([labels.nrows(), 1], START)
    target = tf.concat([start, labels[:, :-1]], axis=1)
    return {SOURCE: source, TARGET: target}, labels, tf.ones_like(labels, tf.float32)
