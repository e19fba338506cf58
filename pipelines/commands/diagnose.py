"""The `diagnose` command: find out what holds a finished run back, and propose what to change."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.comparison.trainings import Candidates, Trainings
from pipelines.config.load import load_config
from pipelines.data import Source, load_dataset
from pipelines.diagnosis.curve import curve_of, sizes_of
from pipelines.diagnosis.gaps import Metric, measure_splits
from pipelines.diagnosis.recipe import propose
from pipelines.diagnosis.results import Diagnosis
from pipelines.diagnosis.signs import find_signs
from pipelines.diagnosis.trainings import train_further
from pipelines.diagnosis.tries import first_steps, judge_tries
from pipelines.diagnosis.verdict import Kind, find_gaps, sentence
from pipelines.errors import UserError
from pipelines.pages.run_page import write_run_page
from pipelines.runs.run import Run
from pipelines.trained_model import load_source, load_trained_model


def diagnose(
    run: str | Path,
    human: float | None = None,
    tries: int = 0,
    curve: bool = False,
    seeds: int = 3,
    workers: int = 1,
    found: Callable[[Diagnosis], None] = lambda diagnosis: None,
    shown: Callable[[Trainings], None] = lambda trainings: None,
) -> Diagnosis:
    """Measure the gaps between the errors of the splits, say what they mean, and write the next steps to the run.

    `human` is the error that a person, or the best known model, makes: of the metric itself, or for example of
    1 - accuracy. `tries` is the number of steps that are trained, with `seeds` seeds each, and compared with the run's
    own config. With `curve`, this config is trained with less data too. `found` is called before these trainings, and
    `shown` whenever they may have changed.

    Raises:
        UserError: If `run` is not a finished run, its data is missing or changed, `human` is not an error, or there is
            nothing to try.
    """
    diagnosis, source = _measured(run, human)
    diagnosis.write()
    if tries or curve:
        candidates = first_steps(diagnosis.steps, tries) if tries else {}
        found(diagnosis)
        diagnosis = _trained(diagnosis, source, candidates, curve, seeds, workers, shown)
        diagnosis.write()
    write_run_page(diagnosis.run)
    return diagnosis


def _measured(run: str | Path, human: float | None) -> tuple[Diagnosis, Source]:
    opened = Run.open(run)
    trained = load_trained_model(opened)
    config = trained.config
    source = load_source(config)
    dataset = load_dataset(config.data, config.split, trained.task, source)
    opened.check_data(dataset.record)
    metric, errors = measure_splits(trained, dataset)
    ignorant = _ignorant(metric, opened)
    _check_human(human, metric, ignorant)
    possible = 0.0 if human is None and metric.perfect is not None else human
    own_splits = "validation" in source.examples
    by_column = config.split.get("group") or config.split.get("time")
    alike = not own_splits and not by_column and config.split.get("shuffle", True)
    # Without a baseline, a gap is compared with the error itself, of which 10 % matter.
    gaps = find_gaps(errors, possible, ignorant if np.isfinite(ignorant) else 2 * errors["train"].value, alike)
    underfits = errors["train"].value + errors["train"].error >= ignorant
    blamed: list[Kind] = [gap.kind for gap in gaps if gap.status == "matters"] + (["bias"] if underfits else [])
    signs = find_signs(opened.history(), trained, dataset.train, config.training["monitor"])
    notes = _notes(metric, human, possible)
    steps = propose(opened, blamed, own_splits, signs.still_learning)
    verdict = sentence(gaps, underfits)
    return Diagnosis(opened, metric, errors, possible, gaps, verdict, notes, signs, steps), source


def _trained(
    diagnosis: Diagnosis,
    source: Source,
    steps: Candidates,
    curve: bool,
    seeds: int,
    workers: int,
    shown: Callable[[Trainings], None],
) -> Diagnosis:
    """Train the steps, and with `curve` the run's own config with less data, and say what that tells."""
    metric, run, train = diagnosis.metric, diagnosis.run, diagnosis.errors["train"]
    own_share = load_config(run.config).split.get("train_share", 1.0)
    sizes = sizes_of(train.whole or train.examples, own_share) if curve else {}
    objective = f"validation.{metric.name}"
    trainings = train_further(run, source, {**steps, **sizes}, seeds, workers, objective, shown)
    return replace(
        diagnosis,
        tried=judge_tries(trainings, list(steps)) if steps else None,
        curve=curve_of(trainings, list(sizes), metric) if curve else None,
        failures=tuple(trainings.failures()),
    )


def _ignorant(metric: Metric, run: Run) -> float:
    """Return the error of a model that ignores its inputs; for a metric that is maximised, that of a score of 0."""
    known = run.trivial().get(metric.name, np.nan)
    return metric.error(known) if np.isfinite(known) or metric.perfect is None else metric.perfect


def _check_human(human: float | None, metric: Metric, ignorant: float) -> None:
    if human is not None and (human < 0 or human >= ignorant):
        than = f", and below {ignorant:.4g}, that of a model that ignores its inputs" if np.isfinite(ignorant) else ""
        raise UserError("--human", f"{human:g} is not an error of people; give {metric.words}, at least 0{than}")


def _notes(metric: Metric, human: float | None, possible: float | None) -> list[str]:
    if human is not None:
        return []
    if possible is not None:
        return ["people are taken to make no errors; if they make some, give their error with --human"]
    return [f"without --human (the {metric.words} that people or the best known model reach) bias is not measured"]
