"""The memory that the bodies of all requests in progress may use together."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.serving.request_errors import Kind, RequestError


class BodyBudget:
    """A number of bytes that requests share."""

    def __init__(self, most: int):
        self.most, self.held = most, 0

    @contextmanager
    def holding(self, size: int = 0) -> Iterator["Share"]:
        """Reserve `size` bytes, and what is taken later, until the context ends.

        Raises:
            RequestError: If all bodies together would exceed the budget.
        """
        share = Share(self)
        try:
            share.take(size)
            yield share
        finally:
            self.held -= share.size


class Share:
    """The part of a budget that one request uses."""

    def __init__(self, budget: BodyBudget):
        self.budget, self.size = budget, 0

    def take(self, size: int) -> None:
        """Reserve `size` more bytes.

        Raises:
            RequestError: If all bodies together would exceed the budget.
        """
        if self.budget.held + size > self.budget.most:
            raise RequestError(Kind.UNAVAILABLE, "too many large requests at once; try again later")
        self.size += size
        self.budget.held += size
