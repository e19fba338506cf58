"""Streaming of generated text: one call of `stream_start`, then calls of `stream_step` until it is finished.

Outputs with the name of a `stream_step` input are passed to the next step. The `text` (1,) of each call is sent
immediately, and `finished` (1,) ends the stream.
"""

import codecs
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.request_errors import invalid

START, STEP = "stream_start", "stream_step"
TEXT, FINISHED = "text", "finished"


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
    """A chunk of generated text, and whether it is the last one."""

    text: str
    finished: bool


async def pieces(
    first: Arrays,
    step: Signature,
    call: Callable[[Arrays], Awaitable[Arrays]],
    most_steps: int,
    held: contextlib.ExitStack,
) -> AsyncIterator[Piece]:
    """Yield the text of each `call` of `step`; `held` is closed at the end, even if the client disconnects."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # a character may be split between two pieces
    with held:
        outputs = first
        for number in range(most_steps):
            finished = bool(outputs[FINISHED].all()) or number == most_steps - 1
            yield Piece(decode(outputs[TEXT].reshape(-1)[0], finished), finished)
            if finished:
                return
            state = {name: outputs[name] for name in step.inputs}
            outputs = await call(state)
