"""Dynamic batching of the requests to one signature."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.serving.asked import ASKED, Asked
from pipelines.serving.models.runs import Runs
from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.statistics import Statistics
from pipelines.serving.models.tensors import MOST_ELEMENTS, merge
from pipelines.serving.request_errors import Kind, RequestError
from pipelines.serving.settings import Settings

if TYPE_CHECKING:
    from pipelines.serving.tracing import Trace

PADDED_FREELY = 64 << 10  # bytes of text in a batch after padding; up to this, padding is cheap
MOST_PADDED = 256 << 10  # bytes of text in a batch after padding
MOST_UNEQUAL = 4  # how much longer the longest text of a larger batch may be than its shortest
LONGEST = 1 << 62  # more than any text
SIDE_BY_SIDE = 16  # rows; below this, the fixed cost of a parallel batch exceeds what another core saves


@dataclass(frozen=True)
class Sizes:
    """What each row of a request means in work: the pixels of its images, and the bytes of its longest text."""

    pixels: list[int]
    lengths: list[int]

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.pixels)

    def take(self, rows: Sequence[int]) -> "Sizes":
        """Return the sizes of some rows."""
        return Sizes([self.pixels[row] for row in rows], [self.lengths[row] for row in rows])


@dataclass
class Job:
    """A queued request, or some rows of a large one."""

    inputs: Arrays
    sizes: Sizes
    group: Any
    answer: "asyncio.Future[Arrays]"
    since: float
    trace: "Trace | None"
    row_elements: int = field(init=False)

    def __post_init__(self):
        self.row_elements = max(math.prod(array.shape[1:]) for array in self.inputs.values()) if self.inputs else 0

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.sizes.rows


class Load:
    """The size of a batch after padding, which limits what may join it."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.rows = self.pixels = self.longest = self.row_elements = 0
        self.shortest = LONGEST

    def take(self, sizes: Sizes, row_elements: int = 1) -> bool:
        """Add rows if they fit, and return whether they did; the first ones always fit."""
        rows, pixels = self.rows + sizes.rows, self.pixels + sum(sizes.pixels)
        longest, shortest = max(self.longest, *sizes.lengths), min(self.shortest, *sizes.lengths)
        elements = max(self.row_elements, row_elements)
        fits = (
            rows <= self.settings.max_batch_size
            and pixels <= self.settings.max_image_pixels
            and rows * elements <= MOST_ELEMENTS
            and _padding_is_fine(rows, shortest, longest)
        )
        if self.rows and not fits:
            return False
        self.rows, self.pixels, self.row_elements = rows, pixels, elements
        self.longest, self.shortest = longest, shortest
        return True


class Batch:
    """Requests that will run together."""

    def __init__(self, signature: Signature, settings: Settings):
        self.signature, self.load = signature, Load(settings)
        self.jobs: list[Job] = []

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.load.rows

    def take(self, job: Job) -> bool:
        """Add a request if it fits, and return whether it did; the first one always fits."""
        if self.jobs and not (self.signature.batchable and job.group == self.jobs[0].group):
            return False
        if not self.load.take(job.sizes, job.row_elements):
            return False
        self.jobs.append(job)
        return True


def _padding_is_fine(rows: int, shortest: int, longest: int) -> bool:
    """Return whether texts of these lengths in bytes may be padded to the longest."""
    padded = rows * longest
    return padded <= PADDED_FREELY or (padded <= MOST_PADDED and longest <= MOST_UNEQUAL * shortest)


def parts(sizes: Sizes, settings: Settings) -> list[list[int]]:
    """Divide the rows of a request into batches, by length, so that none is padded too much."""
    divided: list[list[int]] = [[]]
    load = Load(settings)
    for row in sorted(range(sizes.rows), key=lambda row: sizes.lengths[row]):
        if not load.take(sizes.take([row])):
            load = Load(settings)
            load.take(sizes.take([row]))
            divided.append([])
        divided[-1].append(row)
    return divided


