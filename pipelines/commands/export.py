"""The `export` command: write a finished run as a versioned SavedModel."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import UserError
from pipelines.export.write import write_export
from pipelines.operating_point import OperatingPoint, fixed_threshold, set_threshold
from pipelines.runs.run import Run
from pipelines.trained_model import load_run_dataset, load_trained_model


def export(
    run: str | Path,
    to: str | Path | None = None,
    formats: Sequence[str] = ("saved_model",),
    unchecked: bool = False,
    threshold: str | None = None,
) -> tuple[Path, OperatingPoint | None]:
    """Write the run's model as the next version in `to` (`exports/<task>` by default); return the version's folder.

    The predictions of test examples are compared with the run's. `unchecked` skips this, for when the data is gone.
    `threshold` is the decision threshold: a number, or a rule such as `f1` that chooses it on the validation split. The
    chosen operating point is also returned, or None without `threshold`.

    Raises:
        UserError: If `run` is not a finished run, its data is missing or changed, `to` cannot be written, a format
            does not support the model, predictions differ, or no such threshold can be chosen.
    """
    if threshold is not None:
        fixed_threshold(threshold)  # reject an invalid rule before reading anything
    opened = Run.open(run)
    trained = load_trained_model(opened)
    dataset = point = None
    if not unchecked:
        try:
            dataset = load_run_dataset(trained.config)
            opened.check_data(dataset.record)
        except UserError as error:
            hint = "an export is checked with the data of its run; skip this check with --unchecked"
            *lines, last = str(error).splitlines()
            raise UserError("", *lines, f"{last}; {hint}") from None
    if threshold is not None:
        trained, point = set_threshold(trained, threshold, None if dataset is None else dataset.validation)
    folder = Path(to) if to else Path("exports") / trained.config.task
    return write_export(trained, opened, folder, dataset, formats, point), point
