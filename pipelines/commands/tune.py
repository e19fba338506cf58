"""The `tune` command: search the hyperparameters that a config marks with `tune`."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipelines.config.load import Config
from pipelines.config.read import read_config
from pipelines.data import load_dataset
from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.fit import check_other_runs
from pipelines.runs.about import About, write_about
from pipelines.tasks import load_task
from pipelines.tracking import open_server, track_trials
from pipelines.trained_model import load_source
from pipelines.tuning.journal import SearchFolder
from pipelines.tuning.pools import make_pool
from pipelines.tuning.report import write_results
from pipelines.tuning.search import Search
from pipelines.tuning.space import Space, make_runs_absolute
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
    make_runs_absolute(unresolved.document)
    space = Space.of(unresolved)
    base = space.config({})
    _check_rule(base, space)
    space.hyperparameters()
    check_other_runs(base)
    server = open_server(base)
    folder = SearchFolder.choose(base.task, search_dir, resume)
    dataset = load_dataset(base.data, base.split, load_task(base.task), load_source(base).absolute())
    varying = any(path.split(".")[0] in ("data", "split") for path in space.nodes)
    shared = None if varying else dataset
    ready = partial(get_ready, folder.config, shared, code=loaded_code())
    pool = make_pool(workers, ray, ready, (base.tuning or {}).get("gpus_per_trial"))
    try:
        with folder.locked():
            changes = folder.begin(space.unresolved, dataset.record["fingerprint"])
            for line in [*dataset.summary.lines(), *changes]:
                say(line)
            search = Search(folder, space, shared, shown)
            write_about(folder.folder, About(base.task, base.model, search.objective, search.direction))
            try:
                search.run(pool, workers)
            finally:
                write_results(search)
                track_trials(server, search)
            return search
    finally:
        pool.terminate()


def _check_rule(base: Config, space: Space) -> None:
    if base.tuning is None:
        example = f"{{name: random, max_trials: 20, objective: {base.training['monitor']}, keep: 3, max_failures: 3}}"
        raise UserError(space.unresolved.path, f"has no section `tuning`; add one, such as tuning: {example}")
