"""Checkpoints: the training state after an epoch, or within one, as plain arrays."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Weights = list[np.ndarray]


class Checkpoint(NamedTuple):
    """The training state after an epoch, or after some steps of the next one."""

    weights: Weights
    optimizer: Weights
    earlier: list[Weights]  # weights of previous epochs, for averaging
    history: list[dict[str, float]]
    step: int = 0  # number of steps of the epoch that follows the history
    totals: Weights = []  # state of the mean loss over these steps
    seconds: float = 0.0  # of training

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as named arrays."""
        arrays = named("weights", self.weights) | named("optimizer", self.optimizer)
        for at, each in enumerate(self.earlier):
            arrays |= named(f"earlier_{at}", each)
        arrays |= named("totals", self.totals)
        state = {"history": self.history, "earlier": len(self.earlier), "step": self.step, "seconds": self.seconds}
        return arrays | {"state": np.array(json.dumps(state))}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Checkpoint":
        """Create a checkpoint from the result of `arrays`."""
        state = {"earlier": 0, "step": 0, **json.loads(str(arrays["state"]))}  # older versions did not write these
        history = state["history"]
        seconds = state.get("seconds", history[-1]["seconds"] if history else 0.0)
        earlier = [listed(f"earlier_{at}", arrays) for at in range(state["earlier"])]
        weights, optimizer, totals = (listed(name, arrays) for name in ("weights", "optimizer", "totals"))
        return cls(weights, optimizer, earlier, history, state["step"], totals, seconds)


def named(name: str, values: Weights) -> dict[str, np.ndarray]:
    """Return the arrays by name: `name_0`, `name_1`, and so on."""
    return {f"{name}_{at}": value for at, value in enumerate(values)}


def listed(name: str, arrays: Mapping[str, np.ndarray]) -> Weights:
    """Return the arrays that `named` stored under this name, in order."""
    return [arrays[f"{name}_{at}"] for at in range(sum(key.startswith(f"{name}_") for key in arrays))]
