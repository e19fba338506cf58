"""The `runs` commands: list, compare, delete and open runs, searches and comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.comparison.settings import differing_settings, letters
from pipelines.config.read import read_config
from pipelines.errors import UserError
from pipelines.preflight import check_against_schema
from pipelines.runs.run import Run
from pipelines.tensorflow_startup import import_tensorflow

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.config.validation import Config

PAGE = Path("report") / "index.html"  # in the folders of all kinds


@dataclass(frozen=True)
class RunDifferences:
    """How two runs differ: settings by dotted path with a column per run, and the metrics of each split."""

    runs: dict[str, Path]
    settings: "pd.DataFrame"
    metrics: dict[str, dict[str, tuple[float | None, float | None]]]  # split -> metric -> values

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "runs": {name: str(path) for name, path in self.runs.items()},
            "settings": self.settings.to_dict("index"),
            "metrics": self.metrics,
        }


def diff(one: str | Path, other: str | Path) -> RunDifferences:
    """Return how the configs and the metrics of two finished runs differ.

    The metrics are those that the runs have measured. `compare` measures them on the same examples, with intervals.

    Raises:
        UserError: If a folder is not a finished run, or the runs have different tasks.
    """
    runs = [Run.open(one), Run.open(other)]
    configs = [_config(run) for run in runs]
    if configs[0].task != configs[1].task:
        problem = f"is a run of {configs[1].task}, and {one} is one of {configs[0].task}; give runs of the same task"
        raise UserError(str(other), problem)
    names, measured = letters(2), [run.metrics() for run in runs]
    metrics = {split: _pairs(*(each.get(split, {}) for each in measured)) for split in measured[0] | measured[1]}
    paths = {name: run.folder for name, run in zip(names, runs, strict=True)}
    return RunDifferences(paths, differing_settings(configs, names), metrics)


def find_page(folder: str | Path) -> Path:
    """Return the page of a run, a search, a comparison or an audit.

    Raises:
        UserError: If the folder does not exist or has no page.
    """
    page = Path(folder) / PAGE
    if page.is_file():
        return page.resolve()
    if not Path(folder).is_dir():
        raise UserError(str(folder), "no such folder; `pipelines runs` lists those there are")
    if Run(folder).finished:
        raise UserError(str(folder), f"has no page yet; write it with: evaluate {folder}")
    raise UserError(str(folder), f"has no {PAGE}; it is written when a run, a search, a comparison or an audit ends")


def _config(run: Run) -> "Config":
    """Load the config of a run without TensorFlow, unless it needs code of its own."""
    checked = check_against_schema(read_config(run.config))
    if checked is None:
        import_tensorflow()
        from pipelines.config.load import load_config

        checked = load_config(run.config)
    return checked


def _pairs(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, tuple[float | None, float | None]]:
    return {name: (one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other]) if "." not in name}
