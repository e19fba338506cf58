"""`export`: from a finished run to a versioned SavedModel folder."""

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
    """Write the run's model as the next version in `to` (`exports/<task>` by default); give the version's folder.

    Its answers to test examples are compared with the run's; `unchecked` leaves that out, where the data is gone.
    `threshold` is a number from which the answer is yes, or a rule, such as `f1`, that chooses it on validation; what
    was chosen is given too.

    Raises:
        UserError: where `run` is no finished run, its data is gone or changed, `to` cannot be written, a form cannot
            hold the model, answers drift, or no such threshold can be chosen.
    """
    if threshold is not None:
        fixed_threshold(threshold)  # a rule that is none is found before anything is read
    opened = Run.open(run)
    trained = load_trained_model(opened)
    validation = test = point = None
    if not unchecked:
        try:
            dataset = load_run_dataset(trained.config)
            opened.check_data(dataset.record)
        except UserError as error:
            way_out = "the export is to answer the run's test examples as the run does; --unchecked leaves that out"
            raise UserError("", *str(error).splitlines(), way_out) from None
        validation, test = dataset.validation, dataset.test
    if threshold is not None:
        trained, point = set_threshold(trained, threshold, validation)
    folder = Path(to) if to else Path("exports") / trained.config.task
    return write_export(trained, opened, folder, test, formats, point), point
