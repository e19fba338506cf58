"""Checkpoints: the training state after an epoch, as plain arrays."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Weights = list[np.ndarray]


class Checkpoint(NamedTuple):
    """The training state after an epoch."""

    weights: Weights
    optimizer: Weights
    earlier: list[Weights]  # weights of previous epochs, for averaging
    history: list[dict[str, float]]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as named arrays."""
        arrays = named("weights", self.weights) | named("optimizer", self.optimizer)
        for at, each in enumerate(self.earlier):
            arrays |= named(f"earlier_{at}", each)
        state = {"history": self.history, "earlier": len(self.earlier)}
        return arrays | {"state": np.array(json.dumps(state))}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Checkpoint":
        """Create a checkpoint from the result of `arrays`."""
        state = {"earlier": 0, **json.loads(str(arrays["state"]))}  # older versions did not write `earlier`
        earlier = [listed(f"earlier_{at}", arrays) for at in range(state["earlier"])]
        weights, optimizer = listed("weights", arrays), listed("optimizer", arrays)
        return cls(weights, optimizer, earlier, state["history"])


def named(name: str, values: Weights) -> dict[str, np.ndarray]:
    """Return the arrays by name: `name_0`, `name_1`, and so on."""
    return {f"{name}_{at}": value for at, value in enumerate(values)}


def listed(name: str, arrays: Mapping[str, np.ndarray]) -> Weights:
    """Return the arrays that `named` stored under this name, in order."""
    return [arrays[f"{name}_{at}"] for at in range(sum(key.startswith(f"{name}_") for key in arrays))]
