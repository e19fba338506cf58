"""Streaming of generated text: one call of `stream_start`, then calls of `stream_step` until it is finished.

Outputs with the name of a `stream_step` input are passed to the next step. If the number of rows of all inputs and
outputs of `stream_step` is variable, it is called with one row of each of several streams, padded to the longest. The
`text` (1,) of each call is sent immediately, and `finished` (1,) ends the stream. Other outputs tell more of it, if an
export has them: `stopped` (1,), whether the text came to an end of its own; `read` (1,), the tokens of the prompt;
`token` and `log_probability` (1,); `top_tokens` and `top_log_probabilities` (1, any number), most probable first.
"""

import codecs
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.serving.models.signatures import Signature
from pipelines.serving.models.stream_batches import FINISHED, READ, STOPPED, TEXT, Row
from pipelines.serving.request_errors import invalid

START, STEP = "stream_start", "stream_step"


def check_streams(start: Signature, step: Signature) -> None:
    """Check that two signatures can be used for streaming.

    Raises:
        RequestError: If an output is missing; it names the output.
    """
    for signature in (start, step):
        for output in (TEXT, FINISHED):
            if output not in signature.outputs:
                raise invalid(
                    f"this model does not support streaming: signature '{signature.name}' has no output '{output}'"
                )
        missing = set(step.inputs) - set(signature.outputs)
        if missing:
            raise invalid(
                f"this model does not support streaming: signature '{signature.name}' has no output '{min(missing)}'"
            )


@dataclass(frozen=True)
class Piece:
    """A chunk of generated text, whether it is the last one, and what else the model told."""

    text: str
    finished: bool
    outputs: Mapping[str, Any] = field(default_factory=dict, compare=False)
    count: int = 1  # tokens

    @property
    def stopped(self) -> bool:
        """Return whether the text came to an end of its own, not to the greatest length."""
        return bool(self.outputs[STOPPED].all()) if STOPPED in self.outputs else self.finished

    @property
    def read(self) -> int:
        """Return the number of tokens of the prompt, or 0 if the model does not tell it."""
        return int(np.asarray(self.outputs[READ]).reshape(-1)[0]) if READ in self.outputs else 0

    def likely(self, most: int) -> tuple[tuple[str, float], list[tuple[str, float]]]:
        """Return the token and up to `most` others at its place, with the logarithms of their probabilities."""
        (own,) = self._pairs("token", "log_probability")
        return own, self._pairs("top_tokens", "top_log_probabilities")[:most]

    def _pairs(self, tokens: str, logarithms: str) -> list[tuple[str, float]]:
        names, figures = (self.outputs[name].reshape(-1).tolist() for name in (tokens, logarithms))
        return [(name.decode(errors="replace"), figure) for name, figure in zip(names, figures, strict=True)]


async def pieces(first: Row, step: Callable[[Row], Awaitable[Row]], most_steps: int) -> AsyncIterator[Piece]:
    """Yield the text of each `step`, which gets the row of the one before."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # a character may be split between two pieces
    row = first
    for number in range(most_steps):
        finished = row.finished or number == most_steps - 1
        yield Piece(decode(row.told[TEXT].reshape(-1)[0], finished), finished, row.told)
        if finished:
            return
        row = await step(row)
