"""Read configs: YAML, overrides, and the shipped configs. Needs neither TensorFlow nor pydantic."""

import copy
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pipelines.errors import UserError, did_you_mean
from pipelines.tasks import TASKS

if TYPE_CHECKING:
    from pipelines.config.faults import Places


@dataclass(frozen=True)
class Unresolved:
    """A config with overrides applied, but with its `tune` nodes not yet resolved."""

    document: CommentedMap
    path: str
    overridden: frozenset[str]  # dotted paths

    @property
    def places(self) -> "Places":
        """Location of each setting."""
        from pipelines.config.faults import Places  # with pydantic, which an error in the YAML need not wait for

        return Places(self.document, self.path, self.overridden)

    def to_yaml(self) -> str:
        """Return the config as YAML, with its `tune` nodes and comments."""
        return written(self.document)


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Unresolved:
    """Read a YAML file, or the shipped config of a task name, and apply `dotted.path=value` overrides.

    Sections that the file leaves out are those of the task's shipped config.

    Raises:
        UserError: If the file is not valid YAML or an override cannot be applied.
    """
    if str(path) in TASKS and not Path(path).exists():
        path = shipped_config(str(path))
    document = read_yaml(path)
    task = document.get("task")
    defaults = shipped_defaults(task) if isinstance(task, str) else None
    for section, content in (defaults or {}).items():
        if section not in document:
            document[section] = copy.deepcopy(content)
    for override in overrides:
        _override(document, override)
    return Unresolved(document, str(path), frozenset(override.partition("=")[0] for override in overrides))


def check_task(unresolved: Unresolved) -> str:
    """Return the name of a config's task.

    Raises:
        UserError: If there is no such task. A dotted name may be that of loaded code.
    """
    name = unresolved.document.get("task")
    if not isinstance(name, str) or (name not in TASKS and "." not in name):
        problem = f"unknown task {name!r}{did_you_mean(str(name), list(TASKS))}"
        raise UserError(unresolved.places.of(["task"]), problem)
    return name


@cache
def shipped_defaults(task: str) -> CommentedMap | None:
    """Return the shipped config of a task, which fills what a config leaves out; None for a task of one's own."""
    return read_yaml(shipped_config(task)) if task in TASKS else None


def shipped_config(task: str) -> Path:
    """Return the path of a task's shipped config."""
    beside_the_package = Path(__file__).parents[2] / "configs"
    inside_the_package = Path(__file__).parents[1] / "configs"  # its location in an installed wheel
    folder = inside_the_package if inside_the_package.exists() else beside_the_package
    return folder / f"{task}.yaml"


def minimal_config(task: str) -> str:
    """Return a short config of a task. Settings that it leaves out have the values of the shipped config."""
    return (shipped_config(task).parent / "minimal" / f"{task}.yaml").read_text(encoding="utf-8")


def schema_path(task: str) -> Path:
    """Return the path of the shipped JSON Schema of a task's config."""
    return shipped_config(task).parent / "schemas" / f"{task}.json"


def schema_text(schema: dict[str, Any]) -> str:
    """Write a JSON Schema as the shipped ones are written."""
    return json.dumps(schema, indent=2) + "\n"


def _yaml() -> YAML:
    yaml = YAML()  # the round-trip loader keeps comments and line numbers, and no tag can construct an object
    yaml.width = 120
    yaml.preserve_quotes = True
    return yaml


def written(document: CommentedMap) -> str:
    """Write a document as YAML, with its comments."""
    stream = io.StringIO()
    _yaml().dump(document, stream)
    return stream.getvalue()


def read_yaml(path: str | Path, hint: str = "run `pipelines config TASK` for an example") -> CommentedMap:
    """Read a YAML file that holds a mapping, with its comments and line numbers.

    `hint` says where there is an example of one.

    Raises:
        UserError: If the file cannot be read or is not valid YAML.
    """
    try:
        document = _yaml().load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(str(path), f"cannot read this config ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(str(path), "this config is not UTF-8 text") from None
    except (YAMLError, ValueError) as error:  # ValueError: an impossible date
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(where, f"not valid YAML: {problem}") from None
    if not isinstance(document, CommentedMap):
        raise UserError(str(path), f"a config must be a YAML mapping; {hint}")
    return document


def _override(document: CommentedMap, override: str) -> None:
    where = f"--set {override}"
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UserError(where, "write it as dotted.path=value")
    try:
        value = _yaml().load(text)
    except (YAMLError, ValueError):
        raise UserError(where, "the value is not valid YAML") from None
    node, parts = document, dotted.split(".")
    while len(parts) > 1:
        # A key may have dots of its own: the longest that is there.
        known = (count for count in range(len(parts) - 1, 1, -1) if ".".join(parts[:count]) in node)
        count = next(known, 1)
        parent, parts = ".".join(parts[:count]), parts[count:]
        node = node.setdefault(parent, CommentedMap())
        if not isinstance(node, CommentedMap):
            raise UserError(where, f"'{parent}' is a value, not a section")
    node[parts[0]] = value


def plain(node: Any) -> Any:
    """Convert ruamel.yaml nodes to plain Python values, as pydantic's strict mode requires."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node
