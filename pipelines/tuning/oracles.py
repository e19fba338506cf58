"""KerasTuner's oracles: what proposes the values of the next trial."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any


def make_oracle(build: Any, space: Any, objective: str, direction: str, seed: int) -> Any:
    """Make an oracle on a space, by what the config's `tuning` section builds.

    It neither writes files nor counts failures: the search's journal remembers, and says in its own words what failed.
    """
    import keras_tuner

    def oracle(name: str, **settings: Any) -> Any:
        made = getattr(keras_tuner.oracles, name)(
            objective=keras_tuner.Objective(objective, direction),
            hyperparameters=space,
            seed=seed + 1,  # KerasTuner takes 0 for no seed and draws one
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
    """Keep an oracle from printing: it announces each trial in its own words."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
