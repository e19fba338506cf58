"""Tell how far the inputs of requests have drifted from the training data, by the sketch of an export."""

import asyncio
import json
import random
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from pipelines.audit.shift import worth_telling
from pipelines.audit.sketch import Sketch
from pipelines.export_folder import ExportVersion
from pipelines.serving.exchange import Exchange
from pipelines.serving.gauges import Gauges
from pipelines.serving.logs import log
from pipelines.serving.models.catalogue import Catalogue
from pipelines.serving.models.signatures import DEFAULT
from pipelines.serving.models.versions import Version

ROWS = 1_000  # latest rows that are compared, of those that were kept
LEAST_ROWS = 100
CHANCE = 1e-4  # of a difference that is logged: smaller than in an audit, because it is looked at again and again
PER_REQUEST = 16  # rows of a request that are kept, drawn at random
MOST_BYTES = 32 << 20  # of the kept rows of a model


class Drift:
    """The latest inputs of each model, compared with the sketch of its newest version now and then."""

    def __init__(self, catalogue: Catalogue, gauges: Gauges, seconds: float):
        self._catalogue, self._gauges, self._seconds = catalogue, gauges, seconds
        self._kept: dict[str, deque[dict[str, object]]] = {}
        self._bytes: dict[str, int] = {}
        self._told: dict[str, set[str]] = {}
        self._sketches: dict[tuple[str, int], Sketch | None] = {}
        self._random = random.Random(0)
        self._executor = ThreadPoolExecutor(1, "drift")

    def seen(self, exchange: Exchange) -> None:
        """Keep a few rows of a request to the newest version."""
        model, inputs = exchange.model, exchange.inputs
        newest = max(self._catalogue.models[model].versions, default=None)
        if exchange.signature.name != DEFAULT or exchange.version.number != newest:
            return
        if any(not array.ndim for array in inputs.values()):
            return
        rows = min(len(array) for array in inputs.values())
        kept = self._kept.setdefault(model, deque())
        for at in self._random.sample(range(rows), min(rows, PER_REQUEST)):
            row = {name: _plain(array[at]) for name, array in inputs.items()}
            kept.append(row)
            self._bytes[model] = self._bytes.get(model, 0) + _size(row)
            while len(kept) > ROWS or self._bytes[model] > MOST_BYTES:
                self._bytes[model] -= _size(kept.popleft())

    async def watch(self) -> None:
        """Compare until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._seconds)
            for model, kept in list(self._kept.items()):
                versions = self._catalogue.models[model].versions
                if len(kept) >= LEAST_ROWS and versions:
                    await loop.run_in_executor(self._executor, self._compare, model, versions[max(versions)], [*kept])

    def close(self) -> None:
        """Stop comparing."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _compare(self, model: str, version: Version, rows: list[dict[str, object]]) -> None:
        sketch = self._sketch(model, version)
        if sketch is None:
            return
        found = sketch.differences(pd.DataFrame(rows), "the requests")
        for each in found:
            if not each.word:
                self._gauges.drift.labels(model, each.name).set(each.size)
        self._gauges.drift_rows.labels(model).set(len(rows))
        told = {each.name: each.about for each in worth_telling(found) if each.chance <= CHANCE}
        for name in told.keys() - self._told.get(model, set()):  # once, until it is gone
            log("inputs have drifted", model=model, version=version.number, input=name, difference=told[name])
        self._told[model] = set(told)

    def _sketch(self, model: str, version: Version) -> Sketch | None:
        key, path = (model, version.number), ExportVersion(version.folder).sketch
        if key not in self._sketches:
            there = path.is_file()
            self._sketches[key] = Sketch.read(json.loads(path.read_text(encoding="utf-8"))) if there else None
            if not there:
                log("no drift measured", model=model, version=version.number, reason="the export has no sketch")
        return self._sketches[key]


def _plain(value: object) -> object:
    """Return one input as a table has it: texts decoded, images as bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value.tolist()]
    return value.item() if isinstance(value, np.generic) else value


def _size(row: dict[str, object]) -> int:
    return sum(sys.getsizeof(value) for value in row.values())
