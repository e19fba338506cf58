"""The result of a diagnosis: what it found, as sentences, as JSON, as a picture and as configs to train next."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pipelines.diagnosis.batch_sizes import BatchSizes
from pipelines.diagnosis.curve import Curve
from pipelines.diagnosis.gaps import Metric, SplitError
from pipelines.diagnosis.recipe import Step
from pipelines.diagnosis.signs import Signs
from pipelines.diagnosis.tries import Tried
from pipelines.diagnosis.verdict import Gap
from pipelines.report import write_pictures
from pipelines.runs.run import Run
from pipelines.storage import make_folder, write_json, write_text

COLOURS = {"matters": "tab:red", "cannot tell": "tab:orange", "small": "tab:green"}


@dataclass(frozen=True)
class Diagnosis:
    """The errors of the splits, the gaps between them, the verdict in one sentence, its signs, and what to do next."""

    run: Run
    metric: Metric
    errors: dict[str, SplitError]
    human: float | None  # the error that is known, or assumed, to be possible
    gaps: list[Gap]
    verdict: str
    notes: list[str]
    signs: Signs
    steps: list[Step]
    tried: list[Tried] | None = None  # steps that were trained
    curve: Curve | None = None
    batch_sizes: BatchSizes | None = None
    pictures: Mapping[str, Figure] = field(default_factory=dict)  # of trainings, by name
    failures: tuple[str, ...] = ()  # of trainings

    def record(self) -> dict[str, Any]:
        """Return it for `diagnosis.json`."""
        return {
            "verdict": self.verdict,
            "error": self.metric.words,
            "human": self.human,
            "errors": {name: error.record() for name, error in self.errors.items()},
            "gaps": [gap.record() for gap in self.gaps],
            "notes": self.notes,
            "signs": self.signs.record(),
            "next": [
                {"name": step.name, "reason": step.reason, "set": list(step.overrides), "config": path and str(path)}
                for step, path in zip(self.steps, self.configs, strict=True)
            ],
            "tried": None if self.tried is None else [each.record() for each in self.tried],
            "curve": None if self.curve is None else self.curve.record(),
            "batch_sizes": None if self.batch_sizes is None else self.batch_sizes.record(),
            "learnt": self.learnt,
        }

    @property
    def learnt(self) -> list[str]:
        """What the trainings tell, in sentences."""
        compared = [each for each in (self.curve, self.batch_sizes) if each is not None]
        tried = [each.sentence() for each in self.tried or []]
        return [*tried, *(each.sentence(self.metric) for each in compared), *self.failures]

    @property
    def configs(self) -> list[Path | None]:
        """The path of the config of each step, in order; None for a step that no setting can do."""
        changed = [step for step in self.steps if step.config is not None]
        numbers = {step.name: number for number, step in enumerate(changed, 1)}
        folder = self.run.diagnosis / "next"
        return [folder / f"{numbers[s.name]:02}-{s.name}.yaml" if s.config else None for s in self.steps]

    def write(self) -> None:
        """Write `diagnosis.json`, the pictures and the configs to `diagnosis/` of the run, in place of earlier ones.

        Raises:
            UserError: If a file cannot be written.
        """
        folder = self.run.diagnosis
        shutil.rmtree(folder / "next", ignore_errors=True)
        make_folder(folder / "next")
        for step, path in zip(self.steps, self.configs, strict=True):
            if step.config is not None and path is not None:
                write_text(path, step.config.to_yaml())
        write_pictures(folder, {"gaps": draw_gaps(self.gaps, self.metric), **self.pictures})
        write_json(folder / "diagnosis.json", self.record())


def draw_gaps(gaps: list[Gap], metric: Metric) -> Figure:
    """Draw each gap with its interval, and the size from which on it matters."""
    figure = Figure(figsize=(8, 1.2 + 0.6 * len(gaps)), layout="constrained")
    axes = figure.subplots()
    for place, gap in enumerate(gaps):
        reach = [[gap.interval.value - gap.interval.low], [gap.interval.high - gap.interval.value]]
        axes.errorbar(gap.interval.value, place, xerr=reach, fmt="o", capsize=4, color=COLOURS[gap.status])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(gaps[0].matters, color="grey", linestyle=":", label="matters from here on")
    axes.set_yticks(range(len(gaps)), [f"{gap.start} to {gap.stop}: {gap.kind}\n{gap.status}" for gap in gaps])
    axes.invert_yaxis()
    axes.set(xlabel=f"increase of {metric.words}", ylim=(len(gaps) - 0.5, -0.5))
    figure.legend(loc="outside upper right")
    axes.grid(axis="x", alpha=0.3)
    return figure
