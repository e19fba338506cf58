"""Run a search: an oracle proposes the values of the trials."""

from collections.abc import Callable
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

from pipelines.build import build
from pipelines.config.searches import SEARCHES
from pipelines.data import Dataset
from pipelines.errors import UserError
from pipelines.tuning.journal import SearchFolder, Trial
from pipelines.tuning.oracles import make_oracle, quiet
from pipelines.tuning.pools import Pool
from pipelines.tuning.runner import Runner
from pipelines.tuning.space import Space


class Search(Runner):
    """A search in progress; `run` ends when the oracle has nothing more to propose."""

    def __init__(self, folder: SearchFolder, space: Space, dataset: Dataset | None, shown: Callable[["Search"], None]):
        base = space.config({})
        assert base.tuning is not None  # checked by `tune`
        self.settings: dict[str, Any] = base.tuning
        self.most = self.settings.get("max_trials")
        self.epochs: int = base.training["epochs"]
        self.refused = False  # whether the oracle's last answer was that it has nothing to propose
        super().__init__(folder, space, dataset, shown, base, self.settings["objective"])

    @cached_property
    def oracle(self) -> Any:
        """The oracle of the `tuning` section."""
        make = partial(build, self.settings, SEARCHES, "name")
        with quiet():
            return make_oracle(
                lambda oracle: make(oracle, self.epochs),
                self.space.hyperparameters(),
                self.objective,
                self.direction,
                self.space.config({}).seed,
            )

    @property
    def ranked(self) -> list[Trial]:
        """Return the trials that have a score and were trained for all epochs, best first.

        If there are none, trials that stopped earlier count. Repeats never do.
        """
        scored = super().ranked
        return [t for t in scored if t.until_epoch is None or t.until_epoch >= self.epochs] or scored

    def _propose(self) -> Trial | None:
        number = len(self.trials)
        with quiet():
            proposal = self.oracle.create_trial(f"trial {number}")
        if proposal.status != "RUNNING":  # nothing is left, or nothing before a running trial ends
            if not self.refused:
                self.folder.note("refused")
            self.refused = True
            return None
        self.refused = False
        given = proposal.hyperparameters.values
        until = given.get("tuner/epochs")
        goes_on = int(given["tuner/trial_id"]) if "tuner/trial_id" in given else None
        plain = {name: value.item() if hasattr(value, "item") else value for name, value in given.items()}
        trial = Trial(number, self.space.values(given), until, goes_on, proposed=plain)
        self.trials.append(trial)
        self.folder.note("proposed", trial)
        return trial

    def _start(self, trial: Trial, pool: Pool) -> None:
        run = self.folder.trial(trial.number)
        if trial.goes_on is not None and not run.started:
            self.folder.trial(self._origin(trial.goes_on)).copy_to(run)
        super()._start(trial, pool)

    def _origin(self, number: int) -> int:
        repeats = self.trials[number].repeats
        return number if repeats is None else self._origin(repeats)

    def _end(self, trial: Trial) -> None:
        """End a trial.

        Raises:
            UserError: If too many trials in a row have failed.
        """
        super()._end(trial)
        last = [other for other in self.ended if other.repeats is None][-self.settings["max_failures"] :]
        if len(last) == self.settings["max_failures"] and all(other.reason for other in last):
            count = f"{len(last)} trials" if len(last) > 1 else "trial"
            reasons = "; ".join(f"trial {other.number}: {other.reason}" for other in last)
            raise UserError(str(self.folder.folder), f"the search stopped because the last {count} failed ({reasons})")

    def _take(self, trial: Trial) -> None:
        """Report the score of a trial to the oracle.

        A failed trial counts as the worst so far, because otherwise the oracle would propose similar values again.
        """
        scores = [other.score for other in self.trials if other.score is not None]
        worst = (max if self.direction == "min" else min)(scores, default=None)
        score = trial.score if trial.score is not None else worst
        with quiet():
            proposal = self.oracle.trials[list(self.oracle.trials)[trial.number]]
            if score is not None:
                self.oracle.update_trial(proposal.trial_id, {self.objective: score})
            proposal.status = "COMPLETED" if score is not None else "FAILED"
            self.oracle.end_trial(proposal)

    def _prune(self) -> None:
        """Delete the weights of trials that are no longer needed.

        Needed are the best trials, those that run or wait, and those that a longer trial may continue.
        """
        needed = {trial.number for trial in self.ranked[: self.settings["keep"]]}
        needed |= {trial.number for trial in self.trials if trial.open}
        needed |= {self._origin(trial.goes_on) for trial in self.trials if trial.open and trial.goes_on is not None}
        for bracket in getattr(self.oracle, "_brackets", []) if self.running or not self.refused else []:
            for earlier, later in pairwise(bracket["rounds"]):
                taken = {entry["past_id"] for entry in later}
                needed |= {self._origin(int(entry["id"])) for entry in earlier if entry["id"] not in taken}
        for trial in self.trials:
            if trial.number not in needed:
                self.folder.trial(trial.number).drop_weights()

    def _recall(self, event: str, trial: Trial | None) -> None:
        """Let the oracle propose what it proposed then."""
        with quiet():
            proposal = self.oracle.create_trial(f"trial {len(self.trials)}")
        self.refused = event == "refused"
        if trial is not None:
            assert proposal.status == "RUNNING", "the oracle no longer proposes a trial of the journal"
            proposal.hyperparameters.values = trial.proposed
