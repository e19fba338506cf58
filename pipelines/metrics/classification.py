"""Metrics of single-label classification, computed with scikit-learn; data and model may differ in their classes.

Shapes: N examples, C classes that the model knows.
"""

import numpy as np
import pandas as pd
from sklearn import metrics


def classification_metrics(
    true: np.ndarray, predicted: np.ndarray, classes: np.ndarray, probabilities: np.ndarray, positive: str | None
) -> dict[str, float]:
    """Compute accuracy, balanced accuracy, precision, recall, F1, AUC and log loss.

    `true` and `predicted` (N,) hold class names. The columns of `probabilities` (N, C) are in the order of `classes`
    (C,). If `positive` is given, it must be the first class; precision, recall, F1 and AUC are then those of that
    class. Otherwise they are unweighted means over classes. AUC is NaN unless `true` contains exactly `classes`.
    """
    probabilities = probabilities.astype("float64")
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 rows sum to 1 only nearly
    kind = {"average": "macro"} if positive is None else {"average": "binary", "pos_label": positive}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(true, predicted, zero_division=0.0, **kind)
    present = np.unique(true)
    unknown = np.setdiff1d(present, classes)  # classes that the model was not trained on
    columns = np.concatenate([probabilities, np.zeros((len(true), len(unknown)))], axis=1)
    known = np.concatenate([classes, unknown])
    order = np.argsort(known)  # scikit-learn expects columns sorted by class name
    return {
        "accuracy": float(metrics.accuracy_score(true, predicted)),
        "balanced_accuracy": float(metrics.recall_score(true, predicted, labels=present, average="macro")),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auc": _auc(true, classes, probabilities, positive) if set(present) == set(classes) else float("nan"),
        "log_loss": float(metrics.log_loss(true, columns[:, order], labels=known[order])),
    }


def metrics_by_class(true: np.ndarray, predicted: np.ndarray, classes: np.ndarray) -> pd.DataFrame:
    """Compute precision, recall, F1 and count, one row per class, including classes that only `true` contains."""
    names = [*map(str, classes), *map(str, np.setdiff1d(true, classes))]
    figures = metrics.precision_recall_fscore_support(true, predicted, labels=names, zero_division=0.0)
    return pd.DataFrame(dict(zip(("precision", "recall", "f1", "count"), figures, strict=True)), index=names)


def _auc(true: np.ndarray, classes: np.ndarray, probabilities: np.ndarray, positive: str | None) -> float:
    if positive is not None:
        return float(metrics.roc_auc_score(true == positive, probabilities[:, 0]))
    each = [metrics.roc_auc_score(true == name, probabilities[:, column]) for column, name in enumerate(classes)]
    return float(np.mean(each))
