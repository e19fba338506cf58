"""`export`: from a finished run to a versioned SavedModel folder."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import UserError
from pipelines.export import write_export
from pipelines.fit import load_fitted, load_run_dataset
from pipelines.run import Run


def export(
    run: str | Path, to: str | Path | None = None, forms: Sequence[str] = ("saved_model",), unchecked: bool = False
) -> Path:
    """Write the run's model as the next version in `to` (`exports/<task>` by default); give the version's folder.

    Its answers to test examples are compared with the run's; `unchecked` leaves that out, where the data is gone.

    Raises:
        UserError: where `run` is no finished run, its data is gone or changed, `to` cannot be written, a form cannot
            hold the model, or answers drift.
    """
    opened = Run.open(run)
    fitted = load_fitted(opened)
    test = None
    if not unchecked:
        try:
            dataset = load_run_dataset(fitted.config)
            opened.check_data(dataset.record)
        except UserError as error:
            way_out = "the export is to answer the run's test examples as the run does; --unchecked leaves that out"
            raise UserError("", *str(error).splitlines(), way_out) from None
        test = dataset.test
    return write_export(fitted, opened, Path(to) if to else Path("exports") / fitted.config.task, test, forms)
