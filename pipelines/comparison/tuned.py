"""Search the hyperparameters of each model before a comparison, so that all have the same care."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ruamel.yaml.comments import CommentedMap

from pipelines.comparison.folder import ComparisonFolder, Plan
from pipelines.config.read import Unresolved
from pipelines.data import Dataset
from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.tuning.pools import Pool
from pipelines.tuning.report import write_results
from pipelines.tuning.search import Search
from pipelines.tuning.space import Space
from pipelines.tuning.trials import get_ready

WITH_TRIALS = ("random", "grid", "bayesian")  # searches whose length is a number of trials
OTHERWISE = {"name": "random", "keep": 1, "max_failures": 3}


@dataclass(frozen=True)
class Searches:
    """The searches of a comparison: an ordinary one for each model, in `searches/MODEL` of its folder."""

    folder: ComparisonFolder
    unresolved: Unresolved
    plan: Plan
    dataset: Dataset
    pool_of: Callable[[Callable[[int | None], None]], Pool]  # called with what a process does at its start
    workers: int
    shown: Callable[[Any], None]
    say: Callable[[str], None]

    def best_values(self) -> dict[str, dict[str, Any]]:
        """Return the best values of each model by dotted path; searches that were interrupted continue.

        A model whose trials all fail keeps the values of the config.

        Raises:
            UserError: If a search cannot start.
        """
        return {model: self._best_values(model) for model in self.plan.models}

    def _best_values(self, model: str) -> dict[str, Any]:
        folder, space = self.folder.search(model), Space.of(_config_of(model, self.unresolved, self.plan))
        varying = any(path.split(".")[0] in ("data", "split") for path in space.nodes)
        shared = None if varying else self.dataset
        pool = self.pool_of(partial(get_ready, folder.config, shared, code=loaded_code()))
        try:
            with folder.locked():
                folder.begin(space.unresolved, self.dataset.record["fingerprint"])
                search = Search(folder, space, shared, self.shown)
                if not search.taken_up:
                    self.say(f"searching the hyperparameters of {model}")
                try:
                    search.run(pool, self.workers)
                except UserError as error:  # too many trials failed in a row
                    self.say(str(error) if search.ranked else f"{error}; {model} keeps the values of the config")
                write_results(search)
        finally:
            pool.terminate()
        return search.ranked[0].values if search.ranked else {}


def _config_of(model: str, unresolved: Unresolved, plan: Plan) -> Unresolved:
    """Return the config of the search of one model."""
    document = copy.deepcopy(unresolved.document)
    document["model"] = model
    given: Mapping[str, Any] = document.get("tuning") or {}
    rule = dict(given) if given.get("name") in WITH_TRIALS else dict(OTHERWISE)
    objective = given.get("objective", document["training"]["monitor"])
    document["tuning"] = CommentedMap({**rule, "objective": objective, "max_trials": plan.tune_trials})
    return Unresolved(document, unresolved.path, unresolved.overridden)
