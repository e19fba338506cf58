"""The ways to search, by name, with their settings; each names an oracle of KerasTuner."""

from typing import Annotated, Any, TypedDict, Unpack

from pydantic import Field

MaxTrials = Annotated[int, Field(ge=1, description="trials at the most")]


class SearchSettings(TypedDict):
    """What every search has."""

    objective: str
    keep: Annotated[int, Field(ge=1, description="how many of the best trials keep their weights")]
    max_failures: Annotated[int, Field(ge=1, description="failed trials in a row that end the search")]


def random(oracle: Any, epochs: int, *, max_trials: MaxTrials, **search: Unpack[SearchSettings]) -> Any:
    """Draw every value at random (Bergstra & Bengio 2012)."""
    return oracle("RandomSearchOracle", max_trials=max_trials)


def grid(oracle: Any, epochs: int, *, max_trials: MaxTrials, **search: Unpack[SearchSettings]) -> Any:
    """Go through all combinations; a range without `step` is divided into ten."""
    return oracle("GridSearchOracle", max_trials=max_trials)


def bayesian(
    oracle: Any,
    epochs: int,
    *,
    max_trials: MaxTrials,
    initial_trials: Annotated[
        int | None, Field(ge=1, description="trials drawn at random first; null: three for each value searched")
    ],
    **search: Unpack[SearchSettings],
) -> Any:
    """Fit a Gaussian process to the trials so far, and try what it expects most of (Snoek et al. 2012)."""
    return oracle("BayesianOptimizationOracle", max_trials=max_trials, num_initial_points=initial_trials)


def hyperband(
    oracle: Any,
    epochs: int,
    *,
    factor: Annotated[int, Field(ge=2, description="one trial in this many goes on, to this many times the epochs")],
    iterations: Annotated[int, Field(ge=1, description="how often the whole of it is done")],
    **search: Unpack[SearchSettings],
) -> Any:
    """Give many trials few epochs, and the best of them more, up to `training.epochs` (Li et al. 2018)."""
    return oracle("HyperbandOracle", max_epochs=epochs, factor=factor, hyperband_iterations=iterations)


SEARCHES = {"random": random, "grid": grid, "bayesian": bayesian, "hyperband": hyperband}
