"""Short configs: what they leave out, and those that are guessed from data."""

import pytest
from cats import write_images
from conftest import CONFIG, houses, invoke
from taggers import write_conll

from pipelines.config.load import load_config
from pipelines.config.read import read_config
from pipelines.config.tune_nodes import tune_nodes
from pipelines.errors import UserError
from pipelines.tasks import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_a_minimal_config_is_a_dozen_lines_and_checks(task, tmp_path):
    printed = invoke("config", task, "--minimal")
    assert printed.exit_code == 0 and len(printed.stdout.splitlines()) <= 14
    path = tmp_path / "minimal.yaml"
    path.write_text(printed.stdout)
    config, shipped = load_config(path), load_config(task)
    for section in ("split", "preprocessing", "batches", "models", "loss", "optimizer", "schedule", "training"):
        assert config.whole[section] == shipped.whole[section], section
    assert (config.model, config.seed, config.data["source"]) == (shipped.model, shipped.seed, "files")


def written(tmp_path, text: str):
    path = tmp_path / "short.yaml"
    path.write_text(text)
    return path


def test_a_section_left_out_keeps_its_tune_nodes_and_a_setting_left_out_its_default(tmp_path):
    text = "task: house_prices\noptimizer: {learning_rate: 0.1}\nmodels: {mlp: {units: [8]}}\nmodel: mlp\n"
    path = written(tmp_path, text)
    assert "batches.size" in tune_nodes(read_config(path))
    config, shipped = load_config(path), load_config("house_prices")
    assert config.optimizer == {**shipped.optimizer, "learning_rate": 0.1}
    assert config.models["mlp"] == {**shipped.models["mlp"], "units": [8]}
    written_again = written(tmp_path, config.to_yaml())
    assert load_config(written_again).values == config.values, "the config of a run is whole"


def test_a_setting_of_another_choice_is_not_filled(tmp_path):
    path = written(tmp_path, "task: house_prices\noptimizer: {name: momentum}\n")
    with pytest.raises(UserError, match=r"optimizer\.learning_rate: required setting is missing"):
        load_config(path)


def test_an_unknown_section_and_setting_are_still_found(tmp_path):
    path = written(tmp_path, "task: house_prices\nbacthes: {size: 3}\ntraining: {epoch: 3}\n")
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert f"{path}:2: bacthes: unknown setting; did you mean 'batches'?" in str(caught.value)
    assert f"{path}:3: training.epoch: unknown setting; did you mean 'epochs'?" in str(caught.value)


LINES = "the house is very big\tla maison est bien grande\n" * 30
NOVEL = "It was a dark and stormy night; the rain fell.\n" * 50
DATA = {
    "houses.csv": (lambda p: houses(30).to_csv(p, index=False), "house_prices", "target: price   # guess: its name"),
    "no_name.csv": (
        lambda p: houses(30).rename(columns={"price": "z"}).to_csv(p, index=False),
        "house_prices",
        "target: z   # guess: the last column of numbers; other columns of numbers: Area (m2), age",
    ),
    "houses.parquet": (lambda p: houses(30).astype(str).to_parquet(p), "house_prices", "target: price"),
    "names.conll": (write_conll, "entity_tagger", "path: names.conll"),
    "names.txt": (write_conll, "entity_tagger", "a column of tags"),
    "words.csv": (
        lambda p: p.write_text("Sentence #,Word,Tag\n" + "1,Ann,B-PER\n,ran,O\n" * 30), "entity_tagger", "words.csv",
    ),
    "spans.jsonl": (
        lambda p: p.write_text('{"text": "Ann", "entities": [[0, 3, "PER"]]}\n'), "entity_tagger", "spans.jsonl",
    ),
    "pairs.tsv": (lambda p: p.write_text("en\tfr\n" + LINES), "translator", "to_language: fr"),
    "pairs.txt": (lambda p: p.write_text(LINES), "translator", "path: pairs.txt"),
    "pairs.jsonl": (lambda p: p.write_text('{"translation": {"sv": "a", "fi": "b"}}'), "translator", "_language: fi"),
    "ragged.csv": (lambda p: p.write_text("a,price\n1,2\n3\n4,5\n"), "house_prices", "target: price"),
    "euros.csv": (
        lambda p: p.write_text("kind;cost\n" + "flat;1.200,50 €\nhouse;2.000 €\n" * 9), "house_prices", "target: cost",
    ),
    "memory.tmx": (lambda p: p.write_text("<tmx/>"), "translator", "a translation memory"),
    "book.txt": (lambda p: p.write_text(NOVEL), "language_model", "path: book.txt"),
    "books": (lambda p: [p.mkdir(), (p / "a.txt").write_text(NOVEL)], "language_model", "a folder of texts"),
    "images": (write_images, "cat_classifier", "a folder of images per class ("),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_data_is_looked_at_and_its_config_checks(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, task, expected = DATA[name]
    write(tmp_path / name)
    printed = invoke("config", "--from", name)
    assert printed.exit_code == 0, printed.output
    assert f"task: {task}   # guess: " in printed.stdout and expected in printed.stdout
    path = written(tmp_path, printed.stdout)
    assert load_config(path).data["path"] == name


@pytest.mark.slow
def test_the_config_for_a_table_trains(csv, tmp_path, monkeypatch):
    monkeypatch.chdir(csv.parent)
    path = written(tmp_path, invoke("config", "--from", csv.name).stdout)
    small = ("--set", "model=linear_regression", "--set", "training.epochs=1")
    result = invoke("train", path, *small, "--run-dir", tmp_path / "r")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--from", "nowhere.csv"], "nowhere.csv: no such file or folder"),
        (["--from", "empty"], "contains no files and no image folders"),
        (["--from", "words.csv"], "has no numeric column to predict"),
        (["house_prices", "--from", "words.csv"], "cannot be combined with a task or a config"),
        (["--minimal", "house_price"], "did you mean 'house_prices'?"),
        (["--minimal", str(CONFIG)], "--minimal: needs a task"),
        ([], "name a task (cat_classifier"),
    ],
)
def test_what_cannot_be_gets_one_line(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.csv").write_text("a,b\nx,y\nz,w\n")
    result = invoke("config", *arguments)
    assert result.exit_code == 1 and expected in result.stderr and len(result.stderr.splitlines()) == 1, result.output
