"""Find passages that occur twice in running text."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipelines.audit.contents import Near
from pipelines.audit.texts import Texts

LENGTH = 64  # characters of the pieces that are compared
SAMPLED = 8  # of so many pieces, one is kept; which ones depends on their content
LONG = 200  # characters of a passage that is reported
HALF = 0.5  # share of a short text that is reported, however short the passage


class RunningText(Texts):
    """Stretches of running text (N,)."""

    def near(self, split: np.ndarray) -> Iterator[Near]:
        """Yield stretches that share a passage of about 200 characters or more with an earlier one."""
        pieces = pd.concat([_pieces(at, text) for at, text in enumerate(self.texts)], ignore_index=True)
        pieces["split"] = split[pieces["text"].to_numpy()]
        for part in np.unique(split):
            first = pieces[pieces["split"] == part].drop_duplicates("hash").set_index("hash")["text"]
            found = pieces.assign(other=pieces["hash"].map(first)).dropna()
            found = found[found["other"] < found["text"]].astype({"other": int})
            for (at, other), own in found.groupby(["text", "other"]):
                length = len(_squeezed(self.texts[at]))
                shared = int(own["start"].max() - own["start"].min()) + LENGTH
                shared = min(shared, LENGTH + SAMPLED * 2 * len(own))  # two passages far apart are not one
                if shared >= min(LONG, HALF * length):
                    yield Near(
                        int(at), int(other), min(1.0, shared / length), f"about {shared} characters are the same"
                    )


def _pieces(at: int, text: str) -> pd.DataFrame:
    """Return the hashes and the starts of some pieces of a text: equal pieces are kept, or not, in every text.

    The hashes are polynomials modulo 2 ** 64, from differences of prefixes, whose scale is undone by the inverse of
    the base, which is odd.
    """
    signs = np.frombuffer(_squeezed(text).encode("utf-32-le"), np.uint32).astype(np.uint64) + np.uint64(1)
    if len(signs) < LENGTH:
        return pd.DataFrame({"text": [], "start": [], "hash": []}, dtype="int64")
    base = 0x9E3779B97F4A7C15
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(len(signs), base, np.uint64))
        inverse = np.cumprod(np.full(len(signs), pow(base, -1, 1 << 64), np.uint64))
        prefix = np.concatenate([[np.uint64(0)], np.cumsum(signs * powers)])
        hashes = (prefix[LENGTH:] - prefix[:-LENGTH]) * inverse[: len(signs) - LENGTH + 1]
        hashes ^= hashes >> np.uint64(29)
        hashes *= np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(32)
    starts = np.flatnonzero(hashes % np.uint64(SAMPLED) == 0)
    return pd.DataFrame({"text": at, "start": starts, "hash": hashes[starts]})


def _squeezed(text: str) -> str:
    return " ".join(text.casefold().split())
