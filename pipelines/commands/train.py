"""`train`: from a config to a run folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.config import Config, load_config
from pipelines.data.summary import Summary
from pipelines.errors import UserError
from pipelines.fit import Fitted, fit, load_fitted
from pipelines.run import Run


def train(
    config: str | Path,
    overrides: Sequence[str] = (),
    run_dir: str | Path | None = None,
    resume: bool = False,
    show: Callable[[Summary], None] = lambda summary: None,
) -> tuple[Fitted, Run]:
    """Train the model of a config, or with `resume` go on with an interrupted run of the same config.

    `show` is given the summary of the data before training.

    Raises:
        UserError: for a mistake in the config, the data or the run folder.
    """
    checked = load_config(config, overrides)
    if not resume:
        run = Run.new(checked.task, run_dir)
    elif run_dir is not None:
        run = Run(run_dir)
    else:
        run = Run.newest_unfinished(checked.task)
    if run.started:
        _check_same(checked, load_config(run.config), run)
    if run.finished:
        return load_fitted(run), run
    return fit(checked, run, show), run


def _check_same(wanted: Config, begun: Config, run: Run) -> None:
    differing = _differences(wanted.whole, begun.whole)
    if differing:
        names = ", ".join(differing)
        mend = f"start a new run, or go on with its own config: {run.going_on}"
        raise UserError(str(run.folder), f"this run began with another {names}; {mend}")


def _differences(a: dict, b: dict, prefix: str = "") -> list[str]:
    found = []
    for key in dict.fromkeys([*a, *b]):
        if isinstance(a.get(key), dict) and isinstance(b.get(key), dict):
            found += _differences(a[key], b[key], f"{prefix}{key}.")
        elif a.get(key) != b.get(key):
            found.append(f"{prefix}{key}")
    return found
