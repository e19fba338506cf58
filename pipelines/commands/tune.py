"""The `tune` command: search the hyperparameters that a config marks with `tune`."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pandas as pd
from ruamel.yaml.comments import CommentedMap

from pipelines.config.load import Config
from pipelines.config.read import read_config
from pipelines.data import Dataset
from pipelines.data.files import holds_files
from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.fit import check_other_runs
from pipelines.trained_model import load_run_dataset
from pipelines.tuning.journal import SearchFolder
from pipelines.tuning.pools import LocalPool, Pool, RayPool
from pipelines.tuning.report import write_results
from pipelines.tuning.search import Search
from pipelines.tuning.space import Space
from pipelines.tuning.trials import get_ready


def tune(
    config: str | Path,
    overrides: Sequence[str] = (),
    workers: int = 1,
    ray: str | None = None,
    search_dir: str | Path | None = None,
    resume: bool = False,
    shown: Callable[[Search], None] = lambda search: None,
    say: Callable[[str], None] = lambda line: None,
) -> Search:
    """Search the hyperparameters of a config; with `resume`, continue a search, optionally with more trials.

    `workers` trials run in parallel, on this machine or on the Ray cluster at the address `ray`. `shown` is called
    whenever the search may have changed. `say` is called before the first trial, with each line about the data and
    about changes to the resumed search.

    Raises:
        UserError: If the config, the data or the folder cannot be used, or too many trials fail in a row.
    """
    unresolved = read_config(config, overrides)
    _make_runs_absolute(unresolved.document)
    space = Space.of(unresolved)
    base = space.config({})
    _check_rule(base, space)
    space.hyperparameters()
    check_other_runs(base)
    folder = _folder(base.task, search_dir, resume)
    dataset = _with_absolute_paths(load_run_dataset(base))
    varying = any(path.split(".")[0] in ("data", "split") for path in space.nodes)
    shared = None if varying else dataset
    pool = _pool(workers, ray, folder, shared)
    try:
        with folder.locked():
            changes = folder.begin(space.unresolved, dataset.record["fingerprint"])
            for line in [*dataset.summary.lines(), *changes]:
                say(line)
            search = Search(folder, space, shared, shown)
            try:
                search.run(pool, workers)
            finally:
                write_results(search)
            return search
    finally:
        pool.terminate()


def _check_rule(base: Config, space: Space) -> None:
    if base.tuning is None:
        example = f"{{name: random, max_trials: 20, objective: {base.training['monitor']}, keep: 3, max_failures: 3}}"
        raise UserError(space.unresolved.path, f"has no section `tuning`; add one, such as tuning: {example}")


def _make_runs_absolute(document: CommentedMap) -> None:
    """Make the paths of other runs absolute, so that processes with another working directory find them."""
    distill = document.get("distill")
    for section, key in ((document, "start"), (distill if isinstance(distill, CommentedMap) else {}, "teacher")):
        if isinstance(section.get(key), str):
            section[key] = str(Path(section[key]).resolve())


def _with_absolute_paths(dataset: Dataset) -> Dataset:
    """Make file paths absolute, so that processes with another working directory find the files."""

    def absolute(table: pd.DataFrame) -> pd.DataFrame:
        files = {name: table[name].map(Path.resolve) for name in table if holds_files(table[name])}
        return table.assign(**files)

    splits = {name: absolute(dataset[name]) for name in ("train", "validation", "test")}
    return replace(dataset, **splits)


def _pool(workers: int, ray: str | None, folder: SearchFolder, dataset: Dataset | None) -> Pool:
    """Return the worker pool; with several local workers, the cores are divided among them."""
    if ray is not None:
        return RayPool(ray, workers)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // workers) if workers > 1 else None
    return LocalPool(partial(get_ready, folder.config, dataset, threads, loaded_code()))


def _folder(task: str, search_dir: str | Path | None, resume: bool) -> SearchFolder:
    searches = Path("searches") / task
    if search_dir is not None:
        folder = SearchFolder(Path(search_dir).resolve())
    elif resume:
        begun = sorted(path for path in searches.glob("*") if SearchFolder(path).started)
        if not begun:
            raise UserError("--resume", f"{searches} contains no search; name one with --search-dir")
        folder = SearchFolder(begun[-1].resolve())
    else:
        folder = SearchFolder((searches / datetime.now().strftime("%Y-%m-%dT%H-%M-%S")).resolve())
    if resume and not folder.started:
        raise UserError(str(folder.folder), "contains no search (it has no config.yaml)")
    if not resume and not folder.free:
        raise UserError(str(folder.folder), "already exists; choose another --search-dir, or continue with --resume")
    return folder
