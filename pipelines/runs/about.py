"""What a folder of a run, a search or a comparison is about, written at its start, for `pipelines runs`."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.storage import readable, write_json

NAME = "about.json"
FIRST_LEVEL = re.compile(r"^(task|model): *([\w.]+)", re.MULTILINE)


@dataclass(frozen=True)
class About:
    """Its task, its model, and the metric that chooses in it; `direction` is `min` if lower is better, else `max`."""

    task: str
    model: str
    metric: str | None = None
    direction: str | None = None


def write_about(folder: Path, about: About) -> None:
    """Write what a folder is about.

    Raises:
        UserError: If the file cannot be written.
    """
    write_json(folder / NAME, asdict(about))


def read_about(folder: Path) -> About:
    """Read what a folder is about. One of an earlier version has only the task and model of its config.

    Raises:
        UserError: If a file is damaged.
    """
    path = folder / NAME
    with readable(path):
        if path.is_file():
            return About(**json.loads(path.read_text(encoding="utf-8")))
        found = dict(FIRST_LEVEL.findall((folder / "config.yaml").read_text(encoding="utf-8")))
    return About(found.get("task", ""), found.get("model", ""))
