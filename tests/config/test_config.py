"""Configs: loading, overriding, `tune` nodes, checking, and the JSON Schema."""

import jsonschema
import pytest
from conftest import CONFIG

from pipelines.config.load import config_schema, load_config
from pipelines.config.read import shipped_config
from pipelines.errors import UserError
from pipelines.tasks import TASKS


def faults(path, *overrides) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    return str(caught.value)


SHIPPED = [path for path in sorted(CONFIG.parent.rglob("*.yaml")) if path.parent.name != "server"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_config_that_is_shipped_is_right(path):
    overrides = ["data.root=."] if path.parent.name == "benchmarks" else []
    config = load_config(path, overrides)
    assert config.model in config.models
    jsonschema.validate(config.values, config_schema(config.task))


@pytest.mark.parametrize("task", TASKS)
def test_every_key_of_a_shipped_config_is_explained_where_it_first_appears(task):
    explained = set()
    for line in shipped_config(task).read_text().splitlines():
        key, colon, value = line.partition(":")
        if colon and value and "#" not in key and key.strip() not in explained:
            assert "#" in value, f"{line!r} has no comment"
            explained.add(key.strip())


def test_a_tune_node_stands_for_its_default_and_an_override_for_itself():
    assert load_config(CONFIG).batches["size"] == 128
    assert load_config(CONFIG, ["batches.size=full"]).batches["size"] == "full"
    assert load_config(CONFIG, ["optimizer.learning_rate=1e-4"]).optimizer["learning_rate"] == 1e-4


def test_a_resolved_config_loads_as_the_same_config(tmp_path):
    config = load_config(CONFIG, ["model=mlp", "seed=3"])
    copy = tmp_path / "config.yaml"
    copy.write_text(config.to_yaml())
    assert load_config(copy).values == config.values
    assert "# random seed of the weights, the mini-batch order and dropout" in copy.read_text()


def test_all_faults_are_reported_together_with_their_lines(tmp_path):
    text = CONFIG.read_text().replace("  patience:", "  patiense:").replace("clip_norm: 1.0", "clip_norm: -1.0")
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    lines = {name: 1 + text[: text.index(name)].count("\n") for name in ("patiense", "clip_norm")}
    reported = faults(path)
    assert f"{path}:{lines['patiense']}: training.patiense: unknown setting; did you mean 'patience'?" in reported
    assert f"{path}:{lines['clip_norm']}: optimizer.clip_norm: should be greater than 0, not -1.0" in reported


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("{tune: [], default: 0.1}", "the list of choices is empty"),
        ("{tune: [0.1, 0.2], default: 0.3}", "default 0.3 is not one of [0.1, 0.2]"),
        ("{tune: {min: 0.5, max: 0.1}, default: 0.1}", "min 0.5 is not below max 0.1"),
        ("{tune: {min: 0.0, max: 0.5}, default: 0.9}", "default 0.9 is not between 0.0 and 0.5"),
        ("{tune: {min: 0.0, max: 0.5, sampling: log}, default: 0.1}", "log sampling needs a min above zero"),
        ("{tune: [0.1]}", "Field required"),
    ],
)
def test_a_wrong_tune_node_gets_one_line(node, expected):
    assert expected in faults(CONFIG, f"models.mlp.dropout={node}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task: [", ":1: not valid YAML"),
        ("task: a\ntask: b", "not valid YAML: found duplicate key"),
        ("- a", "a config must be a YAML mapping"),
        ("", "a config must be a YAML mapping"),
        ("task: cats", ":1: task: unknown task 'cats'"),
        ("seed: !!python/object/apply:os.system ['true']\ntask: house_prices", "seed: should be a valid integer"),
    ],
)
def test_what_is_no_config_gets_one_line(text, expected, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert expected in faults(path)


def test_the_schema_knows_tune_nodes_and_refuses_unknown_settings():
    schema = config_schema("house_prices")
    values = load_config(CONFIG).values
    values["batches"]["size"] = {"tune": [1, 2], "default": 1}
    jsonschema.validate(values, schema)
    values["batches"]["sise"] = 3
    with pytest.raises(jsonschema.ValidationError, match="sise"):
        jsonschema.validate(values, schema)
