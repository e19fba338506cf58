"""Find wrong labels by confident learning: a model that was not trained on an example contradicts its label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from pipelines.audit.cells import Cells
from pipelines.audit.examined import Examined
from pipelines.audit.findings import Finding
from pipelines.audit.models import MOST_CLASSES, classifier, out_of_fold, regressor
from pipelines.audit.packages import needed
from pipelines.audit.tokens import Tokens

GOOD = 0.9  # mean recall of the classes; a model below it contradicts more correct labels than wrong ones
SURE = 0.8  # probability of another class
LEAST = 50  # examples
FAR = 6.0  # robust standard deviations of a residual
SPREAD = 0.1  # least scale as a share of the target's own: trees miss the highest and lowest targets by as much
SIMILAR = 20  # rows whose residuals are compared
AROUND = 20  # the scale of residuals is that of a window of a twentieth of all, by the answer
EXPLAINED = 0.5  # share of the variance of the target; a model below it contradicts too many correct numbers


@dataclass(frozen=True)
class Beliefs:
    """What a trained model answers to examples that it was not trained on.

    `values` are the probabilities of the classes (N, C), those of all tokens of the sentences (T, C), or numbers (N,).
    """

    positions: np.ndarray  # (N,) of the examples
    values: np.ndarray
    classes: Sequence[str] = ()


def label_errors(examined: Examined, beliefs: Beliefs | None) -> Iterator[Finding]:
    """Find wrong targets, from the answers of a run's model, or from out-of-fold answers of a simple one."""
    check = {"class": _classes, "tags": _tags, "number": _numbers}.get(examined.fields.target_is or "")
    if check is None:
        return
    if len(examined.examples) < LEAST:
        examined.notes.append(f"label_error: not checked, because there are fewer than {LEAST} examples")
        return
    yield from check(examined, beliefs)


def _classes(examined: Examined, beliefs: Beliefs | None) -> Iterator[Finding]:
    assert examined.target is not None
    if beliefs is None:
        labels, names = pd.factorize(examined.target, sort=True)
        at = np.arange(len(labels))
        probabilities = _simple(examined, labels)
    else:
        names, at = np.array(beliefs.classes), beliefs.positions
        given = pd.Series(names).reset_index().set_index(0)["index"].reindex(examined.target.iloc[at])
        known = given.notna().to_numpy()
        labels, at, probabilities = given.to_numpy()[known].astype(int), at[known], beliefs.values[known]
    for row in _issues(examined, labels, probabilities):
        best = probabilities[row].argmax()
        about = f"'{names[labels[row]]}', but probably '{names[best]}' ({probabilities[row, best]:.2f})"
        yield Finding("label_error", float(probabilities[row, best]), about, examined.joined.place(at[row]))


def _tags(examined: Examined, beliefs: Beliefs | None) -> Iterator[Finding]:
    assert isinstance(examined.described, Tokens)
    described = examined.described
    sentence = np.repeat(np.arange(len(described.lengths)), described.lengths)
    assert examined.target is not None
    flat = pd.Series([tag for tags in examined.target for tag in tags], dtype=object).to_numpy()
    if beliefs is None:
        labels, names = pd.factorize(flat, sort=True)
        at = np.arange(len(labels))
        make = partial(classifier, described.token_features, examined.seed, linear=True)
        probabilities = out_of_fold(make, described.token_features, labels.astype("int64"), sentence, examined.seed)
    else:
        names = np.array(beliefs.classes)
        at = np.flatnonzero(np.isin(sentence, beliefs.positions))
        order = {name: number for number, name in enumerate(names)}
        known = np.array([tag in order for tag in flat[at]])
        labels = np.array([order[tag] for tag in flat[at][known]], int)
        at, probabilities = at[known], beliefs.values[known]
    starts = np.concatenate([[0], np.cumsum(described.lengths)])
    for row in _issues(examined, labels, probabilities):
        best, token = probabilities[row].argmax(), at[row]
        number = token - starts[sentence[token]]
        text = described.tokens[token]
        about = f"token {number + 1} '{text}' is {names[labels[row]]}, but probably {names[best]}"
        place = examined.joined.place(int(sentence[token]))
        yield Finding("label_error", float(probabilities[row, best]), about, place)


