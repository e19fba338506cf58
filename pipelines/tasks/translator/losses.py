"""What makes a translator learn: the log-probabilities of the target's tokens."""

from typing import Annotated

import keras
from pydantic import Field


class SmoothedCrossEntropy(keras.losses.SparseCategoricalCrossentropy):
    """Minus the log-probability of each token; translators add the share of smoothing, `Translator.compute_loss`."""

    def __init__(self, label_smoothing: float):
        super().__init__(from_logits=True, reduction="mean_with_sample_weight", name="cross_entropy")
        self.label_smoothing = label_smoothing


def cross_entropy(
    *,
    label_smoothing: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of each label that goes to all tokens alike, in training (Szegedy et al. 2016,"
            " section 7)",
        ),
    ],
) -> keras.Loss:
    """Take minus the log-probability of each token, averaged."""
    return SmoothedCrossEntropy(label_smoothing)
