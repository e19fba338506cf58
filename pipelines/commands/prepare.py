"""The `prepare` command: convert the data of a config that is larger than memory, on several processes or machines."""

import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipelines.config.load import load_config
from pipelines.data import read_source
from pipelines.data.conversion import MapUnits, converting_with
from pipelines.data.stored import StoredTable
from pipelines.errors import UserError
from pipelines.storage import cache_folder, make_folder
from pipelines.tasks import load_task
from pipelines.tuning.pools import RayPool, cores

# No extra: it requires protobuf 6, and the newest gRPC packages of the server require protobuf 7.
BEAM = "needs the package apache-beam; in an environment without the server, run: pip install . apache-beam"


@dataclass(frozen=True)
class Prepared:
    """The examples of a config, and the folder of their conversion; None if they are read into memory."""

    examples: Mapping[str, int]
    folder: Path | None


def prepare(
    config: str | Path,
    overrides: Sequence[str] = (),
    processes: int | None = None,
    ray: str | None = None,
    beam_runner: str | None = None,
    beam_options: Sequence[str] = (),
) -> Prepared:
    """Convert the data of a config, if it is larger than memory, so that its trainings find it converted.

    The files are divided among `processes` of this machine, by default as many as it has cores, or of the Ray cluster
    at the address `ray`, or among the workers of an Apache Beam runner. All of them must see the files and the cache
    folder under the same path.

    Raises:
        UserError: If the data cannot be read, or the cluster or the runner cannot be used.
    """
    if ray is not None and beam_runner is not None:
        raise UserError("--beam-runner", "cannot be combined with --ray")
    given = load_config(config, overrides)
    count = processes or cores()
    with _workers(count, ray, beam_runner, beam_options) as workers, converting_with(workers):
        source = read_source(given.data, load_task(given.task))
    examples = {name: len(table) for name, table in source.examples.items()}
    stored = [table for table in source.examples.values() if isinstance(table, StoredTable)]
    return Prepared(examples, stored[0].folder.parent if stored else None)


@contextmanager
def _workers(count: int, ray: str | None, beam_runner: str | None, beam_options: Sequence[str]) -> Iterator[MapUnits]:
    if beam_runner is not None:
        yield partial(_map_on_beam, beam_runner, beam_options)
    elif ray is not None:
        pool = RayPool(ray, count)
        try:
            yield lambda function, units: _results(pool.pool.map(partial(_outcome, function), units, chunksize=1))
        finally:
            pool.terminate()
    elif count == 1:
        yield lambda function, units: list(map(function, units))
    else:  # spawned, because forking after TensorFlow has started its threads may hang
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as processes:
            yield lambda function, units: _results(processes.map(partial(_outcome, function), units))


def _outcome(function: Callable[[Any], Any], unit: Any) -> Any:
    """Return the result of a call, or the user's mistake, which not every kind of worker can raise."""
    try:
        return function(unit)
    except UserError as error:
        return error


def _results(outcomes: Any) -> list[Any]:
    found = list(outcomes)
    for outcome in found:
        if isinstance(outcome, UserError):
            raise outcome
    return found


def _map_on_beam(
    runner: str, options: Sequence[str], function: Callable[[Any], Any], units: Sequence[Any]
) -> list[Any]:
    """Call a function with each unit on the workers of a Beam runner; they leave the results in the cache folder."""
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError("--beam-runner", BEAM) from None
    folder = cache_folder() / f"beam-{uuid.uuid4().hex}"
    make_folder(folder)
    try:
        try:
            pipeline = beam.Pipeline(runner, PipelineOptions(list(options)))
        except (ValueError, ImportError) as error:
            raise UserError(f"--beam-runner {runner}", str(error).splitlines()[0]) from None
        with pipeline:
            numbered = pipeline | beam.Create(list(enumerate(units))) | beam.Reshuffle()
            numbered | beam.Map(partial(_write_outcome, function, folder))
        return _results(pickle.loads((folder / str(number)).read_bytes()) for number in range(len(units)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_outcome(function: Callable[[Any], Any], folder: Path, numbered: tuple[int, Any]) -> None:
    """Write the result of a call; a runner may call it twice, and the last one to be renamed counts."""
    number, unit = numbered
    temporary = folder / uuid.uuid4().hex
    temporary.write_bytes(pickle.dumps(_outcome(function, unit)))
    temporary.replace(folder / str(number))
