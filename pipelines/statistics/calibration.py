"""Calibration of probabilities: temperature scaling, and how far probabilities are from frequencies.

Shapes: N examples, C classes, T temperatures.
"""

import numpy as np
from scipy.special import log_softmax

TEMPERATURES = np.geomspace(0.1, 10.0, 61)
BINS = 15  # as in Guo et al. 2017


def best_temperature(losses: np.ndarray) -> float:
    """Return the temperature with the smallest loss, given the losses (T,) of `TEMPERATURES`.

    It is the lowest point of the parabola through the smallest loss and its neighbours, on the scale of logarithms.
    """
    at = int(np.argmin(losses))
    if not 0 < at < len(losses) - 1:
        return float(TEMPERATURES[at])
    before, here, after = losses[at - 1 : at + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(TEMPERATURES[at] * (TEMPERATURES[1] / TEMPERATURES[0]) ** shift)


def temperature_losses(logits: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the mean negative log-likelihood (T,) of true classes (N,) for `TEMPERATURES` (Guo et al. 2017).

    The targets are a little less than 1, as if one more example of each kind had been seen (Platt 1999). Otherwise a
    model without mistakes on a few examples would become certain.
    """
    count, classes = logits.shape
    other = 1 / (count + 2)
    targets = np.full(logits.shape, other / (classes - 1))
    targets[np.arange(count), true] = 1 - other
    scaled = (logits.astype("float64") / temperature for temperature in TEMPERATURES)
    return np.array([-(targets * log_softmax(each, axis=1)).sum(axis=1).mean() for each in scaled])


def expected_calibration_error(right: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean distance between the probability of an answer and how often it is right.

    Both (N,) are averaged in bins of equal width (Guo et al. 2017, section 2).
    """
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, right - probability, BINS)
    return float(np.abs(gaps).sum() / len(right))


def set_metrics(
    true: np.ndarray, probabilities: np.ndarray, uncalibrated: np.ndarray, sets: np.ndarray
) -> dict[str, float]:
    """Return how good calibrated probabilities and sets are, and how good the uncalibrated probabilities were.

    `true` (N,) are places of classes, -1 for a class that the model does not know. The others are (N, C); `sets` is
    true for the classes of each set. The negative log-likelihood is that of the classes that the model knows.
    """
    rows, known = np.arange(len(true)), true >= 0
    found = {}
    for name, each in (("", probabilities), ("_uncalibrated", uncalibrated)):
        own = np.maximum(each[rows, true], np.finfo("float32").eps)[known]
        right = (each.argmax(axis=1) == true).astype(float)
        found[f"nll{name}"] = float(-np.log(own).mean()) if known.any() else float("nan")
        found[f"ece{name}"] = expected_calibration_error(right, np.minimum(each.max(axis=1), 1.0))
    covered = known & sets[rows, true]
    return {**found, "set_coverage": float(covered.mean()), "set_size": float(sets.sum(axis=1).mean())}
