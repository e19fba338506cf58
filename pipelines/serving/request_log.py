"""The log of requests with their answers, for later training: JSON lines in files of bounded size.

    requests/houses/requests-20260131T120000.000000-417.jsonl    with the time and the process in the name

`pipelines.logged_requests` reads them.
"""

import asyncio
import errno
import logging
import os
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import pydantic_core

from pipelines.logged_requests import FILES
from pipelines.serving.exchange import Exchange
from pipelines.serving.gauges import Gauges
from pipelines.serving.logs import log
from pipelines.serving.models.tensors import to_json
from pipelines.serving.settings import Settings

MOST = 1000  # requests that wait to be written
MOST_BYTES = 64 << 20  # of them together
PARTS = 8  # files of each worker; when all are full, the oldest is deleted
MEGABYTE = 1_000_000


class RequestLog:
    """A sample of the requests, written in a thread; when too many wait, further ones are dropped and counted."""

    def __init__(self, settings: Mapping[str, Settings], gauges: Gauges):
        self._settings = {name: own.request_log for name, own in settings.items() if own.request_log is not None}
        self._files = {
            name: Files(how.folder / name, how.max_mb * MEGABYTE, settings[name].workers)
            for name, how in self._settings.items()
        }
        self._gauges = gauges
        self._executor = ThreadPoolExecutor(1, "request log")
        self._waiting = self._bytes = 0
        self._failing = False

    def seen(self, exchange: Exchange) -> None:
        """Log a request, if it is in the sample."""
        how = self._settings.get(exchange.model)
        if how is None or exchange.signature.name not in how.signatures or random.random() >= how.share:
            return
        if self._waiting >= MOST or self._bytes + exchange.size > MOST_BYTES:
            self._gauges.logged_requests.labels(exchange.model, "dropped").inc()
            return
        self._waiting, self._bytes = self._waiting + 1, self._bytes + exchange.size
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._executor, self._write, exchange, time.time()).add_done_callback(
            lambda _: self._let_go(exchange)
        )

    def close(self) -> None:
        """Write what waits, then close the files."""
        self._executor.shutdown(wait=True)
        for files in self._files.values():
            files.close()

    def _let_go(self, exchange: Exchange) -> None:
        self._waiting, self._bytes = self._waiting - 1, self._bytes - exchange.size

    def _write(self, exchange: Exchange, seconds: float) -> None:
        result = "failed"
        try:
            written = (pydantic_core.to_json(line, inf_nan_mode="null") for line in lines(exchange, seconds))
            content = b"".join(line + b"\n" for line in written)
            result = "written" if self._files[exchange.model].write(content) else "dropped"
            self._failing = False
        except OSError as error:
            if not self._failing:  # once, until it works again
                log("requests not logged", logging.ERROR, model=exchange.model, reason=str(error))
            self._failing = True
        self._gauges.logged_requests.labels(exchange.model, result).inc()


class Files:
    """The files of one model; a worker writes each of its own until it is full."""

    def __init__(self, folder: Path, most: float, workers: int):
        self.folder, self.most = folder, most
        self.workers, self.part = workers, most / (PARTS * workers)
        self._file: IO[bytes] | None = None
        self._size = 0

    def write(self, content: bytes) -> bool:
        """Write lines, and return whether they did not have to be left out because they are too long.

        Raises:
            OSError: If they cannot be written.
        """
        if len(content) > self.part:
            return False
        if self._file is None or self._size + len(content) > self.part or not os.fstat(self._file.fileno()).st_nlink:
            self._open_next()
        assert self._file is not None
        if self._file.write(content) < len(content):
            self.close()  # readers leave out a last line without its end
            raise OSError(errno.ENOSPC, "only a part was written")
        self._size += len(content)
        return True

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _open_next(self) -> None:
        self.close()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._delete_oldest()
        name = f"requests-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.jsonl"
        opened = os.open(self.folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self._file, self._size = os.fdopen(opened, "wb", buffering=0), 0

    def _delete_oldest(self) -> None:
        """Make room for one file of each worker."""
        sizes = {}
        for path in sorted(self.folder.glob(FILES)):  # by time
            with suppress(FileNotFoundError):  # another worker has deleted it
                sizes[path] = path.stat().st_size
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total <= self.most - self.part * self.workers:
                break
            path.unlink(missing_ok=True)
            total -= size


def lines(exchange: Exchange, seconds: float) -> list[dict[str, Any]]:
    """Return a line for each row of a request, `seconds` after 1970; outputs that are not by row are left out."""
    rows = exchange.sizes.rows
    about = {
        "time": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds"),
        "model": exchange.model,
        "version": exchange.version.number,
        "signature": exchange.signature.name,
        "request_id": exchange.request_id,
    }
    inputs = {name: _by_row(array, name, rows) for name, array in exchange.inputs.items()}
    answers = {
        name: _by_row(array, name, rows)
        for name, array in exchange.outputs.items()
        if array.ndim and len(array) == rows
    }
    return [
        about | {key: {name: values[row] for name, values in columns.items()} for key, columns in columns_of.items()}
        for columns_of in [{"inputs": inputs, "answers": answers}]
        for row in range(rows)
    ]


def _by_row(array: np.ndarray, name: str, rows: int) -> list[Any]:
    if array.dtype == np.float32:
        array = array.astype(str).astype(np.float64)  # 53.7 as the client sent it, not 53.70000076293945
    values = to_json(array, name)
    return values if array.ndim else [values] * rows
