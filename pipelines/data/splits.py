"""Split examples into train, validation and test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pipelines.errors import UserError

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Part:
    """Rows of one of the tables of a source."""

    of: str
    rows: np.ndarray


def split(
    examples: Mapping[str, pd.DataFrame],
    *,
    train: Annotated[Share, Field(description="share of the examples to train on")],
    validation: Annotated[Share, Field(description="share of the examples used to choose the best epoch and settings")],
    test: Annotated[Share, Field(description="share of the examples held out for the final metrics")],
    seed: Annotated[int, Field(ge=0, description="seed of the shuffle before the split")],
    shuffle: Annotated[
        bool, Field(description="shuffle before the split; false: split in the given order, as for time series")
    ] = True,
) -> dict[str, Part]:
    """Split raw examples into train, validation and test, in the same way for the same seed; return the rows of each.

    Examples under `all` are shuffled by `numpy.random.default_rng(seed).permutation` and cut in that order. With
    `shuffle: false` they are cut in their own order. A source with its own splits keeps them. If it has no validation
    or test split, that split is cut from its train split in the same way. The shares of train and of the missing splits
    are then scaled to add up to 1.

    Raises:
        UserError: If the shares do not add up to 1, or a split would be empty.
    """
    if abs(train + validation + test - 1) > 1e-9:
        raise UserError("split", f"train, validation and test add up to {train + validation + test:g}, not 1")
    given = dict(examples)
    cut = "all" if "all" in given else "train"
    whole = given.pop(cut)
    parts = {name: Part(name, np.arange(len(table))) for name, table in given.items()}
    names = [name for name in ("train", "validation", "test") if name not in given]
    shares = {"train": train, "validation": validation, "test": test}
    total = sum(shares[name] for name in names)
    if not total:
        raise UserError("split.train", "is 0, so there is nothing to train on")
    order = np.random.default_rng(seed).permutation(len(whole)) if shuffle else np.arange(len(whole))
    # Round before truncating, because of float error: 0.7 + 0.1 is 0.7999999999999999.
    cuts = [int(round(np.sum([shares[n] for n in names[:i]]) / total * len(whole), 6)) for i in range(len(names) + 1)]
    for name, start, stop in zip(names, cuts[:-1], cuts[1:], strict=True):
        rows = order[start:stop] if len(names) > 1 else np.arange(len(whole))
        parts[name] = Part(cut, rows)
    for name in shares:
        if not len(parts[name].rows):
            raise UserError(
                f"split.{name}",
                f"no examples are left for this split ({len(whole):,} in total); increase its share or add examples",
            )
    return {name: parts[name] for name in shares}


def take(examples: Mapping[str, pd.DataFrame], parts: Mapping[str, Part]) -> dict[str, pd.DataFrame]:
    """Return the table of each part."""
    return {name: examples[part.of].iloc[part.rows].reset_index(drop=True) for name, part in parts.items()}


def duplicates_across(hashes: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Count the examples of a split that also occur in an earlier one: {'test in train': 3, ...}."""
    return {
        f"{later} in {earlier}": int(np.isin(hashes[later], hashes[earlier]).sum())
        for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test"))
    }
