"""Create KerasTuner's oracles, which propose the values of the next trial."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any


def make_oracle(build: Any, space: Any, objective: str, direction: str, seed: int) -> Any:
    """Create the oracle of the config's `tuning` section for a search space.

    The oracle neither writes files nor counts failures. The search does both, with its journal.
    """
    import keras_tuner

    def oracle(name: str, **settings: Any) -> Any:
        made = getattr(keras_tuner.oracles, name)(
            objective=keras_tuner.Objective(objective, direction),
            hyperparameters=space,
            seed=seed + 1,  # KerasTuner takes 0 as no seed and draws one
            allow_new_entries=False,
            max_consecutive_failed_trials=10**9,
            **settings,
        )
        made.verbose = 0
        made.save = made._save_trial = lambda *_: None
        return made

    return build(oracle)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the output of an oracle, which announces each trial."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
