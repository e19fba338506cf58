"""The shipped JSON Schemas: they are current, and find the same mistakes as the functions that they describe."""

import copy
import json

import pytest
from conftest import invoke

from pipelines import preflight
from pipelines.commands import tasks
from pipelines.config.load import config_schema, config_type
from pipelines.config.read import read_config, schema_path
from pipelines.config.schemas import shipped_type
from pipelines.config.tune_nodes import resolve_tune_nodes
from pipelines.config.validation import validate
from pipelines.errors import UserError
from pipelines.tasks import TASKS, load_task

SELECTORS = ("task", "model", "source", "name")  # a wrong one hides the mistakes in its section
WRONG = (-1, 0, 1.5, "x", "", None, [], {}, True, [1], ["a"], {"a": 1}, {"train": "a"}, 10**9)


@pytest.mark.parametrize("task", TASKS)
def test_the_shipped_schema_is_current(task):
    shipped = json.loads(schema_path(task).read_text())
    assert shipped == json.loads(json.dumps(config_schema(task))), "run `make schemas`"


def spoil(section, value) -> None:
    for key, old in list(section.items()):
        if isinstance(old, dict):
            spoil(old, value)
        elif key not in SELECTORS:
            section[key] = value
    section["unknown_setting"] = value


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("task", TASKS)
def test_the_schema_finds_the_same_mistakes_as_the_signatures(task, value):
    unresolved = read_config(task)
    resolve_tune_nodes(unresolved.document, unresolved.places)
    spoil(unresolved.document, value)
    reported = []
    for kind in (config_type(task, load_task(task)), shipped_type(task)):
        with pytest.raises(UserError) as caught:
            validate(copy.deepcopy(unresolved.document), kind, unresolved.places, task)
        reported.append(str(caught.value).splitlines())
    assert len(reported[0]) > 10
    assert reported[0] == reported[1]


def test_a_task_without_a_schema_is_checked_against_its_functions(tmp_path, monkeypatch):
    for module in (preflight, tasks):
        monkeypatch.setattr(module, "schema_path", lambda task: tmp_path / f"{task}.json")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("task: house_prices\nbatches: {sise: 8}\n")
    assert json.loads(invoke("config", "house_prices", "--schema").stdout)["title"] == "house_prices"
    assert "unknown setting; did you mean 'size'?" in invoke("run", wrong).output
    assert "tabm" in invoke("tasks", "house_prices").output
