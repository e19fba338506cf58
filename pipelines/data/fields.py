"""Define what a task says of its examples, so that they can be checked without knowing the task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Content = Literal["cells", "image", "text", "tokens", "running_text"]
TargetKind = Literal["class", "number", "tags", "text"]


@dataclass(frozen=True)
class Fields:
    """What the inputs of a task are, in which columns, and what the target is.

    `content` chooses how near duplicates, the columns to compare and the features of simple models are made.
    """

    content: Content
    inputs: Sequence[str] = ()  # empty: all columns but the target
    target: str | None = None  # column
    target_is: TargetKind | None = None

    def input_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the input columns of a table."""
        return list(self.inputs) or [name for name in columns if name != self.target]

    @property
    def has_classes(self) -> bool:
        """Whether equal inputs should have equal targets."""
        return self.target_is in ("class", "tags")
