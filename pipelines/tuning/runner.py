"""Run trials in a pool, with a journal from which a killed process resumes."""

import abc
import math
import time
from collections.abc import Callable
from typing import Any

from pipelines.config.load import Config
from pipelines.data import Dataset, Source
from pipelines.extensions import loaded_code
from pipelines.storage import write_text
from pipelines.tasks import load_task
from pipelines.tuning.journal import SearchFolder, Trial
from pipelines.tuning.pools import Job, Killed, Pool
from pipelines.tuning.space import Space
from pipelines.tuning.trials import Outcome, run_trial

POLL_SECONDS = 0.05
RESTARTS = 2  # restarts of a trial whose process was killed, before it counts as failed


class Runner(abc.ABC):
    """Trials in progress; `run` ends when nothing more is proposed."""

    work: Callable[..., Outcome] = staticmethod(run_trial)  # what the process of a trial calls
    most: int | None = None  # number of trials, if it is known

    def __init__(
        self,
        folder: SearchFolder,
        space: Space,
        data: Dataset | Source | None,
        shown: Callable[[Any], None],
        base: Config,
        objective: str,
    ):
        self.folder, self.space, self.data, self.shown, self.objective = folder, space, data, shown, objective
        task = load_task(base.task)
        self.direction = task.metrics.get(objective.removeprefix("validation."), "min")
        self.trials: list[Trial] = []
        self.running: dict[int, Job] = {}
        self.waiting: list[Trial] = []  # proposed but not started: from an earlier process, or equal to a running one
        self.killed: dict[int, int] = {}
        self.started: dict[int, float] = {}
        self.workers = 1
        self._catch_up()
        self.taken_up = {trial.number for trial in self.ended}  # trials that ended before this process started

    @abc.abstractmethod
    def _propose(self) -> Trial | None:
        """Return the next trial, after noting it in the journal, or None if there is none at the moment."""

    def _recall(self, event: str, trial: Trial | None) -> None:  # noqa: B027 - not every subclass has to
        """Take up an event of the journal that is not the end of a trial."""

    def _take(self, trial: Trial) -> None:  # noqa: B027
        """Take up the outcome of a trial that has ended."""

    def _prune(self) -> None:  # noqa: B027
        """Delete files that are no longer needed."""

    @property
    def seconds_left(self) -> float | None:
        """Estimate the time that is left, or return None if the number of trials is not known."""
        timed = [trial.seconds for trial in self.ended if trial.seconds]
        if self.most is None or not timed:
            return None
        return (self.most - len(self.ended)) * sum(timed) / len(timed) / self.workers

    @property
    def ended(self) -> list[Trial]:
        """Return the trials with a score or a reason, ordered by number."""
        return [trial for trial in self.trials if not trial.open]

    @property
    def ranked(self) -> list[Trial]:
        """Return the trials that have a score, best first, without repeats."""
        return sorted((t for t in self.trials if t.score is not None and t.repeats is None), key=self.rank)

    def rank(self, trial: Trial) -> tuple[float, float, int]:
        """Return a sort key of a trial that has a score: the best trial is the lowest."""
        assert trial.score is not None and trial.figures is not None
        sign = 1 if self.direction == "min" else -1
        return sign * trial.score, trial.figures["validation.loss"], trial.number

    def run(self, pool: Pool, workers: int) -> None:
        """Run trials, `workers` at a time.

        Raises:
            UserError: If too many trials in a row fail, and the subclass counts them.
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

    def _start(self, trial: Trial, pool: Pool) -> None:
        config = self.space.config(trial.values)
        write_text(self.folder.trial_config(trial.number), config.to_yaml())
        run = self.folder.trial(trial.number)
        arguments = (self.folder.trial_config(trial.number), run.folder, self.data, trial.until_epoch, loaded_code())
        self.started[trial.number] = time.monotonic()
        self.running[trial.number] = pool.apply_async(self.work, arguments)
        self.shown(self)

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
        self._take(trial)
        self._prune()
        self.shown(self)

    def _catch_up(self) -> None:
        """Replay the journal, so that the trials continue as if they had not been interrupted."""
        for event, trial in self.folder.events():
            if trial is not None and event == "ended":
                self.trials[trial.number] = trial
                self._take(trial)
                continue
            self._recall(event, trial)
            if trial is not None:  # the event is "proposed"
                self.trials.append(trial)
        self.waiting = [trial for trial in self.trials if trial.open]


class PlannedRunner(Runner):
    """A runner whose trials are known before they start."""

    @property
    @abc.abstractmethod
    def planned(self) -> list[dict[str, Any]]:
        """The values of all trials, in order."""

    def _propose(self) -> Trial | None:
        known = [trial.values for trial in self.trials]
        values = next((values for values in self.planned if values not in known), None)
        if values is None:
            return None
        trial = Trial(len(self.trials), values)
        self.trials.append(trial)
        self.folder.note("proposed", trial)
        return trial


def _same(one: Trial, other: Trial) -> bool:
    return one.values == other.values and one.until_epoch == other.until_epoch
