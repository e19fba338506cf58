"""Describe texts by their characters and words, and find those that are almost the same."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from pipelines.audit.contents import Near

GRAM = 4  # characters of a piece of text that is compared
ALIKE = 0.8  # share of the pieces that two texts have in common
BANDS, ROWS = 12, 5  # of MinHash: texts that share 80 % of their pieces meet with probability 0.99, 50 % with 0.32
LEAST = 5  # texts with a word, below which its share says nothing
MARGIN = 0.15  # three standard deviations of the share that a sketch estimates
COMPARED = 4  # of many texts that meet in a band
WIDTH = 1 << 16  # of the hashed features
NUMBERS = re.compile(r"\d+")


class Texts:
    """Texts (N,), of one column or of several that are joined."""

    def __init__(self, inputs: pd.DataFrame):
        self.texts = [" ".join(map(_text, row)) for row in inputs.itertuples(index=False)]

    @cached_property
    def columns(self) -> pd.DataFrame:
        """Length, words, and shares of capitals, digits and other signs of each text."""
        length = np.array([max(1, len(text)) for text in self.texts])
        counts = {
            "capitals": [sum(map(str.isupper, text)) for text in self.texts],
            "digits": [sum(map(str.isdigit, text)) for text in self.texts],
            "signs": [sum(not (sign.isalnum() or sign.isspace()) for sign in text) for text in self.texts],
        }
        shares = {name: np.array(count) / length for name, count in counts.items()}
        return pd.DataFrame({"characters": length, "words": [len(text.split()) for text in self.texts], **shares})

    @cached_property
    def features(self) -> csr_matrix:
        """Hashed words and pairs of words, normalized (N, 65,536)."""
        from sklearn.feature_extraction.text import HashingVectorizer

        return HashingVectorizer(n_features=WIDTH, ngram_range=(1, 2), alternate_sign=False).transform(self.texts)

    @cached_property
    def words(self) -> tuple[csr_matrix, list[str]]:
        """Which words each text has (N, V), and the words."""
        from sklearn.feature_extraction.text import CountVectorizer

        counting = CountVectorizer(binary=True, token_pattern=r"\S+", min_df=min(LEAST, len(self.texts)))
        found = counting.fit_transform(self.texts)
        return found, list(counting.get_feature_names_out())

    def near(self, split: np.ndarray) -> Iterator[Near]:
        """Yield texts that share most of their pieces of four characters, and all of their numbers."""
        seen: dict[str, int] = {}
        plain = [_plain(text) for text in self.texts]
        firsts = [at for at, text in enumerate(plain) if seen.setdefault(text, at) == at]
        for at, text in enumerate(plain):
            if seen[text] != at and text and self.texts[at] != self.texts[seen[text]]:
                yield Near(at, seen[text], 1.0, "the same but for case, blanks and signs")
        yield from _alike(plain, firsts, split)


def _alike(plain: Sequence[str], firsts: Sequence[int], split: np.ndarray) -> Iterator[Near]:
    """Find different texts that share most of their pieces: by MinHash and banding (Broder 1997), then exactly."""
    kept = [at for at in firsts if len(plain[at]) >= 2 * GRAM]
    if not kept:
        return
    pieces = [_pieces(plain[at]) for at in kept]
    sketches = _sketches(pieces)
    one, other = _meeting(sketches)
    likely = (sketches[one] == sketches[other]).mean(axis=1) >= ALIKE - MARGIN
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for later, earlier in zip(one[likely], other[likely], strict=True):
        at, match = kept[later], kept[earlier]
        score = _shared(pieces[later], pieces[earlier])
        if score >= ALIKE and NUMBERS.findall(plain[at]) == NUMBERS.findall(plain[match]):
            best[at, split[match]] = max(best.get((at, split[match]), (0.0, 0)), (score, match))
    for (at, _), (score, match) in best.items():
        yield Near(at, match, score, f"{score:.0%} of its pieces of {GRAM} characters are the same")


def _sketches(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Return the least value of each of 60 hash functions over the pieces of each text (n, 60) uint32.

    Two sketches agree in about as many places as the texts share pieces.
    """
    joined = np.concatenate(pieces)
    starts = np.cumsum([0, *(len(each) for each in pieces[:-1])])
    random = np.random.default_rng(0)
    found = np.empty((len(pieces), BANDS * ROWS), np.uint32)
    for number in range(BANDS * ROWS):
        odd, add = random.integers(0, 1 << 32, 2, np.uint32) | np.array([1, 0], np.uint32)
        mixed = joined * odd + add
        mixed ^= mixed >> np.uint32(15)
        mixed *= np.uint32(0x2C1B3C6D)
        found[:, number] = np.minimum.reduceat(mixed ^ (mixed >> np.uint32(12)), starts)
    return found


def _meeting(sketches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of texts that agree in a whole band of their sketches, the later one first.

    Of many that agree, each is paired with the first ones and with those just before it.
    """
    found = []
    for band in np.split(sketches, BANDS, axis=1):
        keys = pd.util.hash_pandas_object(pd.DataFrame(band), index=False).to_numpy()
        order = np.argsort(keys, kind="stable")
        same = keys[order]
        first = np.searchsorted(same, same)
        for step in range(COMPARED):
            for match in (np.arange(len(order)) - 1 - step, first + step):
                pairs = np.flatnonzero((match >= first) & (match < np.arange(len(order))))
                found.append(order[pairs] * len(order) + order[match[pairs]])
    pairs = np.unique(np.concatenate(found))
    return pairs // len(sketches), pairs % len(sketches)


def _pieces(text: str) -> np.ndarray:
    """Return the different hashes of all pieces of four characters of a text, sorted."""
    signs = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint32)
    count = len(signs) - GRAM + 1
    hashes = np.zeros(count, np.uint32)
    for offset in range(GRAM):
        hashes = (hashes ^ signs[offset : offset + count]) * np.uint32(16777619)  # FNV-1
    return np.unique(hashes)


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """Return the size of the intersection of two sets over that of their union."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def _plain(text: str) -> str:
    """Return a text in one case, without signs, with single blanks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", folded).split())


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
