"""Training that starts from a finished run: what is taken over, what grows, what is refused, and resuming."""

import json
from pathlib import Path

import cats
import numpy as np
import pandas as pd
import pytest
import taggers
from conftest import CONFIG, houses, overrides
from interrupted import Interrupted, interrupt_after
from presets import write_encoder
from tiny import TRACED_ONCE

from pipelines.commands.train import train
from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.data.batches import padded, raw_batches
from pipelines.errors import UserError
from pipelines.fit import adapt_preprocessor, load_initial_weights
from pipelines.runs.run import Run
from pipelines.tasks import load_task
from pipelines.trained_model import build_model, load_run_dataset, load_trained_model
from pipelines.tuning.trials import run_trial


def random_run(config, folder: Path):
    """A finished run with the random weights that training begins with."""
    dataset = load_run_dataset(config)
    preprocessor = adapt_preprocessor(config, dataset)
    model = build_model(config, load_task(config.task), preprocessor)
    load_initial_weights(config, model)
    run = Run(folder)
    run.start(config.to_yaml(), dataset.record, [], {}, {})
    run.save_model(model, preprocessor.state)
    run.finish({}, {}, [], config.to_yaml())
    return dataset.train


def outputs(model, preprocessor, examples: pd.DataFrame) -> np.ndarray:
    inputs, _, _ = padded(preprocessor.example(next(iter(raw_batches(examples))), training=False))
    return model(inputs, training=False).numpy()


def compared(path, settings: list[str], folder: Path, known: pd.DataFrame):
    """Return outputs for the same examples of a run's model and of one that starts from it, and its preprocessor."""
    config = load_config(path, [*settings, f"start={folder}", "seed=1"])
    preprocessor = adapt_preprocessor(config, load_run_dataset(config))
    model = build_model(config, load_task(config.task), preprocessor)
    load_initial_weights(config, model)
    old = load_trained_model(Run(folder))
    return outputs(old.model, old.preprocessor, known), outputs(model, preprocessor, known), preprocessor


def grown(path, settings: list[str], more: list[str], folder: Path):
    """Do the same with a new run, and more data for the model that starts from it."""
    known = random_run(load_config(path, settings), folder).head(8)
    return compared(path, [*settings, *more], folder, known)


def more_houses(folder: Path, highest: float = 1_000_000) -> str:
    """Write houses with a new district, a gap in a column without one, and a wider range of prices."""
    table = houses(200, seed=1)
    table.loc[::4, "district"] = "harbour"
    table.loc[::5, "Area (m2)"] = np.nan
    table.loc[0, "price"] = highest
    table.to_csv(folder / "more.csv", index=False)
    return overrides(folder / "more.csv")[0]


@pytest.mark.parametrize(
    ("model", "adapters"),
    [("linear_regression", "own"), ("mlp", "own"), ("mlp_ple", "own"), *(("tabm", a) for a in ("own", "all"))],
)
def test_a_house_of_known_categories_keeps_its_price(model, adapters, csv, tmp_path):
    settings = overrides(csv, f"model={model}", f"models.tabm.adapters={adapters}", "models.mlp_ple.embedding_width=1")
    before, after, preprocessor = grown(CONFIG, settings, [more_houses(tmp_path, 1e7)], tmp_path / "run")
    np.testing.assert_allclose(before, after, atol=1e-5)
    added = set(preprocessor.added["categories"])
    assert added == {"district=harbour", "Area _m2_="} or added
    assert preprocessor.price(np.float32(1e9)).numpy() == pytest.approx(1e7, rel=1e-3)


@pytest.mark.parametrize("model", ["logistic_regression", "resnet"])
def test_known_classes_keep_their_logits(model, tmp_path):
    cats.write_images(tmp_path / "images", 60)
    settings = cats.overrides(tmp_path / "images", f"model={model}", "data.positive=[]")
    kinds = sorted(folder.name for folder in (tmp_path / "images").iterdir())
    new = tmp_path / "images" / kinds[0]
    new.rename(tmp_path / "later")
    known = random_run(load_config(cats.CONFIG, settings), tmp_path / "run").head(8)
    (tmp_path / "later").rename(new)
    before, after, preprocessor = compared(cats.CONFIG, settings, tmp_path / "run", known)
    assert preprocessor.classes == [*kinds[1:], kinds[0]]  # the new class comes last
    np.testing.assert_allclose(before, after[:, : len(kinds) - 1], atol=1e-5)


