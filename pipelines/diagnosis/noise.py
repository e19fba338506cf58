"""Estimate the gradient noise scale: the size of a mini-batch from which on a larger one hardly helps.

McCandlish, Kaplan, Amodei et al. 2018, *An Empirical Model of Large-Batch Training*, sections 2.2 and appendix A.1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST = 3  # mini-batches
FEW, MANY = 0.5, 2.0  # times the noise scale


@dataclass(frozen=True)
class NoiseScale:
    """The noise scale in examples; `value` is infinite where the mini-batches agree no more than by chance."""

    value: float
    measured_on: int  # examples
    per_batch: int  # of these

    def sentence(self, size: int) -> str:
        """Say what it means for mini-batches of `size`."""
        if not math.isfinite(self.value):
            about = f"the gradients of mini-batches agree no more than by chance on {self.measured_on} examples"
            return f"{about}: the gradient noise scale is too large to be measured on so few"
        about = f"the gradient noise scale is about {float(f'{self.value:.2g}'):,.0f} examples at the end of training"
        if size < FEW * self.value:
            return f"{about}: mini-batches larger than {size} would need fewer steps, for few more examples"
        if size > MANY * self.value:
            return f"{about}: mini-batches smaller than {size} would learn as much from fewer examples"
        return f"{about}, close to the {size} of a mini-batch"


def noise_scale(norms: Sequence[float], sizes: Sequence[int], norm_of_sum: float) -> NoiseScale | None:
    """Estimate it from the squared norms of the gradients of mini-batches, and of the sum of these gradients.

    The mean over a mini-batch of B examples has E |g|^2 = |G|^2 + S / B; the noise scale is S / |G|^2. Returns None for
    fewer than three mini-batches.
    """
    count = len(norms)
    if count < LEAST or not np.isfinite([*norms, norm_of_sum]).all():
        return None
    small, large = float(np.mean(norms)), norm_of_sum / count**2
    size = count / sum(1 / each for each in sizes)
    true = (count * large - small) / (count - 1)
    noise = size * (small - large) * count / (count - 1)
    value = max(0.0, noise) / true if true > 0 else math.inf
    return NoiseScale(value, sum(sizes), round(size))
