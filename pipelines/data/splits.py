"""Split examples into train, validation and test."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pipelines.errors import UserError

Share = Annotated[float, Field(ge=0, lt=1)]


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
    validation_seed: Annotated[
        int | None,
        Field(
            ge=0, description="seed of another cut between train and validation, with the same test; null: as `seed`"
        ),
    ] = None,
    train_dev: Annotated[
        Share,
        Field(
            description="share of train that is not trained on but measured by `diagnose`, to tell variance from a"
            " mismatch between train and validation"
        ),
    ] = 0.0,
) -> dict[str, pd.DataFrame]:
    """Split raw examples into train, validation and test, in the same way for the same seed.

    Examples under `all` are shuffled by `numpy.random.default_rng(seed).permutation` and cut in that order. With
    `shuffle: false` they are cut in their own order. A source with its own splits keeps them. If it has no validation
    or test split, that split is cut from its train split in the same way. The shares of train and of the missing splits
    are then scaled to add up to 1. A `validation_seed` shuffles the examples of train and validation again before they
    are cut, so that a model can be trained on several splits without ever seeing test. With `train_dev`, a random share
    of train, or its end with `shuffle: false`, is a split of that name (Ng, Machine Learning Yearning, chapter 40).

    Raises:
        UserError: If the shares do not add up to 1, a split would be empty, or a seed has nothing to shuffle.
    """
    if validation_seed is not None and not shuffle:
        raise UserError("split.validation_seed", "cannot be used with shuffle: false; set it to null")
    if abs(train + validation + test - 1) > 1e-9:
        raise UserError("split", f"train, validation and test add up to {train + validation + test:g}, not 1")
    given = dict(examples)
    whole = given.pop("all", None) if "all" in given else given.pop("train")
    names = [name for name in ("train", "validation", "test") if name not in given]
    shares = {"train": train, "validation": validation, "test": test}
    total = sum(shares[name] for name in names)
    if not total:
        raise UserError("split.train", "is 0, so there is nothing to train on")
    order = np.random.default_rng(seed).permutation(len(whole)) if shuffle else np.arange(len(whole))
    # Round before truncating, because of float error: 0.7 + 0.1 is 0.7999999999999999.
    cuts = [int(round(np.sum([shares[n] for n in names[:i]]) / total * len(whole), 6)) for i in range(len(names) + 1)]
    if validation_seed is not None and "validation" in names:  # train and validation are the first two
        order[: cuts[2]] = np.random.default_rng(validation_seed).permutation(order[: cuts[2]])
    for name, start, stop in zip(names, cuts[:-1], cuts[1:], strict=True):
        rows = order[start:stop] if len(names) > 1 else np.arange(len(whole))
        given[name] = whole.iloc[rows].reset_index(drop=True)
    names = list(shares)
    if train_dev:
        names.append("train_dev")
        given["train"], given["train_dev"] = _cut_off(given["train"], train_dev, seed if shuffle else None)
    for name in names:
        if given[name].empty:
            raise UserError(
                f"split.{name}",
                f"no examples are left for this split ({len(whole):,} in total); increase its share or add examples",
            )
    return {name: given[name] for name in names}


def _cut_off(train: pd.DataFrame, share: float, seed: int | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return train without a random share of its rows, or without its end if there is no seed, and those rows."""
    order = np.arange(len(train)) if seed is None else np.random.default_rng(seed).permutation(len(train))
    off = np.zeros(len(train), bool)
    off[order[len(train) - int(share * len(train)) :]] = True
    return train[~off].reset_index(drop=True), train[off].reset_index(drop=True)


def duplicates_across(hashes: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Count the examples of a split that also occur in an earlier one: {'test in train': 3, ...}."""
    return {
        f"{later} in {earlier}": int(np.isin(hashes[later], hashes[earlier]).sum())
        for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test"))
    }
