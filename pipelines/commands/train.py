"""The `train` command: train the model of a config in a run folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.comparison.folds import cross_validate
from pipelines.config.load import Config, load_config
from pipelines.config.validation import differences
from pipelines.data.summary import Summary
from pipelines.errors import UserError
from pipelines.fit import check_other_runs, fit, follow
from pipelines.runs.run import Run
from pipelines.trained_model import TrainedModel, load_source, load_trained_model, split_source
from pipelines.training.devices import ONE_DEVICE, Devices, connect
from pipelines.training.jax_process import backend_of, check_backend

MAY_CHANGE = ("training.epochs", "training.patience")
WITHOUT_EFFECT = ("training.checkpoint_minutes", "training.devices")  # on the result


def train(
    config: str | Path,
    overrides: Sequence[str] = (),
    run_dir: str | Path | None = None,
    resume: bool = False,
    show: Callable[[Summary], None] = lambda summary: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[TrainedModel, Run]:
    """Train the model of a config; with `resume`, continue an interrupted run, or train a finished run for more epochs.

    If its split has folds, a model is then trained for each of them too. `show` is called with the summary of the data
    before training, and `say` with a line for each fold that was trained.

    Raises:
        UserError: If the config, the data or the run folder cannot be used.
    """
    checked = load_config(config, overrides)
    on = lead_or_follow(checked)
    run, finished = find_run(checked, run_dir, resume)
    on.from_chief(finished)
    if finished and run.cross_validated:
        return load_trained_model(run), run
    with run.locked():
        check_other_runs(checked)
        source = load_source(checked)
        trained = load_trained_model(run) if finished else fit(checked, run, split_source(checked, source), show, on)
        cross_validate(run, source, say)
        if not finished:
            on.part()
        return trained, run


def lead_or_follow(checked: Config) -> Devices:
    """Return the devices that a config trains on; in a worker that is not the chief, train with it and end the process.

    The chief goes on with `Devices.from_chief`, which tells the others whether the run is finished, and at the end that
    they may go.

    Raises:
        UserError: If the devices are not there, or `training.backend` is not installed or cannot do what is asked for.
    """
    check_backend(checked)
    on = ONE_DEVICE if backend_of(checked) == "jax" else connect(**checked.whole["training"]["devices"])
    if on.chief:
        return on
    (finished,) = on.from_chief(0)
    if not finished:
        follow(checked, on)
    raise SystemExit


def find_run(checked: Config, run_dir: str | Path | None = None, resume: bool = False) -> tuple[Run, bool]:
    """Return the run to train in, and whether it is already finished.

    Raises:
        UserError: If `resume` finds no run, or the run cannot be resumed with this config.
    """
    if not resume:
        run = Run.new(checked.task, run_dir)
    elif run_dir is not None:
        run = Run(run_dir)
    else:
        run = Run.newest_unfinished(checked.task)
    longer = run.started and _goes_on(checked, load_config(run.config), run)
    return run, run.finished and not longer


def _goes_on(wanted: Config, begun: Config, run: Run) -> bool:
    """Return whether the config of a resumed run has changed, to more epochs or to another patience.

    Raises:
        UserError: If anything else differs, the epochs are fewer, or a finished run has no checkpoint left.
    """
    differing = [name for name in differences(wanted.whole, begun.whole) if not name.startswith(WITHOUT_EFFECT)]
    fewer = wanted.training["epochs"] < begun.training["epochs"]
    if fewer or not set(differing) <= set(MAY_CHANGE):
        names = ", ".join(differing)
        hint = f"start a new run, or continue with its own config: {run.going_on}"
        allowed = "only training.patience, checkpoint_minutes and devices may change, and training.epochs may increase"
        raise UserError(str(run.folder), f"this run was started with different values of: {names}; {hint}; {allowed}")
    if differing and run.finished and run.load_checkpoint() is None:
        raise UserError(str(run.folder), "its checkpoints are missing, so it cannot continue; start a new run")
    return bool(differing)
