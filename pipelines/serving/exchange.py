"""What a model was asked and answered, for those that watch the requests of a server."""

from dataclasses import dataclass
from typing import Protocol

from pipelines.serving.models.batching import Sizes
from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.versions import Version


@dataclass(frozen=True)
class Exchange:
    """One answered request."""

    model: str
    version: Version
    signature: Signature
    inputs: Arrays
    sizes: Sizes
    outputs: Arrays
    seconds: float  # of the inference with its wait in the queue
    body_bytes: int
    request_id: str
    is_addressed: bool  # whether the request named a version or label

    @property
    def size(self) -> int:
        """Return the approximate size in memory, in bytes."""
        return self.body_bytes + sum(array.nbytes for array in (*self.inputs.values(), *self.outputs.values()))


class Watcher(Protocol):
    """Someone who watches the requests of a server, and must not keep them waiting."""

    def seen(self, exchange: Exchange) -> None:
        """Take note of an answered request."""

    def close(self) -> None:
        """Stop watching."""
