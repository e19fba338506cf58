"""The limits of what a request may ask of a model."""

import numpy as np

from pipelines.serving.models.batching import Sizes
from pipelines.serving.models.images import looks_encoded, pixels
from pipelines.serving.models.signatures import Arrays
from pipelines.serving.request_errors import invalid
from pipelines.serving.settings import Settings


def checked_sizes(inputs: Arrays, settings: Settings) -> Sizes:
    """Check the size of a request, and return those of its rows.

    Raises:
        RequestError: If it is too large, or its inputs have no rows or different numbers of them.
    """
    for name, array in inputs.items():
        rows = len(array) if array.ndim else 1
        if not rows:
            raise invalid(f"input '{name}' is empty")
        if rows > settings.max_rows:
            raise invalid(f"input '{name}' has {rows:,} rows; at most {settings.max_rows:,} are allowed")
    if len({len(array) for array in inputs.values() if array.ndim}) > 1:
        raise invalid(
            "inputs have different numbers of rows: " + ", ".join(f"{k} {len(v)}" for k, v in inputs.items() if v.ndim)
        )
    rows = min((len(array) for array in inputs.values() if array.ndim), default=1)
    sizes = Sizes([0] * rows, [0] * rows)
    for name, array in inputs.items():
        if array.dtype == object:
            _add_strings(name, array.reshape(rows if array.ndim else 1, -1), sizes, settings.max_text_bytes)
    counted = sum(sizes.pixels)
    if counted > settings.max_image_pixels:
        raise invalid(f"the images have {counted:,} pixels in total; at most {settings.max_image_pixels:,} are allowed")
    return sizes


def _add_strings(name: str, strings: np.ndarray, sizes: Sizes, most: int) -> None:
    for row, contents in enumerate(strings):
        for content in contents:
            if looks_encoded(content):
                sizes.pixels[row] += pixels(content)
                continue
            sizes.lengths[row] = max(sizes.lengths[row], len(content))
            if len(content) > most:
                raise invalid(f"input '{name}' has a text of {len(content):,} bytes; at most {most:,} are allowed")
        sizes.lengths[row] = max(sizes.lengths[row], len(contents))  # of tokens, which are padded too
