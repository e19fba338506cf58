"""Find the runs, searches and comparisons below a folder, and say which of them can be deleted. Needs no TensorFlow."""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pipelines.comparison.folder import ComparisonFolder
from pipelines.errors import UserError
from pipelines.export_folder import ExportVersion
from pipelines.runs.about import About, read_about
from pipelines.runs.run import FROM_RUNS, Run
from pipelines.tuning.journal import SearchFolder, Trial

Kind = Literal["run", "search", "comparison"]
State = Literal["finished", "running", "unfinished", "failed"]
PARENTS: dict[Kind, str] = {"run": "runs", "search": SearchFolder.parent, "comparison": ComparisonFolder.parent}


@dataclass(frozen=True)
class Entry:
    """A run, a search or a comparison: the best value of its metric so far, and its size on disk."""

    kind: Kind
    folder: Path
    about: About
    state: State
    value: float | None
    date: datetime  # of the last change of its config, which is written at the start and at the end
    size: int  # bytes

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "kind": self.kind,
            "folder": str(self.folder),
            "task": self.about.task,
            "model": self.about.model,
            "state": self.state,
            "metric": self.about.metric,
            "value": self.value,
            "date": self.date.isoformat(timespec="seconds"),
            "bytes": self.size,
        }


@dataclass(frozen=True)
class Plan:
    """What `prune` would delete, and what it would keep only because something else needs it, with the reason."""

    delete: list[Entry]
    needed: dict[Path, str]


def find_entries(root: Path, kinds: Iterable[Kind] = tuple(PARENTS)) -> list[Entry]:
    """List the runs, searches and comparisons in `runs`, `searches` and `comparisons` of a folder, best first.

    They are ordered by kind, task and metric. Those without a value come last in their group, the newest first.
    """
    found = [
        _entry(kind, path)
        for kind in kinds
        for path in sorted((root / PARENTS[kind]).glob("*/*"))
        if (path / "config.yaml").is_file()
    ]
    order = list(PARENTS)
    return sorted(found, key=lambda e: (order.index(e.kind), e.about.task, e.about.metric or "~", _rank(e)))


def plan_deletion(root: Path, entries: Sequence[Entry], keep: int) -> Plan:
    """Choose what to delete: all but the `keep` best by each metric and the `keep` newest of each kind and task.

    What still runs is kept, and what lies behind a link. So is a run that an export of `root` was written from, or that
    another run started from or learned from.
    """
    kept: set[Path] = set()
    groups: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.kind, entry.about.task].append(entry)
        groups[entry.kind, entry.about.task, entry.about.metric].append(entry)
    for key, group in groups.items():
        scored = [each for each in group if each.state == "finished" and each.value is not None]
        newest = sorted(group, key=lambda each: each.date, reverse=True)
        kept |= {each.folder for each in (newest if len(key) == 2 else sorted(scored, key=_rank))[:keep]}
    left = [each for each in entries if each.folder not in kept and each.state != "running"]
    needed = {each.folder: "is a link, or lies behind one" for each in left if _is_linked(root, each.folder)}
    needed |= _used(root, [each for each in left if each.folder not in needed])
    return Plan([each for each in left if each.folder not in needed], needed)


def delete(entry: Entry) -> None:
    """Delete the folder of an entry. Links in it are deleted, and what they point to is not.

    Raises:
        UserError: If it cannot be deleted.
    """
    hidden = entry.folder.with_name(f".{entry.folder.name}.deleted")  # so that nobody takes a half for a run
    try:
        entry.folder.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise UserError(str(entry.folder), f"cannot be deleted ({error.strerror or error})") from None


def _entry(kind: Kind, folder: Path) -> Entry:
    about = read_about(folder)
    describe = {"run": _run, "search": _search, "comparison": _comparison}[kind]
    state, value, model = describe(folder, about)
    date = datetime.fromtimestamp((folder / "config.yaml").stat().st_mtime)
    about = About(about.task, model or about.model, about.metric, about.direction)
    return Entry(kind, folder, about, state, value, date, _size(folder))


def _run(folder: Path, about: About) -> tuple[State, float | None, str | None]:
    run = Run(folder)
    value = run.best_epoch().get(about.metric) if about.metric and run.has_history else None
    state: State = "finished" if run.finished else "failed" if run.error is not None else "unfinished"
    return ("running" if run.is_locked else state), value, None


def _search(folder: Path, about: About) -> tuple[State, float | None, str | None]:
    search = SearchFolder(folder)
    trials, refused = search.read_trials()
    ended = refused and not any(trial.open for trial in trials)
    best = _best({trial.number: trial.score for trial in trials if trial.score is not None}, about.direction)
    model = None if best is None else trials[best[0]].values.get("model")
    return _state(search, trials, ended), None if best is None else best[1], model


def _comparison(folder: Path, about: About) -> tuple[State, float | None, str | None]:
    comparison = ComparisonFolder(folder)
    trials, _ = comparison.read_trials()
    plan = comparison.plan()
    ended = plan is not None and sum(not each.open for each in trials) == len(plan.models) * plan.seeds
    scores: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        if trial.score is not None:
            scores[trial.values["model"]].append(trial.score)
    best = _best({model: fmean(own) for model, own in scores.items()}, about.direction)
    return _state(comparison, trials, ended), None if best is None else best[1], None if best is None else best[0]


def _state(folder: SearchFolder, trials: Sequence[Trial], ended: bool) -> State:
    if folder.is_locked:
        return "running"
    if any(trial.reason for trial in trials) and not any(trial.score is not None for trial in trials):
        return "failed"
    return "finished" if ended else "unfinished"


def _best(scores: dict[Any, float], direction: str | None) -> tuple[Any, float] | None:
    choose = max if direction == "max" else min
    return choose(scores.items(), key=lambda item: item[1]) if scores else None


def _rank(entry: Entry) -> tuple[bool, float]:
    """Return a sort key: the best value first, then those without any, the newest first."""
    if entry.value is None or entry.value != entry.value:
        return True, -entry.date.timestamp()
    return False, -entry.value if entry.about.direction == "max" else entry.value


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder; links are not followed."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118 - Path takes three times as long
            except OSError:  # a run in progress has just deleted it
                continue
    return total


def _is_linked(root: Path, folder: Path) -> bool:
    """Return whether a folder, or one between it and `root`, is a link."""
    parts = folder.relative_to(root).parts
    return any(root.joinpath(*parts[: at + 1]).is_symlink() for at in range(len(parts)))


def _used(root: Path, entries: Sequence[Entry]) -> dict[Path, str]:
    users = dict(_users(root))
    runs = [(each.folder, Run(each.folder)) for each in entries if each.kind == "run" and each.state == "finished"]
    found = {folder: users.get(run.fingerprint(), "") for folder, run in runs if users and run.has_model}
    return {folder: by for folder, by in found.items() if by}


def _users(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the fingerprint of each run that something was made from, and by what it is used."""
    for path in (root / "exports").glob("*/*"):
        version = ExportVersion(path)
        if version.is_complete and version.parity.is_file():
            made_from = json.loads(version.parity.read_text(encoding="utf-8")).get("run", {})
            if made_from:
                yield made_from["fingerprint"], f"{path} was exported from it"
    words = dict(zip(FROM_RUNS, ("started from it", "learned from it"), strict=True))
    places = [*(root / "runs").glob("*/*"), *root.glob("searches/*/*/trials/*"), *root.glob("comparisons/*/*/trials/*")]
    for run in [Run(path) for path in places]:
        record = run.data() if run.started else {}
        for name, verb in words.items():
            if name in record:
                yield record[name]["fingerprint"], f"{run.folder} {verb}"
