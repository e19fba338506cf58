"""Shadows: a version that answers copies of requests, of which only metrics are kept."""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipelines.serving.asked import ASKED, Asked
from pipelines.serving.exchange import Exchange
from pipelines.serving.gauges import Gauges
from pipelines.serving.logs import log
from pipelines.serving.models.batching import Batcher
from pipelines.serving.models.catalogue import Catalogue
from pipelines.serving.models.runs import Runs
from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import Kind, RequestError
from pipelines.serving.settings import Settings

MOST = 64  # copies that wait or run
MOST_BYTES = 32 << 20  # of them together
SAME = 1e-6  # difference that comes from rounding, since batches differ


class Shadows:
    """Copies of the requests that name no version, answered by the shadow of their model.

    The copies have a thread of their own, and run after the answer was given. When too many wait, further ones are
    dropped and counted.
    """

    def __init__(self, catalogue: Catalogue, settings: Mapping[str, Settings], gauges: Gauges, runs: Runs):
        self._catalogue, self._settings, self._gauges, self._runs = catalogue, settings, gauges, runs
        self._executor = ThreadPoolExecutor(1, "shadow")
        self._batchers: dict[tuple[str, str], Batcher] = {}
        self._tasks: set[asyncio.Task] = set()
        self._bytes = 0
        self._failing: set[tuple[str, int]] = set()

    def seen(self, exchange: Exchange) -> None:
        """Copy a request, if its model has a shadow."""
        version = self._catalogue.models[exchange.model].shadow
        if version is None:  # what was one may be unloaded
            self._batchers = {key: batcher for key, batcher in self._batchers.items() if key[0] != exchange.model}
        if version is None or version is exchange.version or exchange.is_addressed:
            return
        self._observe(exchange.model, exchange.version, exchange.seconds)
        if len(self._tasks) >= MOST or self._bytes + exchange.size > MOST_BYTES:
            self._count(exchange.model, version, "dropped")
            return
        self._bytes += exchange.size
        task = asyncio.get_running_loop().create_task(self._copy(version, exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop the copies."""
        for task in self._tasks:
            task.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _copy(self, version: Version, exchange: Exchange) -> None:
        key = (exchange.model, version.number)
        ASKED.set(Asked())  # what the copy takes is no part of the client's request
        try:
            with version.in_use():
                result = await self._compared(version, exchange)
            self._failing.discard(key)
        except Exception as error:  # no fault of a shadow is one of the server
            result = "dropped" if isinstance(error, RequestError) and error.kind is Kind.BUSY else "error"
            if result == "error" and key not in self._failing:  # once, until it answers again
                self._failing.add(key)
                reason = f"{type(error).__name__}: {error}"[:500]
                log("shadow failed", logging.WARNING, model=exchange.model, version=version.number, reason=reason)
        finally:
            self._bytes -= exchange.size
        self._count(exchange.model, version, result)

    async def _compared(self, version: Version, exchange: Exchange) -> str:
        """Answer a request, and tell how the answer differs."""
        signature = version.signatures[exchange.signature.name]
        signature.check_names(exchange.inputs, "the request")
        inputs = {name: signature.inputs[name].check(array) for name, array in exchange.inputs.items()}
        began = time.monotonic()
        outputs = await self._batcher(exchange.model, signature).answer(signature.filled(inputs), exchange.sizes)
        self._observe(exchange.model, version, time.monotonic() - began)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._executor, differences, exchange.outputs, outputs)
        for name, difference in found.items():
            self._gauges.shadow_difference.labels(exchange.model, str(version.number), name).observe(difference)
        return "same" if max(found.values(), default=1.0) <= SAME else "different"

    def _batcher(self, model: str, signature: Signature) -> Batcher:
        key = (model, signature.name)
        batcher = self._batchers.get(key)
        if batcher is None or batcher.signature is not signature:
            settings = self._settings[model]
            batcher = self._batchers[key] = Batcher(
                signature, self._executor, settings, lambda running, waiting: None, self._runs
            )
        return batcher

    def _observe(self, model: str, version: Version, seconds: float) -> None:
        self._gauges.shadow_seconds.labels(model, str(version.number)).observe(seconds)

    def _count(self, model: str, version: Version, result: str) -> None:
        self._gauges.shadow_requests.labels(model, str(version.number), result).inc()


def differences(one: Arrays, other: Arrays) -> dict[str, float]:
    """Return by how much two answers differ, from 0 to 1, for each output that both have.

    It is the mean over the elements. That of numbers is |a - b| / max(|a|, |b|), at most 1; others differ by 0 or 1.
    """
    return {name: _difference(one[name], other[name]) for name in one if name in other}


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return 1.0
    if not one.size:
        return 0.0
    if one.dtype.kind in "OSUb":
        return float(np.mean(one != other))
    one, other = one.astype("float64"), other.astype("float64")
    equal = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(one - other) / np.maximum(np.abs(one), np.abs(other))
    apart = np.minimum(np.where(np.isfinite(apart), apart, 1.0), 1.0)
    return float(np.where(equal, 0.0, apart).mean())
