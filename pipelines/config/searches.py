"""Search algorithms by name, each based on a KerasTuner oracle."""

from collections.abc import Callable
from typing import Annotated, Any, TypedDict, Unpack

from pydantic import Field

MaxTrials = Annotated[int, Field(ge=1, description="maximum number of trials")]
GpusPerTrial = Annotated[
    float | None,
    Field(
        gt=0,
        le=1,
        description="share of a GPU that each trial requests on a Ray cluster, such as 0.5 for two trials on one GPU;"
        " null: the GPUs of the cluster are divided among the workers",
    ),
]


class SearchSettings(TypedDict):
    """Settings shared by all search algorithms."""

    objective: str
    keep: Annotated[int, Field(ge=1, description="number of best trials whose weights are kept")]
    max_failures: Annotated[int, Field(ge=1, description="number of consecutive failed trials that stops the search")]


def random(oracle: Any, epochs: int, *, max_trials: MaxTrials, **search: Unpack[SearchSettings]) -> Any:
    """Sample every value at random (Bergstra & Bengio 2012)."""
    return oracle("RandomSearchOracle", max_trials=max_trials)


def grid(oracle: Any, epochs: int, *, max_trials: MaxTrials, **search: Unpack[SearchSettings]) -> Any:
    """Try all combinations; a range without `step` is divided into ten values."""
    return oracle("GridSearchOracle", max_trials=max_trials)


def bayesian(
    oracle: Any,
    epochs: int,
    *,
    max_trials: MaxTrials,
    initial_trials: Annotated[
        int | None,
        Field(ge=1, description="number of random trials at the start; null: three per searched hyperparameter"),
    ],
    **search: Unpack[SearchSettings],
) -> Any:
    """Fit a Gaussian process to past trials and try the most promising values (Snoek et al. 2012)."""
    return oracle("BayesianOptimizationOracle", max_trials=max_trials, num_initial_points=initial_trials)


def hyperband(
    oracle: Any,
    epochs: int,
    *,
    factor: Annotated[
        int, Field(ge=2, description="one in this many trials continues, with this many times the epochs")
    ],
    iterations: Annotated[int, Field(ge=1, description="number of times to repeat the full Hyperband algorithm")],
    **search: Unpack[SearchSettings],
) -> Any:
    """Train many trials for few epochs and the best ones for more, up to `training.epochs` (Li et al. 2018)."""
    return oracle("HyperbandOracle", max_epochs=epochs, factor=factor, hyperband_iterations=iterations)


SEARCHES: dict[str, Callable[..., Any]] = {"random": random, "grid": grid, "bayesian": bayesian, "hyperband": hyperband}
