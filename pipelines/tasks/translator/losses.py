"""Loss of the translator: cross-entropy with label smoothing."""

from typing import Annotated

import keras
from pydantic import Field


class SmoothedCrossEntropy(keras.losses.SparseCategoricalCrossentropy):
    """Cross-entropy of the target tokens. `Translator.compute_loss` adds the label smoothing."""

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
            description="fraction of each label that is spread evenly over all tokens in training (Szegedy et al. 2016,"
            " section 7)",
        ),
    ],
) -> keras.Loss:
    """Cross-entropy of the target tokens, averaged."""
    return SmoothedCrossEntropy(label_smoothing)
