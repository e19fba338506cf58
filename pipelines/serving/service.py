"""Protocol-independent request handling: from a request to its answer."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.serving.access import Access
from pipelines.serving.budget import BodyBudget
from pipelines.serving.conversion import Conversions
from pipelines.serving.gauges import Gauges
from pipelines.serving.logs import log
from pipelines.serving.models.batching import Batcher, Sizes
from pipelines.serving.models.catalogue import Catalogue
from pipelines.serving.models.images import looks_encoded, pixels
from pipelines.serving.models.open_tensors import described
from pipelines.serving.models.runs import Runs
from pipelines.serving.models.signatures import DEFAULT, Arrays, Signature
from pipelines.serving.models.streaming import START, STEP, Piece, check_streams, pieces
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import Kind, RequestError, invalid
from pipelines.serving.settings import Settings

if TYPE_CHECKING:
    from pipelines.serving.drift import Drift


@dataclass(frozen=True)
class Address:
    """The target of a request: a model, optionally with a version or label."""

    model: str
    version: int | None = None
    label: str | None = None


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


@dataclass
class Asked:
    """The version that a request found, for its log line and metrics; empty if it found none."""

    version: str = ""


ASKED: ContextVar[Asked] = ContextVar("asked")  # of the request that the current task answers


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
        self.conversions = Conversions()
        self.bodies = BodyBudget(settings.max_bodies_bytes)
        self._batchers: dict[tuple[str, int, str], Batcher] = {}
        self.drift = self._make_drift()

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
            if self.drift is not None and comparing is not None:
                comparing.cancel()
                self.drift.close()
            self.runs.stop()
            for executor in (*self._executors.values(), self._stream_executor):
                executor.shutdown(wait=False, cancel_futures=True)
            self.conversions.close()

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
        version = self.find(address)
        signature = find_signature(version, signature_name)
        missing = set(wanted) - set(signature.outputs)
        if missing:
            raise invalid(f"no output '{min(missing)}'; choose from: {', '.join(signature.outputs)}")
        with version.in_use(), version.statistics.request():
            inputs, sizes = await self.conversions.run(size, self._checked, read, signature)
            if self.drift is not None:
                self.drift.seen(address.model, version, signature, inputs)
            outputs = await self._batcher(address.model, version, signature).answer(inputs, sizes)
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
        version = self.find(address)
        start = find_signature(version, START)
        step = find_signature(version, STEP)
        check_streams(start, step)
        inputs, _ = await self.conversions.run(size, self._checked, read, start)
        if any(len(array) != 1 for array in inputs.values() if array.ndim):
            raise invalid("streaming supports one row per request; send one request for each row")
        with version.in_use(), self._counted_stream():
            call = partial(self.runs.call, self._settings[address.model].inference_seconds, self._stream_executor)
            first = await call(partial(start.call, kept=step.inputs), inputs)
            following = partial(call, partial(step.call, kept=step.inputs))
            yield pieces(first, step, following, self.settings.max_stream_steps)

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
        return inputs, self._check(inputs)

    def _check(self, inputs: Arrays) -> Sizes:
        """Check the size of a request, and return those of its rows."""
        settings = self.settings
        for name, array in inputs.items():
            rows = len(array) if array.ndim else 1
            if not rows:
                raise invalid(f"input '{name}' is empty")
            if rows > settings.max_rows:
                raise invalid(f"input '{name}' has {rows:,} rows; at most {settings.max_rows:,} are allowed")
        if len({len(array) for array in inputs.values() if array.ndim}) > 1:
            raise invalid(
                "inputs have different numbers of rows: "
                + ", ".join(f"{k} {len(v)}" for k, v in inputs.items() if v.ndim)
            )
        rows = min((len(array) for array in inputs.values() if array.ndim), default=1)
        sizes = Sizes([0] * rows, [0] * rows)
        for name, array in inputs.items():
            if array.dtype == object:
                self._add_strings(name, array.reshape(rows if array.ndim else 1, -1), sizes)
        counted = sum(sizes.pixels)
        if counted > settings.max_image_pixels:
            raise invalid(
                f"the images have {counted:,} pixels in total; at most {settings.max_image_pixels:,} are allowed"
            )
        return sizes

    def _add_strings(self, name: str, strings: np.ndarray, sizes: Sizes) -> None:
        most = self.settings.max_text_bytes
        for row, contents in enumerate(strings):
            for content in contents:
                if looks_encoded(content):
                    sizes.pixels[row] += pixels(content)
                    continue
                sizes.lengths[row] = max(sizes.lengths[row], len(content))
                if len(content) > most:
                    raise invalid(f"input '{name}' has a text of {len(content):,} bytes; at most {most:,} are allowed")
            sizes.lengths[row] = max(sizes.lengths[row], len(contents))  # of tokens, which are padded too

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

    def _count_versions(self) -> None:
        loaded = {(name, number) for name, model in self.catalogue.models.items() for number in model.versions}
        self._batchers = {key: batcher for key, batcher in self._batchers.items() if key[:2] in loaded}
        for name, model in self.catalogue.models.items():
            self.gauges.loaded.labels(name).set(len(model.versions))


def index_of(service: Service) -> list[dict[str, str]]:
    """List the versions of all models with their states, as the Open Inference Protocol has them."""
    return [
        {
            "name": model.name,
            "version": str(number),
            "state": {"AVAILABLE": "READY", "END": "UNAVAILABLE"}.get(state.name, state.name),
            "reason": state.error,
        }
        for model in service.catalogue.models.values()
        for number, state in sorted(model.states.items())
    ]


def statistics_of(service: Service, address: Address) -> list[dict[str, Any]]:
    """Return the statistics of a version, of all loaded versions of a model, or if it has no name of all models.

    Raises:
        RequestError: If the version is not served.
    """
    if address.model and address.version is not None:
        return [service.find(address).statistics.record(address.model, address.version)]
    models = [service.catalogue.model(address.model)] if address.model else service.catalogue.models.values()
    loaded = ((model.name, number, version) for model in models for number, version in sorted(model.versions.items()))
    return [version.statistics.record(name, number) for name, number, version in loaded]


def metadata_of(service: Service, address: Address) -> dict[str, Any]:
    """Return the inputs and outputs of the default signature, as the Open Inference Protocol has them.

    Raises:
        RequestError: If the version is not served, or has no default signature.
    """
    version = service.find(address)
    signature = find_signature(version, "")
    versions = sorted(service.catalogue.model(address.model).versions)
    return {
        "name": address.model,
        "versions": [str(number) for number in versions],
        "platform": "tensorflow_savedmodel",
        "inputs": [described(spec) for spec in signature.inputs.values()],
        "outputs": [described(spec) for spec in signature.outputs.values()],
    }


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
