"""What the project says of itself is true."""

import json
import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from conftest import LONGEST
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.cli import main
from pipelines.config.read import schema_path
from pipelines.tasks import TASKS, load_task

ROOT = Path(__file__).parent.parent


def test_every_dependency_is_pinned_within_its_range_and_has_a_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"\S+==\S+ +# .+", line) for line in lines)
    pinned = (Requirement(line.split("#")[0]) for line in lines)
    pins = {requirement.name: str(requirement.specifier).removeprefix("==") for requirement in pinned}
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
        *(name for group in groups.values() for name in group if isinstance(name, str)),
    ]
    for requirement in map(Requirement, wanted):
        assert pins[requirement.name] in requirement.specifier


def test_the_lock_holds_every_pin():
    def pins(file: str) -> set[tuple[str, str]]:
        found = re.findall(r"^([\w.-]+)\S*==([^\s;]+)", (ROOT / file).read_text(), re.MULTILINE)
        return {(canonicalize_name(name), version) for name, version in found}

    assert pins("requirements.lock") >= pins("requirements.txt"), "run `make lock`"


def test_every_task_has_the_same_files_a_config_and_a_line_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for task in TASKS:
        folder = ROOT / "pipelines" / "tasks" / task
        assert {"task.py", "sources.py", "preprocessing.py", "models.py"} <= {path.name for path in folder.iterdir()}
        assert (ROOT / "configs" / f"{task}.yaml").is_file()
        assert f"| `{task}` |" in readme
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == set(TASKS)


def test_the_files_that_begin_first_are_there():
    files = [str(path) for path in (ROOT / "tests").rglob("test_*.py")]
    assert all(any(path.endswith(each) for path in files) for each in LONGEST)


def test_the_documentation_names_every_verb_task_and_metric():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md")) + (ROOT / "README.md").read_text()
    assert all(f"pipelines {verb}" in pages for verb in main.commands)
    navigation = (ROOT / "mkdocs.yml").read_text()
    for task in TASKS:
        assert f"reference/config/{task}.md" in navigation and f"pipelines config {task}" in pages
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert all(page in navigation for page in pages)


def test_every_link_of_the_documentation_leads_to_a_file_of_the_clone():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+)", prose)
        assert [link for link in links if not (page.parent / link).exists()] == [], page


@pytest.mark.parametrize("task", TASKS)
def test_the_documentation_names_every_setting_model_and_metric(task):
    spec = spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = hooks.config_page(task)
    for definition in json.loads(schema_path(task).read_text())["$defs"].values():
        if definition.get("title") not in ("TuneNode", "Range", "models"):
            assert all(f"`{name}`" in page for name in definition.get("properties", {}))
    chosen = load_task(task)
    assert all(f"### models, {name}\n" in page for name in chosen.models)
    assert all(f"`validation.{metric}`" in page for metric in chosen.metrics)