def test_a_class_and_its_opposite_do_not_become_three(tmp_path):
    cats.write_images(tmp_path / "images", 60)
    settings = cats.overrides(tmp_path / "images", "model=logistic_regression")
    random_run(load_config(cats.CONFIG, settings), tmp_path / "run")
    config = load_config(cats.CONFIG, [*settings, "data.positive=[]", f"start={tmp_path / 'run'}"])
    with pytest.raises(UserError, match="start: the run tells only 'cat' from all else, but train has also"):
        adapt_preprocessor(config, load_run_dataset(config))


@pytest.mark.parametrize(
    "settings",
    [
        ["model=lstm", "models.lstm.affix_width=2"],
        ["model=lstm", "models.lstm.crf=false", "models.lstm.characters=lstm"],
        ["model=window", "models.window.encoding=one_hot", "models.window.crf=true", "models.window.units=[6]"],
        ["model=transformer"],
    ],
)
def test_known_words_keep_the_scores_of_known_tags(settings, conll, tmp_path):
    more = "Zoë\tB-PER\nvisits\tO\nACME\tB-ORG\nInc\tI-ORG\n.\tO\n\n" * 40
    (tmp_path / "more.conll").write_text(conll.read_text() + "\n" + more)
    settings = taggers.overrides(conll, *settings)
    before, after, preprocessor = grown(
        taggers.CONFIG, settings, taggers.overrides(tmp_path / "more.conll")[:1], tmp_path / "run"
    )
    assert preprocessor.added["entity types"] == ["ORG"] and "acme" in preprocessor.added["words"]
    tags = before.shape[-1]
    assert after.shape[-1] == tags + 2
    np.testing.assert_allclose(before, after[(..., *[slice(tags)] * (before.ndim - 2))], atol=1e-4)


def test_a_pretrained_tagger_goes_on_without_its_preset(conll, tmp_path):
    more = "ACME\tB-ORG\n.\tO\n\n" * 40
    (tmp_path / "more.conll").write_text(conll.read_text() + "\n" + more)
    preset = write_encoder(tmp_path / "preset", "Bert", ["Mr", "Ms", "lives", "in", "Ann", "Bob", "Rome", "Oslo"])
    settings = taggers.overrides(conll, "model=pretrained", f"models.pretrained.preset={preset}")
    known = random_run(load_config(taggers.CONFIG, settings), tmp_path / "run").head(8)
    preset.rename(tmp_path / "gone")
    settings += taggers.overrides(tmp_path / "more.conll")[:1]
    before, after, _ = compared(taggers.CONFIG, settings, tmp_path / "run", known)
    np.testing.assert_allclose(before, after[..., : before.shape[-1]], atol=1e-4)


TEXT = ["preprocessing.context=16", "batches.size=4", "batches.steps=2", "training.epochs=1", TRACED_ONCE]


@pytest.mark.parametrize(
    "settings",
    [
        ["model=gru", "preprocessing.level=word", "models.gru={width: 8, units: 8, layers: 1, dropout: 0, counts: 0}"],
        ["model=gru", "preprocessing.level=word", "models.gru={width: 8, units: 6, layers: 1, dropout: 0, counts: 2}"],
        [
            "model=transformer",
            "preprocessing.level=subword",
            "preprocessing.vocabulary=60",
            "models.transformer.positions=rotary",
            "models.transformer.width=16",
            "models.transformer.layers=1",
        ],
    ],
)
def test_known_tokens_keep_their_scores(settings, tmp_path):
    (tmp_path / "a.txt").write_text("The cat sat on the mat. The dog ran to the cat. A man saw the dog.\n" * 60)
    (tmp_path / "b.txt").write_text("The cat sat on the xylophone. The dog ran.\n" * 90)
    data = f"data={{source: files, root: '{tmp_path}', path: FILE, encoding: utf-8}}"
    settings = [*TEXT, *settings, f"preprocessing.token_folder={tmp_path / 'tokens'}"]
    path = shipped_config("language_model")
    before, after, preprocessor = grown(
        path, [*settings, data.replace("FILE", "a.txt")], [data.replace("FILE", "b.txt")], tmp_path / "run"
    )
    assert preprocessor.added["tokens"] == ([" xylophone"] if "preprocessing.level=word" in settings else [])
    np.testing.assert_allclose(before, after[..., : before.shape[-1]], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["seq2seq", "transformer"])
