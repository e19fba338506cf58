"""Describe images by a small copy of each, and find those that look the same."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipelines.audit.contents import Near

SIDE = 32  # of the small copies
DIFFERING = 10  # bits of 64: a copy that was resized or compressed again differs in fewer
CORRELATED = 0.98  # of the small copies of two images that look the same
COMPARED = 8  # pixels of a side of the copies that are compared
AT_ONCE = 1 << 24  # pairs of images that are compared at once
ANGLES = 8  # bins of the gradient's direction
CELLS = 4  # the histograms are of 4 x 4 parts of an image


class Images:
    """Small copies (N, 32, 32, 3) of images, their hashes (N,) uint64, and their sizes."""

    words = None

    def __init__(self, inputs: pd.DataFrame):
        (values,) = (inputs[name] for name in inputs)
        with ThreadPoolExecutor() as pool:
            read = list(pool.map(_read, values))
        self._small = np.stack([small for small, _, _ in read]) if read else np.zeros((0, SIDE, SIDE, 3), np.uint8)
        self._hashes = np.array([hash for _, hash, _ in read], np.uint64)
        self._facts = [facts for _, _, facts in read]

    @cached_property
    def columns(self) -> pd.DataFrame:
        """Width, height, format, bytes, brightness and contrast of each image."""
        table = pd.DataFrame(self._facts, columns=["width", "height", "format", "bytes"])
        brightness = self._small.mean(axis=(1, 2, 3))
        return table.assign(brightness=brightness, contrast=self._small.std(axis=(1, 2, 3)))

    @cached_property
    def features(self) -> np.ndarray:
        """Colours and directions of edges in 4 x 4 parts of each image (N, 176); Dalal and Triggs 2005."""
        parts = SIDE // CELLS
        blocks = self._small.reshape(-1, CELLS, parts, CELLS, parts, 3)
        colours = blocks.mean(axis=(2, 4), dtype="float32").reshape(len(blocks), -1) / 255
        down, right = np.gradient(self._small.mean(axis=3, dtype="float32"), axis=(1, 2))
        bins = ((np.arctan2(down, right) % np.pi) / np.pi * ANGLES).astype(int) % ANGLES
        strength = np.hypot(down, right)
        edges = [
            np.where(bins == angle, strength, 0).reshape(-1, CELLS, parts, CELLS, parts).sum(axis=(2, 4))
            for angle in range(ANGLES)
        ]
        histograms = np.stack(edges, axis=-1).reshape(len(blocks), -1)
        norms = np.linalg.norm(histograms, axis=1, keepdims=True)
        return np.hstack([colours, histograms / np.maximum(norms, 1e-6)])

    def near(self, split: np.ndarray) -> Iterator[Near]:
        """Yield images whose difference hashes and small copies agree, each with the most alike of each split."""
        count, parts = len(self._small), SIDE // COMPARED
        blocks = self._small.reshape(count, COMPARED, parts, COMPARED, parts, 3)
        flat = blocks.mean(axis=(2, 4), dtype="float32").reshape(count, -1)
        flat -= flat.mean(axis=1, keepdims=True)
        flat /= np.maximum(
            np.linalg.norm(flat, axis=1, keepdims=True), 1.0
        )  # an image of one colour correlates with none
        step = max(1, AT_ONCE // max(1, count))
        for start in range(0, count, step):
            block = self._hashes[start : start + step, None]
            differing = np.bitwise_count(block ^ self._hashes[None, : start + step])
            at, other = np.nonzero(differing <= DIFFERING)
            at += start
            at, other = at[other < at], other[other < at]
            for first in range(0, len(at), step):
                pairs = at[first : first + step], other[first : first + step]
                yield from _most_alike(*pairs, np.einsum("nd,nd->n", flat[pairs[0]], flat[pairs[1]]), split)


def _most_alike(at: np.ndarray, other: np.ndarray, scores: np.ndarray, split: np.ndarray) -> Iterator[Near]:
    """Yield the most alike of each split, for each image."""
    found = pd.DataFrame({"at": at, "other": other, "score": scores, "split": split[other]})
    found = found[found["score"] >= CORRELATED].sort_values("score").drop_duplicates(["at", "split"], keep="last")
    for each in found.itertuples():
        yield Near(int(each.at), int(each.other), float(each.score), "looks the same")


def _read(image: Path | bytes) -> tuple[np.ndarray, int, tuple]:
    """Return a small copy, the difference hash, and width, height, format and bytes of an image.

    The hash has a bit for each two neighbouring pixels of a grey image of 9 x 8: whether the left one is darker.
    """
    size = image.stat().st_size if isinstance(image, Path) else len(image)
    with Image.open(image if isinstance(image, Path) else BytesIO(image)) as opened:
        facts = (*opened.size, opened.format, size)
        opened.draft("RGB", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded smaller, which is faster
        whole = opened.convert("RGB")
    grey = np.asarray(whole.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    small = np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BOX))
    return small, int.from_bytes(bits.tobytes(), "big"), facts
