"""Preprocessing of the entity tagger: texts to tokens, tokens to ids, tags to labels. Runs in the graph.

Shapes: B sentences, T tokens, C characters of a token.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data.batches import tensors
from pipelines.data.stored import parts
from pipelines.data.vectors import vector_words
from pipelines.errors import UserError
from pipelines.metrics.entity_f1 import entities
from pipelines.presets import PREFIX, Preset, preset_of
from pipelines.storage import BREAK, pack_texts, unpack_texts
from pipelines.task import Preprocessor, Tensors, beyond
from pipelines.tasks.entity_tagger.pieces import Pieces
from pipelines.tasks.entity_tagger.sources import TAGS, TOKENS
from pipelines.tasks.entity_tagger.tokens import check_pattern, find_tokens

PAD, UNKNOWN = 0, 1  # the first ids of every vocabulary
AFFIX_COUNT = 2  # an affix must occur this often in train to be in the vocabulary
CASINGS = (  # the casing of a token is the first pattern that matches all of it
    r"\d+",
    r"[^\pL\d]+",
    r"\P{Lu}*\d\P{Lu}*",
    r".*\d.*",
    r"\P{Lu}+",
    r"\p{Lu}",
    r"\P{Ll}+",
    r"\p{Lu}\P{Lu}+",
    r".*",
)


@dataclass(frozen=True)
class Features:
    """Sizes of the inputs and the allowed tag transitions, for the model builders."""

    words: int
    characters: int
    casings: int
    affixes: tuple[int, ...]  # vocabulary size of each kind of affix, in the order of the inputs
    tags: int
    allowed: np.ndarray  # (K + 1, K): whether tag j may follow tag i; the last row: whether tag j may come first
    vectors: str | None
    vector_rows: Callable[[str], list[int]]  # path of a vector file -> the id of each of its words, in order
    preset: Preset | None


class SentencePreprocessor(Preprocessor):
    """Split text into tokens, look up words, characters, casing and affixes, and encode tags.

    With a preset, split tokens into the pieces of its tokenizer instead of looking up words, characters and affixes.
    """

    def __init__(
        self,
        preset: Preset | None = None,
        *,
        token_pattern: Annotated[
            str, Field(description="RE2 regular expression for a token of a raw text, such as \\S+")
        ],
        lowercase: Annotated[bool, Field(description="look up words in lower case")],
        fold_digits: Annotated[bool, Field(description="look up words with every digit replaced by 0")],
        max_words: Annotated[
            int, Field(ge=1, description="maximum number of words in the vocabulary; the most frequent are kept")
        ],
        min_count: Annotated[
            int, Field(ge=1, description="a word must occur this often in train to be in the vocabulary")
        ],
        vectors: Annotated[
            str | None,
            Field(
                description="text file of word vectors, such as GloVe or word2vec: a word and its numbers on each line."
                " Its words are added to the vocabulary. null: word embeddings start at random"
            ),
        ],
        max_characters: Annotated[
            int, Field(ge=1, description="maximum number of characters of a token that are used")
        ],
        affixes: Annotated[
            list[Annotated[int, Field(ge=1, le=10)]],
            Field(description="lengths of the prefixes and suffixes that are looked up"),
        ],
    ):
        self.preset = preset
        self.token_pattern, self.lowercase, self.fold_digits = token_pattern, lowercase, fold_digits
        self.max_words, self.min_count, self.vectors = max_words, min_count, vectors
        self.max_characters, self.affixes = max_characters, affixes
        check_pattern(token_pattern, "preprocessing.token_pattern")

    may_change = ("max_words", "min_count")

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn the vocabularies, the entity types and the entities from the training split."""
        packed = {name: pack_texts(texts) for name, texts in self._learn(train).items()}
        self.restore({**packed, **(self.preset.state() if self.preset else {})})

    def extend(self, state: Mapping[str, np.ndarray], train: pd.DataFrame) -> None:
        """Add the words, characters, affixes, entity types and entities of the training split to a state."""
        known = {name: unpack_texts(texts) for name, texts in state.items() if not name.startswith(PREFIX)}
        new = {name: beyond(known[name], texts) for name, texts in self._learn(train).items()}
        if self.vectors is None:
            new["words"] = new["words"][: max(0, self.max_words - len(known["words"]))]
        self.restore({**state, **{name: pack_texts([*known[name], *new[name]]) for name in new}})
        self.added = {"words": new["words"], "characters": new["characters"], "entity types": new["types"]}

    def _learn(self, train: pd.DataFrame) -> dict[str, list[str]]:
        counts: dict[str, Counter[bytes]] = {}
        types: set[str] = set()
        names: set[str] = set()
        for part in parts(train):
            for name, texts in self._vocabularies(part).items():
                counts.setdefault(name, Counter()).update(texts.numpy().tolist())
            for row, tags in zip(part[TOKENS], part[TAGS], strict=True):
                found = entities(tags)
                types.update(entity.type for entity in found)
                names.update(f"{each.type} {' '.join(row[each.start : each.stop]).casefold()}" for each in found)
        least = {"words": self.min_count, "characters": 1}
        state = {name: _frequent(own, least.get(name, AFFIX_COUNT)) for name, own in counts.items()}
        state["words"] = state["words"][: self.max_words]
        if self.vectors is not None:
            known = filter(None, self.fold(vector_words(self.vectors)))
            state["words"] = list(dict.fromkeys([*state["words"], *known]))
        state |= {"types": sorted(types), "entities": sorted(names)}
        if not state["types"]:
            raise UserError("split.train", "contains no entities, so there is nothing to train on")
        return state

    def _vocabularies(self, examples: pd.DataFrame) -> dict[str, tf.Tensor]:
        """Return what each vocabulary counts in the tokens of examples."""
        tokens = tf.constant([token for row in examples[TOKENS] for token in row])
        found = {"words": self._word(tokens), "characters": tf.strings.unicode_split(tokens, "UTF-8").flat_values}
        return found | {f"affixes_{number}": affixes for number, affixes in enumerate(self._affixes(tokens))}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore the vocabularies, the entity types and the preset."""
        self.state = dict(state)
        self.preset = preset_of(state)
        self.learnt = {name: unpack_texts(texts) for name, texts in state.items() if not name.startswith(PREFIX)}
        self.tags = ["O"] + [f"{prefix}-{kind}" for kind in self.learnt["types"] for prefix in "BI"]
        self._words, self._characters, self._tag_ids = map(
            _lookup, (self.learnt["words"], self.learnt["characters"], self.tags)
        )
        self._affix_ids = [_lookup(self.learnt[f"affixes_{number}"]) for number in range(2 * len(self.affixes))]
        self.lookups = [self._words, self._characters, *self._affix_ids]
        if self.preset:
            self._pieces = Pieces(self.preset)
            self.lookups = self._pieces.lookups

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the inputs: tokenized sentences, padded with empty strings."""
        return {TOKENS: tf.TensorSpec([None, None], tf.string, name=TOKENS)}

    @property
    def features(self) -> Features:
        """Return the sizes of the vocabularies and the allowed tag transitions."""
        kinds = [tag[2:] for tag in self.tags]
        follows = np.array(
            [[not t.startswith("I-") or kinds[i] == t[2:] for t in self.tags] for i in range(len(kinds))]
        )
        first = np.array([[not tag.startswith("I-") for tag in self.tags]])
        return Features(
            words=len(self.learnt["words"]) + 2,
            characters=len(self.learnt["characters"]) + 2,
            casings=len(CASINGS) + 1,
            affixes=tuple(len(self.learnt[f"affixes_{number}"]) + 2 for number in range(2 * len(self.affixes))),
            tags=len(self.tags),
            allowed=np.concatenate([follows, first]),
            vectors=self.vectors,
            vector_rows=self._vector_rows,
            preset=self.preset,
        )

    def inputs(self, raw: Tensors) -> Tensors:
        """Look up words and casings (B, T), characters (B, T, C) and affixes (B, T, 2 lengths).

        With a preset, return the pieces (B, P) of all tokens, the place of each token's first piece among them, from 1
        (B, T), and the casings (B, T). All are ragged. The id 0 stands for no value.
        """
        tokens = raw[TOKENS]
        if not isinstance(tokens, tf.RaggedTensor):
            tokens = tf.ragged.boolean_mask(tokens, tokens != "")
        flat = tokens.flat_values
        if self.preset:
            pieces, firsts = self._pieces.split(tokens)
            return {"pieces": pieces, "firsts": firsts, "casings": tokens.with_flat_values(_casing(flat))}
        characters = tf.strings.unicode_split(flat, "UTF-8")[:, : self.max_characters]
        affixes = [lookup(text) for lookup, text in zip(self._affix_ids, self._affixes(flat), strict=True)]
        each = {
            "words": _whole(self._words(self._word(flat))),
            "characters": characters.with_flat_values(_whole(self._characters(characters.flat_values))),
            "casings": _casing(flat),
        }
        if affixes:
            each["affixes"] = tf.stack([_whole(ids) for ids in affixes], axis=-1)
        return {name: tokens.with_flat_values(values) for name, values in each.items()}

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Return the inputs, labels (B, T) and weights (B, T).

        A label is a tag id plus 1, so 0 is padding. The weight of every token is 1.
        """
        inputs = self.inputs(raw)
        tags = raw[TAGS]
        if not isinstance(tags, tf.RaggedTensor):
            tags = tf.ragged.boolean_mask(tags, tags != "")
        # Tags of a type that does not occur in train cannot be predicted. They count as O in the loss, and as missed
        # entities in the metrics.
        labels = tf.maximum(_whole(self._tag_ids(tags.flat_values)) - 1, 1)
        weights = tf.ones_like(labels, tf.float32)
        return inputs, tags.with_flat_values(labels), tags.with_flat_values(weights)

    def steps(self, example: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return what each token is looked up as, or with a preset its pieces, and its label."""
        tokens = list(example[TOKENS].iloc[0])
        given, labels, _ = self.example(tensors(example), training=False)
        given = {name: each[0].numpy() if name != "characters" else each[0].to_list() for name, each in given.items()}
        if self.preset:
            stops = [*given["firsts"][1:] - 1, len(given["pieces"])]
            names = self.preset.tokenizer.get_vocabulary()
            spans = [given["pieces"][first - 1 : stop] for first, stop in zip(given["firsts"], stops, strict=True)]
            each = {"pieces": [[names[piece - 1] for piece in span] for span in spans], "ids": map(list, spans)}
        else:
            words = ["", "unknown", *self.learnt["words"]]
            found = {"word": [words[at] for at in given["words"]], "word id": given["words"]}
            each = found | {"character ids": given["characters"], "affix ids": list(given.get("affixes", ()))}
        tags = [self.tags[label - 1] for label in labels[0].numpy()]
        table = {"token": tokens, **{name: list(values) for name, values in each.items()}, "casing": given["casings"]}
        return {"tokens": pd.DataFrame({name: values for name, values in table.items() if len(values)} | {"tag": tags})}

    def tokenize(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Split texts (B,) into tokens. Return the tokens (B, T) and their character offsets (B, T)."""
        return find_tokens(text, self.token_pattern)

    def fold(self, words: Sequence[str]) -> list[str]:
        """Normalize words for the lookup."""
        return [word.decode().replace(BREAK, "") for word in self._word(tf.constant(words)).numpy()]

    def _vector_rows(self, path: str) -> list[int]:
        ids = {word: number for number, word in enumerate(self.learnt["words"], start=2)}
        # A file may contain a word in several cases. Only the first, which is the most frequent, is used.
        return [ids.pop(word, -1) for word in self.fold(vector_words(path))]

    def _word(self, tokens: tf.Tensor) -> tf.Tensor:
        words = tf.strings.lower(tokens, encoding="utf-8") if self.lowercase else tokens
        return tf.strings.regex_replace(words, r"\d", "0") if self.fold_digits else words

    def _affixes(self, tokens: tf.Tensor) -> list[tf.Tensor]:
        """Return the prefixes and suffixes of tokens (N,); empty if a token is not longer than the affix."""
        lengths = tf.strings.length(tokens, unit="UTF8_CHAR")
        affixes = []
        for length in self.affixes:
            starts = tf.zeros_like(lengths)
            for pos in (starts, tf.maximum(0, lengths - length)):
                cut = tf.strings.substr(tokens, pos, tf.fill(tf.shape(lengths), length), unit="UTF8_CHAR")
                affixes.append(tf.where(lengths > length, cut, ""))
        return affixes


def _frequent(counts: Counter[bytes], least: int) -> list[str]:
    """List the texts that occur at least `least` times, most frequent first.

    Texts that Keras cannot look up are left out.
    """
    texts = [text.decode() for text, count in counts.most_common() if count >= least]
    return [text for text in texts if text and BREAK not in text and text[-1] != "\0"]


def _lookup(vocabulary: Iterable[str]) -> keras.layers.StringLookup:
    """Return a lookup from texts to ids from 2 on. No text can equal the token that Keras uses for unknown texts."""
    return keras.layers.StringLookup(vocabulary=list(vocabulary) or [BREAK], mask_token="", oov_token=2 * BREAK)


def _whole(ids: tf.Tensor) -> tf.Tensor:
    return tf.cast(ids, tf.int32)


def _casing(tokens: tf.Tensor) -> tf.Tensor:
    """Return the casing of each token (N,), from 1."""
    forms = tf.stack([tf.strings.regex_full_match(tokens, pattern) for pattern in CASINGS], axis=1)
    return tf.argmax(tf.cast(forms, tf.int32), axis=1, output_type=tf.int32) + 1
