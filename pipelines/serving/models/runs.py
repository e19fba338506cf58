"""Calls of models in threads: they end at a deadline, when nobody waits for them, and when the server stops."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from tensorflow.python.eager import cancellation
from tensorflow.python.eager.cancellation import CancellationManager

from pipelines.serving.request_errors import Kind, RequestError

Result = TypeVar("Result")

_THREAD = threading.local()  # its `stop` cancels the call that runs in a thread
# TensorFlow has one variable for the calls of all threads, so that the end of one would also cancel another.
cancellation.context = lambda: getattr(_THREAD, "stop", None)


class Runs:
    """The running calls; TensorFlow ends a cancelled one at its next operation or turn of a loop."""

    def __init__(self):
        self._running: set[CancellationManager] = set()

    @property
    def active(self) -> bool:
        """Return whether any call runs, cancelled or not."""
        return bool(self._running)

    async def call(
        self, seconds: float, executor: Executor, function: Callable[..., Result], *arguments: Any
    ) -> Result:
        """Call a function in a thread; cancel it if it takes too long or the caller is cancelled.

        Raises:
            RequestError: If it takes more than `seconds`.
        """
        stop = CancellationManager()
        self._running.add(stop)
        future = asyncio.get_running_loop().run_in_executor(executor, _cancellable, stop, function, *arguments)
        future.add_done_callback(lambda ended: self._end(stop, ended))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(future)
        except TimeoutError:
            raise RequestError(Kind.LATE, f"the model did not answer within {seconds:g} s") from None
        finally:
            if not future.done():
                stop.start_cancel()

    def stop(self) -> None:
        """Cancel all calls."""
        for stop in self._running:
            stop.start_cancel()

    def _end(self, stop: CancellationManager, ended: asyncio.Future) -> None:
        self._running.discard(stop)
        if not ended.cancelled():
            ended.exception()  # otherwise asyncio reports an exception that nobody waits for


def _cancellable(stop: CancellationManager, function: Callable[..., Result], *arguments: Any) -> Result:
    _THREAD.stop = stop
    try:
        return function(*arguments)
    finally:
        _THREAD.stop = None
