"""Dynamic batching of the requests to one signature."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.tensors import MOST_ELEMENTS
from pipelines.serving.request_errors import Kind, RequestError
from pipelines.serving.settings import Settings

SIDE_BY_SIDE = 16  # rows; below this, the fixed cost of a parallel batch exceeds what another core saves


@dataclass
class Job:
    """A queued request."""

    inputs: Arrays
    rows: int
    pixels: int
    group: Any
    answer: "asyncio.Future[Arrays]"
    since: float
    row_elements: int = field(init=False)

    def __post_init__(self):
        self.row_elements = max(math.prod(array.shape[1:]) for array in self.inputs.values()) if self.inputs else 0


class Batch:
    """Requests that will run together."""

    def __init__(self, signature: Signature, settings: Settings):
        self.signature, self.settings = signature, settings
        self.jobs: list[Job] = []
        self.rows = self.pixels = self.longest = 0

    def take(self, job: Job) -> bool:
        """Add a request if it fits, and return whether it did; the first one always fits."""
        rows, pixels = self.rows + job.rows, self.pixels + job.pixels
        longest = max(self.longest, job.row_elements)
        fits = (
            self.signature.batchable
            and rows <= self.settings.max_batch_size
            and pixels <= self.settings.max_image_pixels
            and rows * longest <= MOST_ELEMENTS
        )
        if self.jobs and not (fits and job.group == self.jobs[0].group):
            return False
        self.jobs.append(job)
        self.rows, self.pixels, self.longest = rows, pixels, longest
        return True


class Batcher:
    """Collect requests into batches of up to `max_batch_size` rows and run them.

    If no batch is running, a batch starts immediately, or after `batch_timeout_ms` unless it is full before. Under
    load, a batch fills while the previous one runs, so no request waits for others that may never come.
    """

    def __init__(
        self, signature: Signature, executor: Executor, settings: Settings, observe: Callable[[int, int], None]
    ):
        self.signature, self.executor, self.settings = signature, executor, settings
        self.observe = observe  # called with the rows of each batch that starts and the rows still queued
        self.queue: deque[Job] = deque()
        self.waiting = 0  # rows
        self.running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task] = set()  # the event loop keeps only weak references to tasks

    async def answer(self, inputs: Arrays, pixels: int = 0) -> Arrays:
        """Queue one request and return its outputs.

        Raises:
            RequestError: If the queue is full or the model rejects the inputs.
        """
        rows = min((len(array) for array in inputs.values() if array.ndim), default=1)
        if self.waiting and self.waiting + rows > self.settings.max_queue:
            raise RequestError(Kind.BUSY, "the queue of this model is full; try again later")
        loop = asyncio.get_running_loop()
        job = Job(inputs, rows, pixels, self.signature.group(inputs), loop.create_future(), loop.time())
        self.queue.append(job)
        self.waiting += rows
        self._start()
        return await job.answer

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
        try:
            answers = await asyncio.get_running_loop().run_in_executor(
                self.executor, run_together, self.signature, [job.inputs for job in jobs], [job.rows for job in jobs]
            )
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