def test_a_translator_keeps_its_hidden_states(model, tmp_path):
    pairs = [("a dog runs", "ein Hund rennt"), ("a cat sits", "eine Katze sitzt"), ("the man sees", "der Mann sieht")]
    for name, rows in (("a", pairs), ("b", [*pairs, ("a bird sings", "ein Vogel singt")])):
        (tmp_path / f"{name}.tsv").write_text("\n".join("\t".join((s, f"{t} {i}")) for i in range(10) for s, t in rows))
    data = (
        f"data={{source: files, root: '{tmp_path}', path: FILE, from_language: en, to_language: de, most_characters:"
        " 100, most_ratio: 9.0}"
    )
    settings = ["preprocessing.level=word", "preprocessing.shared=false", f"model={model}"]
    path = shipped_config("translator")
    before, after, preprocessor = grown(
        path, [*settings, data.replace("FILE", "a.tsv")], [data.replace("FILE", "b.tsv")], tmp_path / "run"
    )
    assert set(preprocessor.added["source tokens"]) == {" bird", " sings"}
    np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.mark.slow
def test_a_started_run_resumes_and_records_where_it_came_from(csv, finished_run, tmp_path, monkeypatch):
    settings = [*overrides(csv), more_houses(tmp_path), f"start={finished_run}", "optimizer.learning_rate=1.0e-4"]
    lines = []
    _, whole = train(CONFIG, settings, tmp_path / "whole", show=lambda summary: lines.extend(summary.lines()))
    assert f"start     {finished_run}; 2 new categories: district=harbour" in "\n".join(lines)
    assert whole.data()["start"] == {"run": str(finished_run), "fingerprint": Run(finished_run).fingerprint()}
    assert load_config(whole.config).start == str(finished_run)
    assert whole.history()["validation.rmse"][0] < 1.2 * Run(finished_run).best_epoch()["validation.rmse"]

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, settings, tmp_path / "parts")
    _, parts = train(CONFIG, settings, tmp_path / "parts", resume=True)
    assert parts.metrics() == whole.metrics()
    with pytest.raises(UserError, match="was started with different values of: start"):
        train(CONFIG, [*settings, "start=null"], tmp_path / "parts", resume=True)


@pytest.mark.slow
def test_a_resumed_run_notices_that_its_start_has_changed(csv, tmp_path):
    random_run(load_config(CONFIG, overrides(csv)), tmp_path / "a")
    settings = overrides(csv, f"start={tmp_path / 'a'}", "training.epochs=1")
    train(CONFIG, settings, tmp_path / "b")
    (tmp_path / "b/metrics.json").unlink()
    state = Run(tmp_path / "a").preprocessor_state()
    Run(tmp_path / "a").save_model(load_trained_model(Run(tmp_path / "b")).model, state)
    with pytest.raises(UserError, match="has changed since this run was started"):
        train(CONFIG, settings, tmp_path / "b", resume=True)


def test_a_trial_of_a_search_starts_from_a_run(csv, finished_run, tmp_path):
    config = load_config(CONFIG, overrides(csv, f"start={finished_run}", "training.epochs=1"))
    (tmp_path / "trial.yaml").write_text(config.to_yaml())
    outcome = run_trial(tmp_path / "trial.yaml", tmp_path / "trial", None, None)
    assert outcome.reason is None
    assert json.loads((tmp_path / "trial/data.json").read_text())["start"]["run"] == str(finished_run)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["start=nowhere"], "start: nowhere: no such folder; `train` creates one"),
        (["model=tabm"], "is a run of the model mlp, not tabm"),
        (["models.mlp.units=[9]"], "which its weights depend on: models.mlp.units is [8] there and [9] here"),
        (["preprocessing.numeric_limit=9.0"], "preprocessing.numeric_limit is 2.5 there and 9.0 here"),
        (["data.numeric=[]", "data.ignore=[age]"], "the columns are not those of the run: 'age' is missing here"),
        (["data.categorical=[age]"], "'age' has numbers there and texts here"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_in_one_line(settings, problem, csv, finished_run, tmp_path):
    with pytest.raises(UserError) as caught:
        train(CONFIG, overrides(csv, f"start={finished_run}", *settings), tmp_path / "run")
    assert problem in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_and_one_of_another_task_are_refused(csv, conll, finished_run, tmp_path):
    Run(tmp_path / "a").start(load_config(CONFIG, overrides(csv)).to_yaml(), {}, [], {}, {})
    with pytest.raises(UserError, match="this run is not finished; continue with"):
        train(CONFIG, overrides(csv, f"start={tmp_path / 'a'}"), tmp_path / "b")
    with pytest.raises(UserError, match="is a run of the task house_prices, not entity_tagger"):
        train(taggers.CONFIG, taggers.overrides(conll, f"start={finished_run}"), tmp_path / "b")


def test_training_settings_may_differ_from_those_of_the_run(csv, finished_run, tmp_path):
    more = ["models.mlp.dropout=0.0", "models.mlp.l2=0.1", "loss={name: squared_error}", "preprocessing.min_count=1"]
    train(CONFIG, overrides(csv, f"start={finished_run}", *more, "training.epochs=1"), tmp_path / "run")
