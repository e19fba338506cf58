"""`export`: from a finished run to a versioned SavedModel folder."""

from pathlib import Path

from pipelines.export import write_export
from pipelines.fit import load_fitted
from pipelines.run import Run


def export(run: str | Path, to: str | Path | None = None) -> Path:
    """Write the run's model as the next version in `to` (`exports/<task>` by default); give the version's folder.

    Raises:
        UserError: where `run` is no finished run or `to` cannot be written.
    """
    fitted = load_fitted(Run.open(run))
    return write_export(fitted, Path(to) if to else Path("exports") / fitted.config.task)
