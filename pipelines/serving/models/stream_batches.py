"""Steps of the streams of a model, run together: a stream joins the batch with any step, and leaves it when it ends.

This is the iteration-level scheduling of Orca (Yu et al. 2022, section 3).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, zip_longest
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.request_errors import RequestError

TEXT, FINISHED, STOPPED, READ = "text", "finished", "stopped", "read"
GATHER_SECONDS = 0.002  # for the streams of the last batch to ask for their next step; some clients read slowly


@dataclass(frozen=True)
class Row:
    """One stream in the outputs of a call: what it tells, and what its next step gets."""

    told: Mapping[str, np.ndarray]  # of one row
    kept: Mapping[str, tf.Tensor]  # of all rows
    place: int

    @property
    def finished(self) -> bool:
        """Return whether the stream ends here."""
        return bool(self.told[FINISHED].all())


Job = tuple[Row, "asyncio.Future[Row]"]


class StepBatches:
    """The steps of the streams of one version.

    While a batch runs, the steps that are asked for meanwhile wait for the next one. It starts when all streams of the
    batch before have asked again, or after a short time. An export whose steps take only one row has no batches.
    """

    def __init__(self, step: Signature, call: Callable[..., Awaitable[Any]]):
        self.step, self.call = step, call  # `call` runs a function in a thread
        specs = (*step.inputs.values(), *step.outputs.values())
        self.batchable = all(spec.shape and spec.shape[0] is None for spec in specs)
        self._waiting: list[Job] = []
        self._expected = 0
        self._running: asyncio.Task | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def answer(self, row: Row) -> Row:
        """Run the next step of a stream.

        Raises:
            RequestError: If it fails or takes too long.
        """
        if not self.batchable:
            (answered,) = await self.call(run_rows, self.step, [row])
        else:
            future: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
            self._waiting.append((row, future))
            self._start()
            answered = await future
        if isinstance(answered, Exception):
            raise answered
        return answered

    def _start(self, due: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = [job for job in self._waiting if not job[1].cancelled()]
        if self._running is not None or not self._waiting:
            return
        if len(self._waiting) < self._expected and not due:
            if self._timer is None:
                self._timer = loop.call_later(GATHER_SECONDS, self._ring)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        jobs = sorted(self._waiting, key=lambda job: (id(job[0].kept), job[0].place))  # rows of a batch stay together
        self._waiting = []
        self._running = task = loop.create_task(self._run(jobs))
        for _, future in jobs:
            future.add_done_callback(partial(_cancel_unwanted, jobs, task))

    def _ring(self) -> None:
        self._timer = None
        self._start(due=True)

    async def _run(self, jobs: list[Job]) -> None:
        answers: list[Row | Exception] = []
        try:
            answers = await self.call(run_rows, self.step, [row for row, _ in jobs])
        except RequestError as late:
            answers = [late] * len(jobs)
        finally:
            self._running = None
            going_on = 0
            for (_, future), answer in zip_longest(jobs, answers):
                if future.done():
                    continue
                if answer is None:  # the call was cancelled
                    future.cancel()
                elif isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
                    going_on += not answer.finished
            self._expected = going_on + len(self._waiting)
            self._start()


def _cancel_unwanted(jobs: list[Job], task: asyncio.Task, _: asyncio.Future) -> None:
    if all(future.cancelled() for _, future in jobs):
        task.cancel()


def run_start(start: Signature, step: Signature, inputs: Arrays) -> Row:
    """Run the first call of a stream.

    Raises:
        RequestError: If TensorFlow rejects the inputs.
    """
    return _rows(start, step, inputs, 1)[0]


def run_rows(step: Signature, rows: Sequence[Row]) -> list[Row | Exception]:
    """Run a step of several streams; if it fails, run them one by one, so that only the bad ones fail."""
    try:
        return [*_rows(step, step, joined(step, rows), len(rows))]
    except Exception as error:
        if len(rows) == 1:
            return [error]
    return [run_rows(step, [row])[0] for row in rows]


def joined(step: Signature, rows: Sequence[Row]) -> dict[str, tf.Tensor]:
    """Return the inputs of a step of several streams, padded to the longest; of an unchanged batch as they are."""
    batches = [list(rows) for _, rows in groupby(rows, _batch)]
    groups = [(batch[0].kept, [row.place for row in batch]) for batch in batches]
    parts = {name: [_taken(kept[name], places) for kept, places in groups] for name in step.inputs}
    return {name: _concatenated(tensors, step.inputs[name].empty) for name, tensors in parts.items()}


def _batch(row: Row) -> int:
    return id(row.kept)


def _taken(tensor: tf.Tensor, places: list[int]) -> tf.Tensor:
    return tensor if places == list(range(len(tensor))) else tf.gather(tensor, places)


def _concatenated(tensors: list[tf.Tensor], empty: Any) -> tf.Tensor:
    if len(tensors) == 1:
        return tensors[0]
    longest = np.max([tensor.shape[1:] for tensor in tensors], axis=0)
    return tf.concat([_padded(tensor, longest, empty) for tensor in tensors], axis=0)


def _padded(tensor: tf.Tensor, longest: Sequence[int], empty: Any) -> tf.Tensor:
    missing = [most - own for most, own in zip(longest, tensor.shape[1:], strict=True)]
    if not any(missing):
        return tensor
    return tf.pad(tensor, [[0, 0], *([0, by] for by in missing)], constant_values=tf.constant(empty, tensor.dtype))


def _rows(signature: Signature, step: Signature, inputs: Mapping[str, Any], count: int) -> list[Row]:
    outputs = signature.call(inputs, kept=step.inputs)
    kept = {name: outputs[name] for name in step.inputs}
    told = {name: outputs[name] for name in outputs.keys() - kept.keys()}
    told |= {name: kept[name].numpy() for name in (TEXT, FINISHED, STOPPED, READ) if name in kept}
    if count == 1:
        return [Row(told, kept, 0)]
    if any(len(array) != count for array in (*told.values(), *kept.values())):
        raise ValueError("the outputs are not by row")
    return [Row({name: array[at : at + 1] for name, array in told.items()}, kept, at) for at in range(count)]
