"""The `diagnose` command: find out what holds a finished run back, and propose what to change."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.comparison.trainings import Candidates, Trainings
from pipelines.config.load import Config, load_config
from pipelines.data import Source, load_dataset
from pipelines.diagnosis.batch_sizes import (
    batch_sizes_to_try,
    compare_batch_sizes,
    draw_batch_sizes,
    named,
    own_size,
)
from pipelines.diagnosis.curve import curve_of, draw_curve, shares_of
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


@dataclass(frozen=True)
class Further:
    """What a diagnosis trains: the first `tries` steps, less data, and other sizes of the mini-batches."""

    tries: int = 0
    curve: bool = False
    batch_sizes: bool = False
    seeds: int = 3  # trainings of each
    workers: int = 1  # parallel trainings

    @property
    def wanted(self) -> bool:
        """Whether anything is trained."""
        return bool(self.tries or self.curve or self.batch_sizes)


NOTHING = Further()


@dataclass(frozen=True)
class Plan:
    """The candidates of the trainings, by what they are for."""

    config: Config
    steps: Candidates
    shares: Candidates  # of train
    own_batch: int
    sizes: dict[int, dict[str, Any]]  # of the mini-batches


def diagnose(
    run: str | Path,
    human: float | None = None,
    further: Further = NOTHING,
    found: Callable[[Diagnosis], None] = lambda diagnosis: None,
    shown: Callable[[Trainings], None] = lambda trainings: None,
) -> Diagnosis:
    """Measure the gaps between the errors of the splits, say what they mean, and write the next steps to the run.

    `human` is the error that a person, or the best known model, makes: of the metric itself, or for example of
    1 - accuracy. `further` says what to train. `found` is called before these trainings, and `shown` whenever they may
    have changed.

    Raises:
        UserError: If `run` is not a finished run, its data is missing or changed, `human` is not an error, or there is
            nothing to try.
    """
    diagnosis, source = _measured(run, human)
    diagnosis.write()
    if further.wanted:
        plan = _plan(diagnosis, further)
        found(diagnosis)
        diagnosis = _trained(diagnosis, source, plan, further, shown)
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


def _plan(diagnosis: Diagnosis, further: Further) -> Plan:
    config, train = load_config(diagnosis.run.config), diagnosis.errors["train"]
    examples = train.whole or train.examples
    return Plan(
        config,
        first_steps(diagnosis.steps, further.tries) if further.tries else {},
        shares_of(examples, config.split.get("train_share", 1.0)) if further.curve else {},
        own_size(config, examples),
        batch_sizes_to_try(config, examples) if further.batch_sizes else {},
    )


def _trained(
    diagnosis: Diagnosis, source: Source, plan: Plan, further: Further, shown: Callable[[Trainings], None]
) -> Diagnosis:
    """Train the candidates and the run's own config, and say what that tells."""
    metric, pictures = diagnosis.metric, {}
    candidates = {**plan.steps, **plan.shares, **named(plan.sizes)}
    objective = f"validation.{metric.name}"
    trainings = train_further(diagnosis.run, source, candidates, further.seeds, further.workers, objective, shown)
    curve = curve_of(trainings, list(plan.shares), metric) if plan.shares else None
    sizes = compare_batch_sizes(trainings, plan.config, plan.own_batch, plan.sizes, metric) if plan.sizes else None
    if curve is not None:
        pictures["curve"] = draw_curve(curve, metric)
    if sizes is not None:
        pictures["batch_sizes"] = draw_batch_sizes(trainings, sizes, metric)
    return replace(
        diagnosis,
        tried=judge_tries(trainings, list(plan.steps)) if plan.steps else None,
        curve=curve,
        batch_sizes=sizes,
        pictures=pictures,
        failures=tuple(trainings.failures()),
    )


def _ignorant(metric: Metric, run: Run) -> float:
    """Return the error of a model that ignores its inputs; for a metric that is maximized, that of a score of 0."""
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
