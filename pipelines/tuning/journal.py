"""Store a search on disk: its folder, its journal, and the trials in the journal."""

import copy
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pipelines.config.read import Unresolved, read_config
from pipelines.errors import UserError
from pipelines.runs.run import Run
from pipelines.storage import as_json, is_locked, locked, numbers, write_json, write_text, writing


@dataclass
class Trial:
    """A proposal and its outcome.

    `reason` says why the trial failed. `repeats` is the number of an earlier trial with the same values.
    """

    number: int
    values: dict[str, Any]
    until_epoch: int | None = None
    goes_on: int | None = None  # number of the trial whose training this one continues
    score: float | None = None
    figures: dict[str, float] | None = None
    seconds: float = 0.0
    reason: str | None = None
    repeats: int | None = None
    proposed: dict[str, Any] = field(default_factory=dict)  # the values in the oracle's own form

    @property
    def open(self) -> bool:
        """Return whether the trial has neither a score nor a reason yet."""
        return self.score is None and self.reason is None


class SearchFolder:
    """A search's folder, and the only code that knows its file names."""

    parent, word = "searches", "search"
    option: str | None = "--search-dir"  # of the command, to choose a folder

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = folder / "config.yaml"
        self.best = folder / "best.yaml"
        self.table = folder / "trials.csv"
        self.report = folder / "report"
        self.page = self.report / "index.html"
        self.logs = folder / "logs"
        self._data = folder / "data.json"
        self._journal = folder / "journal.jsonl"
        self._lock = folder / "lock"

    @classmethod
    def choose(cls, task: str, given: str | Path | None, resume: bool) -> Self:
        """Return the folder `given`; by default `searches/TASK/TIME`, or with `resume` the newest one there.

        Raises:
            UserError: If there is nothing to resume, or the folder of a new search already exists.
        """
        beside = Path(cls.parent) / task
        if given is not None:
            folder = cls(Path(given).resolve())
        elif resume:
            begun = sorted(path for path in beside.glob("*") if cls(path).started)
            if not begun:
                raise UserError("--resume", f"{beside} contains no {cls.word}; name one with {cls.option}")
            folder = cls(begun[-1].resolve())
        else:
            folder = cls((beside / datetime.now().strftime("%Y-%m-%dT%H-%M-%S")).resolve())
        if resume and not folder.started:
            raise UserError(str(folder.folder), f"contains no {cls.word} (it has no config.yaml)")
        if not resume and not folder.free:
            problem = f"already exists; choose another {cls.option}, or continue with --resume"
            raise UserError(str(folder.folder), problem)
        return folder

    def trial(self, number: int) -> Run:
        """Return the run folder of a trial."""
        return Run(self.folder / "trials" / f"{number:04}")

    def trial_config(self, number: int) -> Path:
        """Return the path of a trial's config, which is written before the trial starts."""
        return self.folder / "trials" / f"{number:04}.yaml"

    @property
    def started(self) -> bool:
        """Return whether a search was started in this folder."""
        return self.config.is_file()

    @property
    def free(self) -> bool:
        """Return whether a new search may start in this folder."""
        return not self.folder.exists() or (
            self.folder.is_dir() and all(path == self._lock for path in self.folder.iterdir())
        )

    def begin(self, config: Unresolved, fingerprint: Mapping[str, str]) -> list[str]:
        """Write the config and the data fingerprint of a new search, or check them against the search in this folder.

        Returns lines that say what has changed where something may.

        Raises:
            UserError: If the search was started with another config or other data.
        """
        if not self.started:
            write_json(self._data, fingerprint)
            write_text(self.config, config.to_yaml())
            return []
        if json.loads(self._data.read_text()) != fingerprint:
            problem = f"the data has changed since this {self.word} was started; start a new one"
            raise UserError(str(self.folder), problem)
        begun = read_config(self.config)
        return [] if begun.document == config.document else self._take_up(begun, config)

    def _take_up(self, begun: Unresolved, config: Unresolved) -> list[str]:
        """Go on with another config. Only `tuning.max_trials` may differ, and only grow."""
        before, now = (each.document.get("tuning", {}).get("max_trials") for each in (begun, config))
        longer = copy.deepcopy(begun.document)
        if before is not None and now is not None:
            longer["tuning"]["max_trials"] = max(before, now)
        if longer != config.document:
            command = f"tune {self.config} --search-dir {self.folder} --resume"
            hint = f"continue with its own config: {command}; only tuning.max_trials may increase"
            raise UserError(str(self.folder), f"this search was started with a different config; {hint}")
        self._forget_refusals(before)
        write_text(self.config, config.to_yaml())
        return [f"tuning.max_trials was {before} and is now {now}"]

    def _forget_refusals(self, most: int) -> None:
        """Remove from the journal that the oracle proposed nothing more because there were `most` trials."""
        kept, proposed = [], 0
        for event, trial in self.events():
            proposed += event == "proposed"
            if event != "refused" or proposed < most:
                kept.append(_line(event, trial))
        write_text(self._journal, "".join(kept))

    def note(self, event: str, trial: Trial | None = None) -> None:
        """Append an event to the journal. When this returns, the event is safely on disk."""
        with writing(self._journal), self._journal.open("a", encoding="utf-8") as file:
            file.write(_line(event, trial))
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> Iterator[tuple[str, Trial | None]]:
        """Read the journal. A last line that is incomplete, because the process was killed, is removed."""
        content = self._journal.read_text(encoding="utf-8") if self._journal.is_file() else ""
        whole, _, torn = content.rpartition("\n")
        if torn:
            os.truncate(self._journal, len(whole.encode()) + 1 if whole else 0)
        for line in whole.splitlines():
            yield _read(line)

    def read_trials(self) -> tuple[list[Trial], bool]:
        """Read the trials, and whether nothing more was proposed after them. The journal is not changed."""
        content = self._journal.read_text(encoding="utf-8") if self._journal.is_file() else ""
        trials: dict[int, Trial] = {}
        refused = False
        for event, trial in map(_read, content.rpartition("\n")[0].splitlines()):
            refused = event == "refused" or (refused and event != "proposed")
            if trial is not None:
                trials[trial.number] = trial
        return [trials[number] for number in sorted(trials)], refused

    @property
    def is_locked(self) -> bool:
        """Whether a process writes to the folder."""
        return is_locked(self._lock)

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder, so that no two searches write to it.

        Raises:
            UserError: If the folder cannot be created or written to, or another process holds the lock.
        """
        other = f", or choose another {self.option}" if self.option else ""
        return locked(self._lock, f"another {self.word} is running in this folder; wait for it{other}")


def _read(line: str) -> tuple[str, Trial | None]:
    fields = json.loads(line)
    event = fields.pop("event")
    if fields.get("figures"):
        fields["figures"] = numbers(fields["figures"])
    return event, Trial(**fields) if fields else None


def _line(event: str, trial: Trial | None) -> str:
    return as_json({"event": event, **(asdict(trial) if trial else {})}) + "\n"
