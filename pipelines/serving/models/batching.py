"""Requests to one signature that run together."""

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

SIDE_BY_SIDE = 16  # rows: with fewer, what a batch costs beside its rows is more than a further core saves


@dataclass
class Job:
    """One request that waits."""

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
    """Requests that are to run together."""

    def __init__(self, signature: Signature, settings: Settings):
        self.signature, self.settings = signature, settings
        self.jobs: list[Job] = []
        self.rows = self.pixels = self.longest = 0

    def take(self, job: Job) -> bool:
        """Take a request where it fits; the first one always does."""
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
    """Gather requests while others run, up to `max_batch_size` rows, and run them together.

    With nothing running a batch starts at once, or after `batch_timeout_ms`; under load batches fill while the one
    before them runs, so that no request waits for company that does not come.
    """

    def __init__(
        self, signature: Signature, executor: Executor, settings: Settings, observe: Callable[[int, int], None]
    ):
        self.signature, self.executor, self.settings = signature, executor, settings
        self.observe = observe  # is told the rows of each batch that starts, and those that still wait
        self.queue: deque[Job] = deque()
        self.waiting = 0  # rows
        self.running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task] = set()  # the loop itself holds tasks weakly

    async def answer(self, inputs: Arrays, pixels: int = 0) -> Arrays:
        """Answer one request.

        Raises:
            RequestError: where too many wait, or the model refuses the inputs.
        """
        rows = min((len(array) for array in inputs.values() if array.ndim), default=1)
        if self.waiting and self.waiting + rows > self.settings.max_queue:
            raise RequestError(Kind.BUSY, "too many requests wait for this model; try again later")
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
        """Say whether what waits is too little for a batch beside another, whose end brings more company."""
        return self.running > 0 and self.signature.batchable and self.waiting < SIDE_BY_SIDE

    def _next(self) -> list[Job]:
        """Take the requests that run next; none where it is better to wait."""
        loop, settings = asyncio.get_running_loop(), self.settings
        batch, left = Batch(self.signature, settings), deque()
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
    """Answer several requests at once; where that fails, one by one, so that a bad one harms no other."""
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