class Batcher:
    """Collect requests into batches of up to `max_batch_size` rows and run them.

    If no batch is running, a batch starts immediately, or after `batch_timeout_ms` unless it is full before. Under
    load, a batch fills while the previous one runs, so no request waits for others that may never come.
    """

    def __init__(
        self,
        signature: Signature,
        executor: Executor,
        settings: Settings,
        observe: Callable[[int, int], None],
        runs: Runs | None = None,
        statistics: Statistics | None = None,
    ):
        self.signature, self.executor, self.settings = signature, executor, settings
        self.runs = runs or Runs()
        self.statistics = statistics or Statistics()
        self.observe = observe  # called with the rows of each batch that starts and the rows still queued
        self.queue: deque[Job] = deque()
        self.waiting = 0  # rows
        self.running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task] = set()  # the event loop keeps only weak references to tasks

    async def answer(self, inputs: Arrays, sizes: Sizes) -> Arrays:
        """Queue one request and return its outputs; many rows, or rows of very unequal length, run in several batches.

        Raises:
            RequestError: If the queue is full or the model rejects the inputs.
        """
        if self.waiting and self.waiting + sizes.rows > self.settings.max_queue:
            raise RequestError(Kind.BUSY, "the queue of this model is full; try again later")
        divided = parts(sizes, self.settings) if self.signature.batchable else []
        if len(divided) > 1:
            return await self._in_parts(inputs, sizes, divided)
        return await self._queue(inputs, sizes)

    def _queue(self, inputs: Arrays, sizes: Sizes) -> "asyncio.Future[Arrays]":
        loop = asyncio.get_running_loop()
        trace = ASKED.get(Asked()).trace
        job = Job(inputs, sizes, self.signature.group(inputs), loop.create_future(), loop.time(), trace)
        self.queue.append(job)
        self.waiting += job.rows
        self._start()
        return job.answer

    async def _in_parts(self, inputs: Arrays, sizes: Sizes, divided: list[list[int]]) -> Arrays:
        answers = [
            self._queue({name: array[rows] for name, array in inputs.items()}, sizes.take(rows)) for rows in divided
        ]
        try:
            outputs = await asyncio.gather(*answers)
        finally:
            for answer in answers:  # the others, if one failed or the client has gone
                answer.cancel()
        if any(len(a) != len(rows) for part, rows in zip(outputs, divided, strict=True) for a in part.values()):
            return await self._queue(inputs, sizes)  # the outputs are not by row after all
        order = np.argsort(np.concatenate(divided))
        return {
            name: merge([part[name] for part in outputs], spec.empty)[order]
            for name, spec in self.signature.outputs.items()
        }

    def _start(self) -> None:
        while self.queue and self.running < self.settings.runners and not self._too_few():
            jobs = self._next()
            if not jobs:
                return
            self.running += 1
            self.observe(sum(job.rows for job in jobs), self.waiting)
            task = asyncio.get_running_loop().create_task(self._run(jobs))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            for job in jobs:
                job.answer.add_done_callback(partial(self._cancel_unwanted, jobs, task))

    @staticmethod
    def _cancel_unwanted(jobs: list[Job], task: asyncio.Task, _: asyncio.Future) -> None:
        if all(job.answer.cancelled() for job in jobs):
            task.cancel()

    def _too_few(self) -> bool:
        """Return whether the queue is too short to start a batch parallel to a running one."""
        return self.running > 0 and self.signature.batchable and self.waiting < SIDE_BY_SIDE

    def _next(self) -> list[Job]:
        """Remove the requests of the next batch from the queue; return none if it is better to wait."""
        loop, settings = asyncio.get_running_loop(), self.settings
        batch = Batch(self.signature, settings)
        left: deque[Job] = deque()
        for job in self.queue:
            if job.answer.cancelled():
                self.waiting -= job.rows
            elif not batch.take(job):
                left.append(job)
        if not batch.jobs:
            return []
        due = batch.jobs[0].since + settings.batch_timeout_ms / 1000
        full = left or batch.rows >= settings.max_batch_size or not self.signature.batchable
        if not full and loop.time() < due:
            if self._timer is None:
                self._timer = loop.call_at(due, self._ring)
            self.queue = deque(batch.jobs)
            return []
        self.queue = left
        self.waiting -= batch.rows
        return batch.jobs

    def _ring(self) -> None:
        self._timer = None
        self._start()

    async def _run(self, jobs: list[Job]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            inputs, rows = [job.inputs for job in jobs], [job.rows for job in jobs]
            seconds = self.settings.inference_seconds
            answers = await self.runs.call(seconds, self.executor, run_together, self.signature, inputs, rows)
            ended = clock()
            self.statistics.batch(sum(rows), len(jobs), sum(began - job.since for job in jobs), ended - began)
            for job in jobs:
                if job.trace is not None:
                    job.trace.inferred(job.since, began, ended, job.rows, sum(rows))
        except RequestError as late:
            answers = [late] * len(jobs)
        finally:
            self.running -= 1
            self._start()
        for job, answer in zip(jobs, answers, strict=True):
            if job.answer.done():
                continue
            if isinstance(answer, Exception):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)


def run_together(signature: Signature, requests: list[Arrays], rows: list[int]) -> list[Arrays | Exception]:
    """Run several requests as one batch; if it fails, run them one by one, so that only the bad ones fail."""
    if not signature.batchable:
        return [_attempt(signature, inputs) for inputs in requests]
    try:
        outputs = signature.call(signature.merge(requests))
        answers = signature.split(outputs, rows)
    except Exception as error:
        if len(requests) == 1:
            return [error]
        answers = None
    if answers is not None:
        return list(answers)
    if len(requests) == 1:
        return [outputs]
    return [run_together(signature, [inputs], [count])[0] for inputs, count in zip(requests, rows, strict=True)]


def _attempt(signature: Signature, inputs: Arrays) -> Arrays | Exception:
    try:
        return signature.call(inputs)
    except Exception as error:
        return error
