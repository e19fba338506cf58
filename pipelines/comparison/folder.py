"""The folder of a comparison and its plan: which models, how many seeds, which budget. Needs no TensorFlow."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.config.read import Unresolved
from pipelines.config.validation import Config
from pipelines.errors import UserError, did_you_mean
from pipelines.storage import write_json
from pipelines.tasks import ladder
from pipelines.tuning.journal import SearchFolder


@dataclass(frozen=True)
class Plan:
    """The models of a comparison, simplest first, the number of seeds, and the budget as the user wrote it."""

    models: tuple[str, ...]
    seeds: int
    budget: str | None = None
    tune_trials: int = 0  # trials of a search for each model, before it is compared

    @classmethod
    def of(
        cls,
        base: Config,
        models: str | None,
        seeds: int | None,
        budget: str | None,
        tune_trials: int,
        earlier: "Plan | None",
    ) -> "Plan":
        """Return the plan that the options describe; one that is resumed keeps its own and may grow.

        Raises:
            UserError: If a model is unknown, or the resumed comparison has another budget or other searches.
        """
        if earlier is None:
            return cls(_chosen(base, models), seeds or 5, budget, tune_trials)
        if budget not in (None, earlier.budget):
            other = f"was {earlier.budget} when this comparison was started" if earlier.budget else "was not given"
            raise UserError("--budget", f"{other}, so it cannot change; start a new comparison")
        if tune_trials not in (0, earlier.tune_trials):
            was = f"was {earlier.tune_trials} when this comparison was started"
            raise UserError("--tune-trials", f"{was}, so it cannot change; start a new comparison")
        known = {*earlier.models, *(_chosen(base, models) if models else ())}
        grown = tuple(name for name in ladder(base) if name in known)
        return replace(earlier, models=grown, seeds=max(earlier.seeds, seeds or 0))


class ComparisonFolder(SearchFolder):
    """The folder of a comparison."""

    parent, word = "comparisons", "comparison"
    option = "--comparison-dir"

    def __init__(self, folder: Any):
        super().__init__(folder)
        self.table = folder / "runs.csv"
        self.markdown = folder / "table.md"
        self._plan = folder / "plan.json"

    def search(self, model: str) -> SearchFolder:
        """Return the folder of the search of a model."""
        return SearchFolder(self.folder / "searches" / model)

    def plan(self) -> Plan | None:
        """Read the plan of a comparison that was started, or return None."""
        if not self._plan.is_file():
            return None
        content = json.loads(self._plan.read_text())
        return Plan(**{**content, "models": tuple(content["models"])})

    def write_plan(self, plan: Plan) -> None:
        """Write the plan."""
        write_json(self._plan, asdict(plan))

    def _take_up(self, begun: Unresolved, config: Unresolved) -> list[str]:
        hint = f"continue with its own config: compare {self.config} --comparison-dir {self.folder} --resume"
        raise UserError(str(self.folder), f"this comparison was started with a different config; {hint}")


def _chosen(base: Config, models: str | None) -> tuple[str, ...]:
    """Return the chosen models; by default, and beside names with a plus sign, all that need no preset."""
    known = ladder(base)
    unaided = [name for name in known if not base.models[name].get("preset")]
    names = [name.strip() for name in models.split(",")] if models is not None else []
    for name in names:
        if name.removeprefix("+") not in known:
            raise UserError("--models", f"the config has no model '{name}'{did_you_mean(name, known)}")
    added = [name.removeprefix("+") for name in names]
    wanted = added if names and not all(name.startswith("+") for name in names) else [*unaided, *added]
    return tuple(name for name in known if name in wanted)
