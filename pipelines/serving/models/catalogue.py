"""The served models: their versions and labels, kept in sync with the model folders."""

import asyncio
import hashlib
import json
import logging
import random
import time
from bisect import bisect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from pipelines.export_folder import ExportVersion, is_number
from pipelines.serving.logs import log
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import Kind, RequestError, invalid, unknown
from pipelines.serving.settings import ModelSettings

LABELS = "labels.json"  # file in a model's folder, such as {"stable": 1, "canary": 2}
STABLE = "stable"  # if this label is set, requests without version and label go to it

Fingerprint = tuple[int, int, int]


@dataclass
class State:
    """The state of a version, with the state names of TensorFlow Serving."""

    name: str  # LOADING, AVAILABLE, UNLOADING or END
    error: str = ""


class ServedModel:
    """A served model: one folder of numbered versions.

    The newest version, or those that the settings name, and all labeled versions are served. A version that fails to
    load or warm up is skipped until its files change; the versions served before stay up.
    """

    def __init__(self, name: str, settings: ModelSettings, changed: Callable[[], None]):
        self.name, self.folder, self.changed = name, settings.folder, changed
        self._pinned, self._traffic, self._shadow = settings.versions, settings.traffic, settings.shadow
        self._named = settings.named
        self._numbered = {int(name) for name in self._named if is_number(name)}
        self.versions: dict[int, Version] = {}
        self.states: dict[int, State] = {}
        self.unloaded = False  # True if a client asked for it
        self._given = dict(settings.labels)
        self.labels: dict[str, int] = {}
        self._broken: dict[int, Fingerprint] = {}
        self._unreadable = ""
        self._missing: dict[str, int] = {}  # labels of versions that are not there
        self._unused: dict[str, str] = {}  # what `traffic` and `shadow` name without effect, and why
        self._refreshing = asyncio.Lock()

    def find(self, version: int | None = None, label: str | None = None) -> Version:
        """Return the version with a number or label, or the default version.

        Raises:
            RequestError: If the version is not served.
        """
        if label is not None:
            if label not in self.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        if version is None:
            if not self.versions:
                state = "unloaded" if self.unloaded else "not loaded yet"
                raise RequestError(Kind.UNAVAILABLE, f"Model {self.name} is {state}")
            newest = self._newest(self.versions)
            return self.versions.get(self.labels.get(STABLE, newest), self.versions[newest])
        if version not in self.versions:
            raise unknown(f"Servable not found for request: Specific({self.name}, {version})")
        return self.versions[version]

    def routed(self, key: str) -> Version:
        """Return the version for a request that names none: by the weights of `traffic`, the same for the same key.

        The share of a version that is not served goes to the others. Without a key, the version is drawn.

        Raises:
            RequestError: If no version is served.
        """
        shares = [
            (number, weight)
            for name, weight in self._traffic.items()
            if weight and (number := self._number(name)) is not None
        ]
        if not shares:
            return self.find()
        numbers, weights = zip(*shares, strict=True)
        place = sum(weights) * (_fraction(f"{self.name} {key}") if key else random.random())
        return self.versions[numbers[min(bisect(list(accumulate(weights)), place), len(numbers) - 1)]]

    @property
    def shadow(self) -> Version | None:
        """Return the version that gets copies of requests, if it is served."""
        number = None if self._shadow is None else self._number(str(self._shadow))
        return None if number is None else self.versions[number]

    def _number(self, name: str) -> int | None:
        """Return the number of the version with a label or number, if it is served."""
        number = int(name) if is_number(name) else self.labels.get(name)
        return number if number in self.versions else None

    def set_labels(self, labels: Mapping[str, int]) -> None:
        """Set the labels; those in the `labels.json` of the folder take precedence.

        Raises:
            RequestError: If a label names a version that is not served.
        """
        missing = {number for number in labels.values() if number not in self.versions}
        if missing:
            raise invalid(f"Model {self.name} has no loaded version {min(missing)}; a label must name a loaded version")
        self._given = dict(labels)

    async def refresh(self) -> None:
        """Load new versions from the folder, then unload the versions that are no longer needed."""
        async with self._refreshing:
            await self._refresh()

    async def _refresh(self) -> None:
        if self.unloaded:
            for number in set(self.versions):
                self._retire(number)
            self.labels = {}
            self.changed()
            return
        there = {int(path.name): path for path in self.folder.iterdir() if ExportVersion(path).is_complete}
        wanted_labels = self._given | self._file_labels()
        labelled = [number for number in wanted_labels.values() if number in there]
        wanted = [number for number in self._pinned if number in there] if self._pinned else sorted(there)[-1:]
        for number in sorted({*wanted, *labelled, *self._numbered.intersection(there)}):
            await self._load(number, there[number])
        if (
            not self.versions and not self._pinned
        ):  # at startup with a broken newest version, an older version is better than none
            for number in sorted(set(there) - set(self._broken), reverse=True):
                await self._load(number, there[number])
                if self.versions:
                    break
        self._warn_of_missing({label: number for label, number in wanted_labels.items() if number not in there})
        labels = {label: number for label, number in wanted_labels.items() if number in self.versions}
        self.labels = labels | {label: self.labels[label] for label in wanted_labels if self._keeps(label, labels)}
        newest = self._newest([number for number in self.versions if number in there] or self.versions)
        for number in set(self.versions) - {newest, *self._pinned, *self._numbered, *self.labels.values()}:
            self._retire(number)
        self._warn_of_named()
        self.changed()

    def _newest(self, numbers: Collection[int]) -> int:
        """Return the newest of these versions, if any of those that the settings name is there, the newest of them."""
        return max((number for number in numbers if number in self._pinned), default=max(numbers, default=0))

    def _warn_of_missing(self, labels: dict[str, int]) -> None:
        if labels != self._missing:
            for label, number in labels.items():
                log("label of a missing version", logging.WARNING, model=self.name, label=label, version=number)
        self._missing = labels

    def _warn_of_named(self) -> None:
        reasons = {name: "no such version is served" for name in self._named if self._number(name) is None}
        if self.versions and not self._traffic and self.shadow is self.find():
            reasons[str(self._shadow)] = "it answers the clients itself; give another version the label stable"
        for name in reasons.keys() - self._unused.keys():
            log("traffic or shadow not used", logging.WARNING, model=self.name, version=name, reason=reasons[name])
        self._unused = reasons

    def _keeps(self, label: str, labels: Mapping[str, int]) -> bool:
        return label not in labels and self.labels.get(label) in self.versions

    async def _load(self, number: int, folder: Path) -> None:
        fingerprint = await asyncio.to_thread(_fingerprint, folder)
        if number in self.versions or self._broken.get(number) == fingerprint:
            return
        self.states[number] = State("LOADING")
        began = time.monotonic()
        try:
            version = await asyncio.to_thread(_loaded, folder)
        except Exception as error:  # no error in a version's files must stop the server
            self._broken[number] = fingerprint
            reason = next(iter(str(error).splitlines()), "")[:500]
            self.states[number] = State("END", f"{type(error).__name__}: {reason}")
            log("version not loaded", logging.ERROR, model=self.name, version=number, reason=self.states[number].error)
            return
        self._broken.pop(number, None)
        self.versions[number], self.states[number] = version, State("AVAILABLE")
        self.changed()
        log("version loaded", model=self.name, version=number, seconds=round(time.monotonic() - began, 2))

    def _retire(self, number: int) -> None:
        version = self.versions.pop(number)
        self.states[number] = State("UNLOADING")
        task = asyncio.get_running_loop().create_task(self._let_go(version))
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)

    async def _let_go(self, version: Version) -> None:
        while version.users:
            await asyncio.sleep(0.05)
        version.unload()
        if version.number not in self.versions:
            self.states[version.number] = State("END")
        log("version unloaded", model=self.name, version=version.number)

    def _file_labels(self) -> dict[str, int]:
        path = self.folder / LABELS
        if not path.is_file():
            return {}
        try:
            return checked_labels(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            if str(error) != self._unreadable:
                log("labels not updated", logging.ERROR, file=str(path), reason=str(error))
            self._unreadable = str(error)
            return dict(self.labels)


class Catalogue:
    """All served models, by name."""

    def __init__(self, models: Mapping[str, ModelSettings], changed: Callable[[], None]):
        self.models = {name: ServedModel(name, settings, changed) for name, settings in models.items()}
        self.tried = asyncio.Event()  # set once all models have been loaded, or could not be

    @property
    def ready(self) -> bool:
        """Return whether every model has a loaded and warmed-up version, or a client unloaded it."""
        return all(model.versions or model.unloaded for model in self.models.values())

    def model(self, name: str) -> ServedModel:
        """Return a model by name.

        Raises:
            RequestError: If there is no model of that name.
        """
        if name not in self.models:
            raise unknown(f"Servable not found for request: Latest({name})")
        return self.models[name]

    async def watch(self, seconds: float) -> None:
        """Refresh all models every `seconds` seconds until cancelled."""
        while True:
            for model in self.models.values():
                try:
                    await model.refresh()
                except OSError as error:
                    log("cannot read folder", logging.ERROR, model=model.name, reason=str(error))
                except Exception:  # one model's folder must not stop the watching of all others
                    log("cannot refresh model", logging.ERROR, exc_info=True, model=model.name)
            self.tried.set()
            await asyncio.sleep(seconds)


def _fraction(key: str) -> float:
    """Return a number from 0 to 1 that follows from a text, in every process."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / (1 << 64)


def checked_labels(labels: Any) -> dict[str, int]:
    """Return labels read from JSON after checking them.

    Raises:
        ValueError: If they do not map names to version numbers.
    """
    if not isinstance(labels, dict) or not all(type(number) is int for number in labels.values()):
        raise ValueError('labels must map names to version numbers, such as {"stable": 1, "canary": 2}')
    return labels


_TASKS: set[asyncio.Task] = set()  # the event loop keeps only weak references to tasks


def _loaded(folder: Path) -> Version:
    version = Version(folder)
    version.warm_up()
    return version


def _fingerprint(folder: Path) -> Fingerprint:
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return len(stats), sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)
