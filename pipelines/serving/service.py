"""Protocol-independent request handling: from a request to its answer."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.serving.access import Access
from pipelines.serving.asked import ASKED, Asked
from pipelines.serving.budget import BodyBudget
from pipelines.serving.conversion import Conversions
from pipelines.serving.exchange import Exchange, Watcher
from pipelines.serving.gauges import Gauges
from pipelines.serving.logs import log
from pipelines.serving.models.batching import Batcher, Sizes
from pipelines.serving.models.catalogue import Catalogue
from pipelines.serving.models.limits import checked_sizes
from pipelines.serving.models.runs import Runs
from pipelines.serving.models.signatures import DEFAULT, Arrays, Signature
from pipelines.serving.models.stream_batches import StepBatches, run_start
from pipelines.serving.models.streaming import START, STEP, Piece, check_streams, pieces
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import Kind, RequestError, invalid
from pipelines.serving.request_log import RequestLog
from pipelines.serving.settings import Settings
from pipelines.serving.shadow import Shadows
from pipelines.serving.tracing import Tracing

if TYPE_CHECKING:
    from pipelines.serving.drift import Drift


@dataclass(frozen=True)
class Address:
    """The target of a request: a model, optionally with a version or label."""

    model: str
    version: int | None = None
    label: str | None = None

    @property
    def is_explicit(self) -> bool:
        """Return whether it names a version or label."""
        return self.version is not None or self.label is not None


@dataclass(frozen=True)
class Answer:
    """The outputs of a model, with the version and signature that computed them."""

    version: int
    signature: Signature
    outputs: Arrays

    @property
    def size(self) -> int:
        """Return the approximate size of the outputs, in bytes."""
        return sum(8 * array.size for array in self.outputs.values())


class Service:
    """The served models with batching and limits; all protocols call this."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.access = Access(settings.all_tokens, settings.requests_per_second)
        self.gauges = Gauges()
        self.catalogue = Catalogue(settings.models, self._count_versions)
        self.stopping = False  # True once shutdown begins: not ready any more
        self.closing = False  # True from the next stage on: each connection closes after its next response
        self.streams = 0
        # Streams have their own threads, so that they cannot block batches.
        # So has each model, so that none waits for another.
        self._settings = {name: settings.of(name) for name in settings.models}
        self._executors = {name: ThreadPoolExecutor(own.runners, name) for name, own in self._settings.items()}
        self._stream_executor = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "streams")
        self.runs = Runs()
        self.tracing = Tracing() if settings.tracing else None
        self.conversions = Conversions()
        self.bodies = BodyBudget(settings.max_bodies_bytes)
        self._batchers: dict[tuple[str, int, str], Batcher] = {}
        self._steps: dict[tuple[str, int], StepBatches] = {}
        self.drift = self._make_drift()
        self._watchers: list[Watcher] = [] if self.drift is None else [self.drift]
        if any(model.shadow is not None for model in settings.models.values()):
            self._watchers.append(Shadows(self.catalogue, self._settings, self.gauges, self.runs))
        if any(own.request_log is not None for own in self._settings.values()):
            self._watchers.append(RequestLog(self._settings, self.gauges))

    def _make_drift(self) -> "Drift | None":
        if not self.settings.drift:
            return None
        from pipelines.serving.drift import Drift  # with pandas, which a server does not need otherwise

        return Drift(self.catalogue, self.gauges, self.settings.drift_seconds)

    @property
    def ready(self) -> bool:
        """Return whether the server is ready for requests."""
        return self.catalogue.ready and not self.stopping

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the model folders while the server runs."""
        watching = asyncio.create_task(self.catalogue.watch(self.settings.poll_seconds))
        watching.add_done_callback(_tell_failure)
        comparing = asyncio.create_task(self.drift.watch()) if self.drift is not None else None
        if comparing is not None:
            comparing.add_done_callback(_tell_failure)
        try:
            yield
        finally:
            watching.cancel()
            if comparing is not None:
                comparing.cancel()
            for watcher in self._watchers:
                watcher.close()
            self.runs.stop()
            for executor in (*self._executors.values(), self._stream_executor):
                executor.shutdown(wait=False, cancel_futures=True)
            self.conversions.close()
            if self.tracing is not None:
                await asyncio.to_thread(self.tracing.close)

    async def load(self, model: str) -> None:
        """Load a model that was unloaded, or its new versions.

        Raises:
            RequestError: If there is no such model, or no version of it can be loaded.
        """
        served = self.catalogue.model(model)
        served.unloaded = False
        await served.refresh()
        if not served.versions:
            reasons = "; ".join(state.error for state in served.states.values() if state.error)
            raise invalid(f"no version of model {model} can be loaded: {reasons}")

    async def unload(self, model: str) -> None:
        """Unload a model, until it is loaded again.

        Raises:
            RequestError: If there is no such model.
        """
        served = self.catalogue.model(model)
        served.unloaded = True
        await served.refresh()

    def find(self, address: Address) -> Version:
        """Return the version at an address.

        Raises:
            RequestError: If it is not served.
        """
        version = self.catalogue.model(address.model).find(address.version, address.label)
        ASKED.get(Asked()).version = str(version.number)
        return version

    def choose(self, address: Address) -> Version:
        """Return the version that answers a request: if it names none, by the weights of the model's traffic.

        Raises:
            RequestError: If it is not served.
        """
        if address.is_explicit:
            return self.find(address)
        asked = ASKED.get(Asked())
        version = self.catalogue.model(address.model).routed(asked.routing_key or asked.request_id)
        asked.version = str(version.number)
        return version

    async def answer(
        self,
        address: Address,
        signature_name: str,
        read: Callable[[Signature], Arrays],
        wanted: Collection[str] = (),
        size: int = 0,
    ) -> Answer:
        """Run one signature; `read` returns its inputs from `size` bytes, and `wanted` selects outputs (all if empty).

        Raises:
            RequestError: If the request is invalid or fails.
        """
        version = self.choose(address)
        signature = find_signature(version, signature_name)
        missing = set(wanted) - set(signature.outputs)
        if missing:
            raise invalid(f"no output '{min(missing)}'; choose from: {', '.join(signature.outputs)}")
        with version.in_use(), version.statistics.request():
            inputs, sizes = await self.conversions.run(size, self._checked, read, signature)
            began = time.monotonic()
            outputs = await self._batcher(address.model, version, signature).answer(inputs, sizes)
            seconds = time.monotonic() - began
        if self._watchers:
            about = (seconds, size, ASKED.get(Asked()).request_id, address.is_explicit)
            exchange = Exchange(address.model, version, signature, inputs, sizes, outputs, *about)
            for watcher in self._watchers:
                watcher.seen(exchange)
        outputs = {name: outputs[name] for name in wanted or signature.outputs}
        return Answer(version.number, signature, outputs)

    @contextlib.asynccontextmanager
    async def stream(
        self, address: Address, read: Callable[[Signature], Arrays], size: int = 0
    ) -> AsyncIterator[AsyncIterator[Piece]]:
        """Stream a text from `size` bytes within the context; the first piece is computed when that is entered.

        Raises:
            RequestError: If the request is invalid or fails.
        """
        version = self.choose(address)
        start = find_signature(version, START)
        step = find_signature(version, STEP)
        check_streams(start, step)
        inputs, _ = await self.conversions.run(size, self._checked, read, start)
        if any(len(array) != 1 for array in inputs.values() if array.ndim):
            raise invalid("streaming supports one row per request; send one request for each row")
        with version.in_use(), self._counted_stream():
            call = partial(self.runs.call, self._settings[address.model].inference_seconds, self._stream_executor)
            first = await call(run_start, start, step, inputs)
            yield pieces(
                first, self._step_batches(address.model, version, step, call).answer, self.settings.max_stream_steps
            )

    @contextlib.contextmanager
    def _counted_stream(self) -> Iterator[None]:
        if self.streams >= self.settings.max_streams:
            raise RequestError(Kind.BUSY, "too many streams at once; try again later")
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    def _checked(self, read: Callable[[Signature], Arrays], signature: Signature) -> tuple[Arrays, Sizes]:
        inputs = signature.filled(read(signature))
        return inputs, checked_sizes(inputs, self.settings)

    def _batcher(self, model: str, version: Version, signature: Signature) -> Batcher:
        key = (model, version.number, signature.name)
        batcher = self._batchers.get(key)
        if batcher is None or batcher.signature is not signature:  # the version may have been loaded again
            rows, queue = self.gauges.batches.labels(model), self.gauges.queue.labels(model)

            def observe(running: int, waiting: int) -> None:
                rows.observe(running)
                queue.set(waiting)

            batcher = self._batchers[key] = Batcher(
                signature, self._executors[model], self._settings[model], observe, self.runs, version.statistics
            )
        return batcher

    def _step_batches(
        self, model: str, version: Version, step: Signature, call: Callable[..., Awaitable[Any]]
    ) -> StepBatches:
        key = (model, version.number)
        steps = self._steps.get(key)
        if steps is None or steps.step is not step:  # the version may have been loaded again
            steps = self._steps[key] = StepBatches(step, call)
        return steps

    def _count_versions(self) -> None:
        loaded = {(name, number) for name, model in self.catalogue.models.items() for number in model.versions}
        self._batchers = {key: batcher for key, batcher in self._batchers.items() if key[:2] in loaded}
        self._steps = {key: steps for key, steps in self._steps.items() if key in loaded}
        for name, model in self.catalogue.models.items():
            self.gauges.loaded.labels(name).set(len(model.versions))


def find_signature(version: Version, name: str) -> Signature:
    """Return a signature by name, or the default signature if the name is empty.

    Raises:
        RequestError: If there is no such signature.
    """
    name = name or DEFAULT
    if name not in version.signatures:
        known = ", ".join(sorted(version.signatures))
        raise invalid(f'Serving signature key "{name}" not found; this version has: {known}')
    return version.signatures[name]


def _tell_failure(task: asyncio.Task) -> None:
    if not task.cancelled() and task.exception():
        log("stopped watching the model folders", logging.CRITICAL, reason=repr(task.exception()))
