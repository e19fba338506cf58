"""What a search has on disk: its folder, its journal, and the trials that the journal remembers."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.run import Run
from pipelines.storage import make_folder, write_json, write_text


@dataclass
class Trial:
    """A proposal and what became of it; `reason` says why it failed, `repeats` names a trial with the same values."""

    number: int
    values: dict[str, Any]
    until_epoch: int | None = None
    goes_on: int | None = None  # the trial whose training this one goes on with
    score: float | None = None
    figures: dict[str, float] | None = None
    seconds: float = 0.0
    reason: str | None = None
    repeats: int | None = None
    proposed: dict[str, Any] = field(default_factory=dict)  # the values in the oracle's own form

    @property
    def open(self) -> bool:
        """Say whether the trial has neither a score nor a reason yet."""
        return self.score is None and self.reason is None


class SearchFolder:
    """A search's folder, and the only code that knows its file names."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = folder / "config.yaml"
        self.best = folder / "best.yaml"
        self.table = folder / "trials.csv"
        self.report = folder / "report"
        self.logs = folder / "logs"
        self._data = folder / "data.json"
        self._journal = folder / "journal.jsonl"
        self._lock = folder / "lock"

    def trial(self, number: int) -> Run:
        """Give the run folder of a trial."""
        return Run(self.folder / "trials" / f"{number:04}")

    def trial_config(self, number: int) -> Path:
        """Give the path of a trial's config, written before the trial starts."""
        return self.folder / "trials" / f"{number:04}.yaml"

    @property
    def started(self) -> bool:
        """Say whether a search began here."""
        return self.config.is_file()

    @property
    def free(self) -> bool:
        """Say whether a new search may begin here."""
        return not self.folder.exists() or (
            self.folder.is_dir() and all(path == self._lock for path in self.folder.iterdir())
        )

    def begin(self, config: str, fingerprint: Mapping[str, str]) -> None:
        """Write what the search is of, or check that the search begun here is of the same.

        Raises:
            UserError: where it is of another config or of other data.
        """
        if not self.started:
            write_json(self._data, fingerprint)
            write_text(self.config, config)
        elif self.config.read_text(encoding="utf-8") != config:
            mend = f"go on with its own: tune {self.config} --search-dir {self.folder} --resume"
            raise UserError(str(self.folder), f"this search began with another config; {mend}")
        elif json.loads(self._data.read_text()) != fingerprint:
            raise UserError(str(self.folder), "the data is not what this search began with; begin a new one on it")

    def note(self, event: str, trial: Trial | None = None) -> None:
        """Add an event to the journal; once this returns it survives whatever happens."""
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **(asdict(trial) if trial else {})}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> Iterator[tuple[str, Trial | None]]:
        """Read the journal; a last line that was cut off by a kill never happened."""
        content = self._journal.read_text(encoding="utf-8") if self._journal.is_file() else ""
        whole, _, torn = content.rpartition("\n")
        if torn:
            os.truncate(self._journal, len(whole.encode()) + 1 if whole else 0)
        for line in whole.splitlines():
            fields = json.loads(line)
            event = fields.pop("event")
            yield event, Trial(**fields) if fields else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that no two searches write to it.

        Raises:
            UserError: where it cannot be made or written to, or another process holds it.
        """
        make_folder(self.folder)
        try:
            file = self._lock.open("w")
        except OSError as error:
            raise UserError(str(self.folder), f"cannot write here ({error.strerror})") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(str(self.folder), "another process is searching here") from None
            yield
