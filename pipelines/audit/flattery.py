"""Measure by how much a random split overestimates performance: simple models predict the same examples under both."""

from functools import partial

import numpy as np
import pandas as pd

from pipelines.audit.examined import Examined
from pipelines.audit.models import FOLDS, MOST_CLASSES, classifier, out_of_fold, regressor
from pipelines.audit.tokens import Tokens

MOST = 20_000  # examples that are answered


def by_group(examined: Examined, codes: np.ndarray, name: str) -> str:
    """Compare random folds with folds of whole groups; `codes` (N,) is the group of each example."""
    some = _some(np.arange(len(codes)), examined.seed)
    return _said(examined, some, codes[some], np.ones(len(some), bool), f"by '{name}'")


def by_time(examined: Examined, times: pd.Series, name: str) -> str:
    """Compare random folds with training on all that is earlier, on the latest quarter of the examples."""
    some = _some(np.flatnonzero(times.notna()), examined.seed)
    order = np.argsort(times.iloc[some].to_numpy(), kind="stable")
    quarter = np.empty(len(some), int)
    quarter[order] = np.arange(len(some)) * FOLDS // len(some)
    return _said(examined, some, quarter, quarter == FOLDS - 1, f"by '{name}'")


def _some(known: np.ndarray, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(known)[:MOST])


def _said(examined: Examined, some: np.ndarray, codes: np.ndarray, asked: np.ndarray, how: str) -> str:
    """Say what simple models reach on the examples `asked` under both splits; nothing if they cannot answer."""
    copies = np.unique(examined.joined.hashes("inputs")[some], return_inverse=True)[1]
    random, own = (_score(examined, some, pd.factorize(each)[0], asked) for each in (copies, codes))
    if random is None or own is None:
        return ""
    if examined.fields.target_is == "number":
        more = 1 - random / own if own else 0.0
        verdict = f"the random split underestimates it by {more:.0%}" if more > 0 else "no worse"
        return f"; mean error of simple models {random:,.4g} on a random split, {own:,.4g} {how}: {verdict}"
    verdict = f"the random split overestimates it by {random - own:.2f}" if random > own else "no worse"
    return f"; accuracy of simple models {random:.2f} on a random split, {own:.2f} {how}: {verdict}"


def _score(examined: Examined, some: np.ndarray, groups: np.ndarray, asked: np.ndarray) -> float | None:
    """Return the accuracy of out-of-fold answers, of tags where there is an entity; of numbers, the mean error."""
    target, seed, kind = examined.target, examined.seed, examined.fields.target_is
    if target is None or kind not in ("class", "tags", "number") or groups.max() < FOLDS - 1:
        return None
    if kind == "number":
        values, features = target.iloc[some].to_numpy("float64"), examined.described.features[some]
        return float(
            np.abs(out_of_fold(partial(regressor, seed), features, values, groups, seed) - values)[asked].mean()
        )
    if kind == "tags":
        assert isinstance(examined.described, Tokens)
        sentence = np.repeat(np.arange(len(examined.split)), examined.described.lengths)
        place = np.full(len(examined.split), -1)
        place[some] = np.arange(len(some))
        kept = np.flatnonzero(place[sentence] >= 0)
        features = examined.described.token_features[kept]
        tags = np.array([tag for each in target.iloc[some] for tag in each], object)
        within = place[sentence[kept]]
        groups, asked = groups[within], asked[within] & (tags != "O")
        labels = pd.factorize(tags)[0]
    else:
        labels, features = pd.factorize(target.iloc[some])[0], examined.described.features[some]
    if labels.max() >= MOST_CLASSES or not asked.any():
        return None
    make = partial(classifier, features, seed, examined.fields.content != "cells")
    answers = out_of_fold(make, features, labels.astype("int64"), groups, seed)
    return float((answers.argmax(axis=1) == labels)[asked].mean())
