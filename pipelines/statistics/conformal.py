"""Split conformal prediction: sets and intervals that contain the truth for a given share of new examples.

Shapes: N examples that the model was not trained on, C classes.
"""

import math

import numpy as np


def least_examples(coverage: float) -> int:
    """Return how many examples a bound for this coverage needs; with fewer, only the whole range has it."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def upper_bound(scores: np.ndarray, coverage: float) -> float:
    """Return the value that the score of a new example does not exceed with probability `coverage` or more.

    It is the ceil((N + 1) coverage)-th smallest of the scores (N,), which are exchangeable with the new one (Vovk et
    al. 2005; Romano et al. 2019, theorem 1). With fewer than `least_examples` scores, it is the largest of them.
    """
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.sort(scores)[min(place, len(scores)) - 1])


def least_probability(true: np.ndarray, coverage: float) -> float:
    """Return the probability from which on classes are in the set that contains the true one with this coverage.

    `true` (N,) are the probabilities of the true classes (least ambiguous sets, Sadinle et al. 2019). With fewer than
    `least_examples`, it is 0: the set has all classes.
    """
    return -upper_bound(-true, coverage) if len(true) >= least_examples(coverage) else 0.0


def label_confidence(
    probabilities: np.ndarray, true: np.ndarray, temperature: float, coverage: float
) -> dict[str, np.ndarray]:
    """Return the confidence of a classifier: its temperature, and the least probability of a class in a set.

    `probabilities` (N, C) are those at this temperature. `true` (N,) are places of classes, -1 for a class that the
    model does not know: no set has it.
    """
    own = np.where(true >= 0, probabilities[np.arange(len(true)), true], 0.0)
    least = least_probability(own, coverage)
    found = {"temperature": temperature, "least_probability": least, "coverage": coverage, "calibrated_on": len(true)}
    return {name: np.array(value, "float32") for name, value in found.items()}
