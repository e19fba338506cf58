"""The `compare` command: train the models of a task under one budget, or compare finished runs."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipelines.comparison.folder import ComparisonFolder, Plan
from pipelines.comparison.ladder import Ladder, set_budget
from pipelines.comparison.results import Results, results_of, write_comparison
from pipelines.comparison.tuned import Searches
from pipelines.config.read import read_config
from pipelines.data import load_dataset
from pipelines.extensions import loaded_code
from pipelines.fit import check_other_runs
from pipelines.runs.about import About, write_about
from pipelines.tasks import load_task
from pipelines.tracking import open_server, track_trials
from pipelines.trained_model import load_source
from pipelines.tuning.pools import make_pool
from pipelines.tuning.space import Space, make_runs_absolute
from pipelines.tuning.trials import get_ready


def compare(
    config: str | Path,
    overrides: Sequence[str] = (),
    models: str | None = None,
    seeds: int | None = None,
    budget: str | None = None,
    tune_trials: int = 0,
    test: bool = False,
    workers: int = 1,
    ray: str | None = None,
    comparison_dir: str | Path | None = None,
    resume: bool = False,
    shown: Callable[[Ladder], None] = lambda ladder: None,
    say: Callable[[str], None] = lambda line: None,
) -> Results:
    """Train the models of a config with several seeds each; with `resume`, continue, optionally with more of them.

    `models` are names with commas between them: exactly these, or with a plus sign before each, these beside all that
    need no preset. `budget` limits each training: epochs, or a time such as `5m`. With `tune_trials`, the
    hyperparameters of each model are searched first. With `test`, the test split is measured at the end, once per run.
    `shown` is called whenever a search or the comparison may have changed, and `say` with each line about the data.

    Raises:
        UserError: If an option, the config, the data or the folder cannot be used.
    """
    unresolved = read_config(config, overrides)
    make_runs_absolute(unresolved.document)
    base = Space(unresolved, {}).config({})
    folder = ComparisonFolder.choose(base.task, comparison_dir, resume)
    plan = Plan.of(base, models, seeds, budget, tune_trials, folder.plan())
    set_budget(unresolved.document, plan.budget)
    space = Space(unresolved, {})
    for model in plan.models:
        check_other_runs(space.config({"model": model}))
    server = open_server(base)
    source = load_source(base).absolute()
    dataset = load_dataset(base.data, base.split, load_task(base.task), source)
    with folder.locked():
        folder.begin(unresolved, dataset.record["fingerprint"])
        folder.write_plan(plan)
        for line in dataset.summary.lines():
            say(line)
        pool_of = partial(make_pool, workers, ray, gpus_each=(base.tuning or {}).get("gpus_per_trial"))
        searches = Searches(folder, unresolved, plan, dataset, pool_of, workers, shown, say)
        tuned = searches.best_values() if plan.tune_trials else {}
        ladder = Ladder(folder, space, source, plan, tuned, shown)
        write_about(folder.folder, About(base.task, base.model, ladder.objective, ladder.direction))
        pool = pool_of(partial(get_ready, folder.config, None, code=loaded_code()))
        try:
            ladder.run(pool, workers)
            if test:
                ladder.score_test()
        finally:
            pool.terminate()
            results = results_of(ladder)
            write_comparison(results)
            track_trials(server, ladder)
        return results
