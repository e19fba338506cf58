"""Describe sentences of tokens, and each token by its neighbours."""

import zlib
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from pipelines.audit.texts import WIDTH, Texts

OFFSETS = (-2, -1, 0, 1, 2)  # neighbours of a token whose form is a feature


class Tokens(Texts):
    """Sentences of tokens (N,)."""

    def __init__(self, inputs: pd.DataFrame):
        super().__init__(inputs)
        (values,) = (inputs[name] for name in inputs)
        self.lengths = values.map(len).to_numpy()
        self.tokens = [token for sentence in values for token in sentence]

    @cached_property
    def token_features(self) -> csr_matrix:
        """Hashed forms of each token and its neighbours (T, 65,536), for T tokens of all sentences."""
        codes, forms = pd.factorize(np.array(self.tokens, object))
        own = np.array([_hashed(_forms(form)) for form in forms], np.int64)  # (V, F)
        around = np.array([_hashed([form.lower(), _shape(form)]) for form in forms], np.int64)  # (V, 2)
        sentence = np.repeat(np.arange(len(self.lengths)), self.lengths)
        parts = [own[codes]]
        for offset in OFFSETS:
            if offset:
                at = np.clip(np.arange(len(codes)) + offset, 0, len(codes) - 1)
                within = (sentence[at] == sentence)[:, None]
                parts.append(np.where(within, (around[codes[at]] * 31 + offset * 7919) % WIDTH, offset % WIDTH))
        indices = np.concatenate(parts, axis=1)
        ends = np.arange(len(codes) + 1) * indices.shape[1]
        values = np.ones(indices.size, np.float32)
        found = csr_matrix((values, indices.ravel(), ends), shape=(len(codes), WIDTH))
        found.sum_duplicates()
        return found


def _forms(token: str) -> list[str]:
    low = token.lower()
    return [
        f"={token}",
        low,
        _shape(token),
        *(f"<{low[:n]}" for n in (1, 2, 3, 4)),
        *(f"{low[-n:]}>" for n in (1, 2, 3, 4)),
    ]


def _shape(token: str) -> str:
    """Return the classes of the characters of a token, without repetitions: McDonald's is `AaSa`."""
    classes = ["A" if s.isupper() else "a" if s.islower() else "0" if s.isdigit() else "S" for s in token]
    return "/" + "".join(one for one, before in zip(classes, ["", *classes], strict=False) if one != before)


def _hashed(forms: list[str]) -> list[int]:
    return [zlib.crc32(form.encode()) % WIDTH for form in forms]