def _numbers(examined: Examined, beliefs: Beliefs | None) -> Iterator[Finding]:
    """Compare residuals with the usual ones of similar answers.

    The score of cleanlab for numbers compares each example with half of all others, whose memory grows with the square.
    """
    assert examined.target is not None
    target = examined.target.to_numpy("float64")
    logarithm = (target > 0).all() and pd.Series(target).skew() > 1
    target = np.log(target) if logarithm else target
    if beliefs is None:
        at = np.arange(len(target))
        answers = out_of_fold(partial(regressor, examined.seed), examined.described.features, target, at, examined.seed)
    else:
        at, answers = beliefs.positions, beliefs.values
        answers = np.log(np.maximum(answers, np.finfo(float).tiny)) if logarithm else answers
    residuals = np.abs(target[at] - answers)
    middle = np.abs(target[at] - np.median(target[at]))
    if np.median(residuals) ** 2 > (1 - EXPLAINED) * np.median(middle) ** 2:
        _too_weak(examined, beliefs)
        return
    scale = 1.4826 * np.maximum(_usual(residuals, answers), SPREAD * np.median(middle))
    rows = np.flatnonzero(residuals > FAR * scale)
    if isinstance(examined.described, Cells) and len(rows):
        # Where a simple model is wrong for all similar rows, the residual says nothing of the target.
        points = examined.described.points[at]
        _, near = cKDTree(points).query(points[rows], k=min(SIMILAR, len(points)))
        scale[rows] = np.maximum(scale[rows], 1.4826 * np.median(residuals[near], axis=1))
    for row in rows[residuals[rows] > FAR * scale[rows]]:
        given, answered = (np.exp(each) if logarithm else each for each in (target[at[row]], answers[row]))
        about = f"{given:,.6g}, but probably near {answered:,.6g}"
        score = 1 - FAR * scale[row] / (2 * residuals[row])
        yield Finding("label_error", float(score), about, examined.joined.place(at[row]))


def _simple(examined: Examined, labels: np.ndarray) -> np.ndarray:
    features = examined.described.features
    linear = examined.fields.content != "cells"
    if labels.max() >= MOST_CLASSES:
        return np.full((len(labels), labels.max() + 1), 1 / (labels.max() + 1))
    _, groups = np.unique(examined.joined.hashes("inputs"), return_inverse=True)  # copies are in one fold
    make = partial(classifier, features, examined.seed, linear)
    return out_of_fold(make, features, labels.astype("int64"), groups, examined.seed)


def _issues(examined: Examined, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the rows that confident learning finds (Northcutt et al. 2021) and that the model is sure of."""
    chosen = probabilities.argmax(axis=1)
    recalls = [np.mean(chosen[labels == label] == label) for label in np.unique(labels)]
    if len(recalls) < 2 or np.mean(recalls) < GOOD:
        _too_weak(examined, None)
        return np.array([], int)
    find = needed("cleanlab.filter").find_label_issues
    kept = np.unique(labels)  # classes without an example have no threshold
    shares = probabilities[:, kept] / np.maximum(probabilities[:, kept].sum(axis=1, keepdims=True), 1e-12)
    issues = find(np.searchsorted(kept, labels), shares, filter_by="prune_by_noise_rate", n_jobs=1)
    return np.flatnonzero(issues & (probabilities.max(axis=1) >= SURE))


def _usual(residuals: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return the median residual among similar answers (N,)."""
    order = np.argsort(answers)
    window = max(LEAST, len(answers) // AROUND)
    usual = pd.Series(residuals[order]).rolling(window, center=True, min_periods=window // 2).median()
    found = np.empty(len(answers))
    found[order] = np.maximum(usual.bfill().ffill().to_numpy(), np.median(residuals) / 10)
    return found


def _too_weak(examined: Examined, beliefs: Beliefs | None) -> None:
    hint = "" if beliefs is not None else "; name a finished run with --run, whose model answers better"
    examined.notes.append(f"label_error: not checked, because the model's answers are too often wrong{hint}")
