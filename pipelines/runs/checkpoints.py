"""Checkpoints: all that training needs to go on after an epoch, as plain arrays."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Weights = list[np.ndarray]


class Checkpoint(NamedTuple):
    """What training is after an epoch."""

    weights: Weights
    optimizer: Weights
    earlier: list[Weights]  # after the epochs that later ones are averaged with
    history: list[dict[str, float]]

    def arrays(self) -> dict[str, np.ndarray]:
        """Give each array a name."""
        arrays = named("weights", self.weights) | named("optimizer", self.optimizer)
        for at, each in enumerate(self.earlier):
            arrays |= named(f"earlier_{at}", each)
        state = {"history": self.history, "earlier": len(self.earlier)}
        return arrays | {"state": np.array(json.dumps(state))}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Checkpoint":
        """Take up what `arrays` gave."""
        state = {"earlier": 0, **json.loads(str(arrays["state"]))}  # which older versions did not write
        earlier = [listed(f"earlier_{at}", arrays) for at in range(state["earlier"])]
        weights, optimizer = listed("weights", arrays), listed("optimizer", arrays)
        return cls(weights, optimizer, earlier, state["history"])


def named(name: str, values: Weights) -> dict[str, np.ndarray]:
    """Name arrays by one name and their numbers."""
    return {f"{name}_{at}": value for at, value in enumerate(values)}


def listed(name: str, arrays: Mapping[str, np.ndarray]) -> Weights:
    """Give the arrays that `named` gave this name, in order."""
    return [arrays[f"{name}_{at}"] for at in range(sum(key.startswith(f"{name}_") for key in arrays))]
