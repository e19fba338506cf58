"""Hold the examples of all splits in one order, with what several checks use of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from pipelines.audit.cells import Cells
from pipelines.audit.contents import Described
from pipelines.audit.images import Images
from pipelines.audit.quick import Joined
from pipelines.audit.running_text import RunningText
from pipelines.audit.texts import Texts
from pipelines.audit.tokens import Tokens
from pipelines.data import Dataset
from pipelines.data.fields import Fields

CONTENTS: Mapping[str, Callable[[pd.DataFrame], Described]] = {
    "cells": Cells,
    "image": Images,
    "text": Texts,
    "tokens": Tokens,
    "running_text": RunningText,
}


@dataclass(frozen=True)
class Examined:
    """The examples of all splits, one after the other in the order of `joined.splits`.

    `notes` collects what could not be checked, and why.
    """

    data: Dataset
    fields: Fields
    seed: int = 0
    notes: list[str] = field(default_factory=list)

    @cached_property
    def joined(self) -> Joined:
        """The places of the examples."""
        return Joined(self.data.rows)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """The examples (N rows)."""
        return pd.concat([self.data[split] for split in self.joined.splits], ignore_index=True)

    @cached_property
    def groups(self) -> pd.DataFrame:
        """Columns that are neither inputs nor target, such as the file or the document of each example (N, G)."""
        groups = [self.data.groups.get(split, self.data[split][[]]) for split in self.joined.splits]
        used = {*self.fields.input_columns(list(self.examples)), self.fields.target}
        others = self.examples[[name for name in self.examples if name not in used]]
        return pd.concat([others, pd.concat(groups, ignore_index=True)], axis=1)

    @cached_property
    def split(self) -> np.ndarray:
        """The split of each example, as a position in `joined.splits` (N,)."""
        return self.joined.split

    @cached_property
    def described(self) -> Described:
        """What the content of the inputs is described by."""
        inputs = self.examples[self.fields.input_columns(list(self.examples))]
        return CONTENTS[self.fields.content](inputs)

    @cached_property
    def target(self) -> pd.Series | None:
        """The targets (N,)."""
        return None if self.fields.target is None else self.examples[self.fields.target]

    def of(self, split: str) -> np.ndarray:
        """Return the positions of the examples of a split."""
        return np.flatnonzero(self.split == self.joined.splits.index(split))
