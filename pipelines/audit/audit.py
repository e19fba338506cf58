"""Run all checks on the data of a config."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pipelines.audit.examined import CONTENTS, Examined
from pipelines.audit.findings import Finding
from pipelines.audit.labels import Beliefs, label_errors
from pipelines.audit.leakage import groups_across_splits, id_columns, leaking_columns, time_order
from pipelines.audit.quick import quick_findings
from pipelines.audit.shift import shifts
from pipelines.data import Dataset
from pipelines.data.fields import Fields


@dataclass(frozen=True)
class Audit:
    """The findings, what was not checked and why, and the seconds of each check."""

    findings: list[Finding]
    notes: list[str]
    seconds: dict[str, float]


def audit_data(
    data: Dataset, fields: Fields | None, seed: int, beliefs: Beliefs | None = None, new: pd.DataFrame | None = None
) -> Audit:
    """Check for duplicates, leakage, label errors and distribution shift.

    `beliefs` are the answers of a trained model; without them, simple models are trained. `new` holds examples that
    train is compared with, instead of validation and test.
    """
    seconds: dict[str, float] = {}
    if fields is None:
        findings = list(quick_findings(data, None))
        return Audit(
            findings, ["only exact duplicates were checked: the task does not say what its inputs are"], seconds
        )
    examined = Examined(data, fields, seed)
    checks: Mapping[str, Callable[[], Iterator[Finding]]] = {
        "exact": partial(quick_findings, data, fields),
        "near_duplicates": partial(_near_duplicates, examined),
        "leaking_columns": partial(leaking_columns, examined),
        "id_columns": partial(id_columns, examined),
        "groups": partial(groups_across_splits, examined),
        "time": partial(time_order, examined),
        "label_errors": partial(label_errors, examined, beliefs),
        "shift": partial(_shifts, examined, new),
    }
    findings = []
    for name, check in checks.items():
        start = time.perf_counter()
        findings += list(check())
        seconds[name] = round(time.perf_counter() - start, 2)
    return Audit(_ordered(findings), list(dict.fromkeys(examined.notes)), seconds)


def _near_duplicates(examined: Examined) -> Iterator[Finding]:
    equal = examined.joined.hashes("inputs")
    for near in examined.described.near(examined.split):
        if equal[near.at] != equal[near.other]:
            yield examined.joined.pair("near_duplicate", near.score, near.about, near.at, near.other)


def _shifts(examined: Examined, new: pd.DataFrame | None) -> Iterator[Finding]:
    fields, seed = examined.fields, examined.seed
    linear = fields.content != "cells"
    if new is None:
        target = examined.target if fields.target_is in ("class", "number") else None
        for split in ("validation", "test"):
            sides = examined.of("train"), examined.of(split)
            yield from shifts(examined.described, target, *sides, split, seed, linear)
        return
    train = examined.data.train
    shared = [name for name in fields.input_columns(list(train)) if name in new]
    both = pd.concat([train[shared], new[shared]], ignore_index=True)
    sides = np.arange(len(train)), np.arange(len(train), len(both))
    yield from shifts(CONTENTS[fields.content](both), None, *sides, "the new data", seed, linear)


def _ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings by kind, the surest first."""
    kinds = list(dict.fromkeys(finding.kind for finding in findings))
    return sorted(findings, key=lambda each: (kinds.index(each.kind), -each.score))
