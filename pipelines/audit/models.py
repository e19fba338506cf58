"""Simple models that answer examples they were not trained on."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.sparse import issparse
from threadpoolctl import threadpool_limits

from pipelines.audit.contents import Features

FOLDS = 4
MOST = 100_000  # examples that a simple model is trained on
MOST_CLASSES = 1000  # of a simple model; with more, its out-of-fold probabilities say little


@contextmanager
def one_quiet_thread() -> Iterator[None]:
    """Use one thread, because several wait for each other on busy cores, and do not warn of few iterations."""
    from sklearn.exceptions import ConvergenceWarning

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def classifier(features: Features, seed: int, linear: bool) -> Any:
    """Return a classifier for features: a linear one, or boosted trees for cells of a table."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if issparse(features):
        return SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=8, tol=1e-3, random_state=seed)
    if linear:
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    return HistGradientBoostingClassifier(max_iter=100, random_state=seed)


def regressor(seed: int) -> Any:
    """Return boosted trees that learn medians, which wrong numbers change less than means."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(loss="absolute_error", max_iter=200, random_state=seed)


def out_of_fold(
    make: Callable[[], Any], features: Features, target: np.ndarray, groups: np.ndarray, seed: int
) -> np.ndarray:
    """Return the answer to each example of a model that was trained on the other folds.

    Examples of one group are in one fold. The answers are probabilities (N, C) for integer targets, else numbers (N,).
    """
    classes = int(target.max()) + 1 if target.dtype.kind == "i" else 0
    found = np.zeros((len(target), classes) if classes else len(target))
    random = np.random.default_rng(seed)
    fold = random.permutation(int(groups.max()) + 1)[groups] % FOLDS
    with one_quiet_thread():
        for number in range(FOLDS):
            inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            if not len(outside):
                continue
            inside = inside if len(inside) <= MOST else np.sort(random.choice(inside, MOST, replace=False))
            model = make().fit(features[inside], target[inside])
            if classes:
                found[np.ix_(outside, model.classes_)] = model.predict_proba(features[outside])
            else:
                found[outside] = model.predict(features[outside])
    return found
