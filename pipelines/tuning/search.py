"""Run a search: an oracle proposes, a pool runs the trials, and a journal lets a killed search resume."""

import math
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from pipelines.build import build
from pipelines.config.searches import SEARCHES
from pipelines.data import Dataset
from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.storage import write_text
from pipelines.tasks import load_task
from pipelines.tuning.journal import SearchFolder, Trial
from pipelines.tuning.oracles import make_oracle, quiet
from pipelines.tuning.pools import Job, Killed, Pool
from pipelines.tuning.space import Space
from pipelines.tuning.trials import Outcome, run_trial

POLL_SECONDS = 0.05
RESTARTS = 2  # restarts of a trial whose process was killed, before it counts as failed


class Search:
    """A search in progress; `run` ends when the oracle has nothing more to propose."""

    def __init__(self, folder: SearchFolder, space: Space, dataset: Dataset | None, shown: Callable[["Search"], None]):
        self.folder, self.space, self.dataset, self.shown = folder, space, dataset, shown
        base = space.config({})
        assert base.tuning is not None  # checked by `tune`
        self.settings: dict[str, Any] = base.tuning
        self.objective: str = self.settings["objective"]
        task = load_task(base.task)
        self.direction = task.metrics.get(self.objective.removeprefix("validation."), "min")
        self.epochs: int = base.training["epochs"]
        make = partial(build, self.settings, SEARCHES, "name")
        with quiet():
            self.oracle = make_oracle(
                lambda oracle: make(oracle, self.epochs),
                space.hyperparameters(),
                self.objective,
                self.direction,
                base.seed,
            )
        self.trials: list[Trial] = []
        self.running: dict[int, Job] = {}
        self.waiting: list[Trial] = []  # proposed but not started: from an earlier process, or equal to a running one
        self.killed: dict[int, int] = {}
        self.refused = False  # whether the oracle's last answer was that it has nothing to propose
        self.started: dict[int, float] = {}
        self.workers = 1
        self._catch_up()
        self.taken_up = {trial.number for trial in self.ended}  # trials that ended before this process started

    @property
    def seconds_left(self) -> float | None:
        """Estimate the time that is left, or return None if the number of trials is not known."""
        most = self.settings.get("max_trials")
        timed = [trial.seconds for trial in self.ended if trial.seconds]
        if most is None or not timed:
            return None
        return (most - len(self.ended)) * sum(timed) / len(timed) / self.workers

    @property
    def ended(self) -> list[Trial]:
        """Return the trials with a score or a reason, ordered by number."""
        return [trial for trial in self.trials if not trial.open]

    @property
    def ranked(self) -> list[Trial]:
        """Return the trials that have a score and were trained for all epochs, best first.

        If there are none, trials that stopped earlier count. Repeats never do.
        """
        scored = [t for t in self.trials if t.score is not None and t.repeats is None]
        whole = [t for t in scored if t.until_epoch is None or t.until_epoch >= self.epochs]
        return sorted(whole or scored, key=self.rank)

    def rank(self, trial: Trial) -> tuple[float, float, int]:
        """Return a sort key of a trial that has a score: the best trial is the lowest."""
        assert trial.score is not None and trial.figures is not None
        sign = 1 if self.direction == "min" else -1
        return sign * trial.score, trial.figures["validation.loss"], trial.number

    def run(self, pool: Pool, workers: int) -> None:
        """Run trials, `workers` at a time.

        Raises:
            UserError: If too many trials in a row fail.
        """
        self.workers = workers
        while True:
            while len(self.running) < workers and (trial := self._next()) is not None:
                self._start(trial, pool)
            if not self.running:
                self._prune()
                return
            while not any(job.ready() for job in self.running.values()):
                time.sleep(POLL_SECONDS)
                self.shown(self)
            for number in [number for number, job in self.running.items() if job.ready()]:
                self._collect(self.trials[number], pool)

    def _next(self) -> Trial | None:
        """Return a trial to run: one that is waiting, or a new proposal.

        A trial that equals a finished one takes its score and is not run. One that equals a running one waits.
        """
        for trial in list(self.waiting):
            same = next((other for other in self.trials[: trial.number] if _same(other, trial)), None)
            if same is None:
                self.waiting.remove(trial)
                return trial
            if not same.open:
                self.waiting.remove(trial)
                trial.score, trial.figures, trial.reason = same.score, same.figures, same.reason
                trial.repeats = same.number
                self._end(trial)
        proposed = self._propose()
        if proposed is None:
            return None
        self.waiting.append(proposed)
        return self._next()

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
        config = self.space.config(trial.values)
        write_text(self.folder.trial_config(trial.number), config.to_yaml())
        run = self.folder.trial(trial.number)
        if trial.goes_on is not None and not run.started:
            self.folder.trial(self._origin(trial.goes_on)).copy_to(run)
        arguments = (self.folder.trial_config(trial.number), run.folder, self.dataset, trial.until_epoch, loaded_code())
        self.started[trial.number] = time.monotonic()
        self.running[trial.number] = pool.apply_async(run_trial, arguments)
        self.shown(self)

    def _origin(self, number: int) -> int:
        repeats = self.trials[number].repeats
        return number if repeats is None else self._origin(repeats)

    def _collect(self, trial: Trial, pool: Pool) -> None:
        job = self.running.pop(trial.number)
        trial.seconds += round(time.monotonic() - self.started[trial.number], 2)
        try:
            outcome: Outcome = job.get()
        except Killed as error:
            self.killed[trial.number] = self.killed.get(trial.number, 0) + 1
            if self.killed[trial.number] <= RESTARTS:
                self._start(trial, pool)  # continues from its last checkpoint
                return
            outcome = Outcome(None, str(error))
        trial.figures, trial.reason = outcome.figures, outcome.reason
        trial.score = outcome.figures[self.objective] if outcome.figures else None
        if trial.score is not None and not math.isfinite(trial.score):
            trial.score, trial.reason = None, f"{self.objective} is {trial.score}"
        self._end(trial)

    def _end(self, trial: Trial) -> None:
        self.folder.note("ended", trial)
        self._tell_oracle(trial)
        self._prune()
        self.shown(self)
        last = [other for other in self.ended if other.repeats is None][-self.settings["max_failures"] :]
        if len(last) == self.settings["max_failures"] and all(other.reason for other in last):
            count = f"{len(last)} trials" if len(last) > 1 else "trial"
            reasons = "; ".join(f"trial {other.number}: {other.reason}" for other in last)
            raise UserError(str(self.folder.folder), f"the search stopped because the last {count} failed ({reasons})")

    def _tell_oracle(self, trial: Trial) -> None:
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

    def _catch_up(self) -> None:
        """Replay the journal to the oracle, so that the search continues as if it had not been interrupted."""
        for event, trial in self.folder.events():
            if trial is not None and event == "ended":
                self.trials[trial.number] = trial
                self._tell_oracle(trial)
                continue
            with quiet():
                proposal = self.oracle.create_trial(f"trial {len(self.trials)}")
            self.refused = event == "refused"
            if trial is not None:  # the event is "proposed"
                assert proposal.status == "RUNNING", "the oracle no longer proposes a trial of the journal"
                proposal.hyperparameters.values = trial.proposed
                self.trials.append(trial)
        self.waiting = [trial for trial in self.trials if trial.open]


def _same(one: Trial, other: Trial) -> bool:
    return one.values == other.values and one.until_epoch == other.until_epoch
