"""Models that learn from a larger run: soft labels, losses, batches, resuming, and what is refused."""

import itertools
from functools import partial
from pathlib import Path

import cats
import numpy as np
import pytest
import taggers
import tensorflow as tf
from conftest import CONFIG, overrides
from interrupted import Interrupted, interrupt_after
from presets import write_encoder
from test_starts import TEXT, random_run

from pipelines.commands.export import export
from pipelines.commands.train import train
from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.data.batches import padded, raw_batches
from pipelines.errors import UserError
from pipelines.layers.crf import cross_entropy, forbidding, pair_probabilities, potentials
from pipelines.runs.run import Run
from pipelines.tasks import load_task
from pipelines.teachers import teach
from pipelines.trained_model import build_model, load_run_dataset, load_trained_model


def prepared(config, teacher: Path):
    """The model of a config with the teacher's preprocessor, and the batches and the loss of its training."""
    trained = load_trained_model(Run(teacher))
    model = build_model(config, trained.task, trained.preprocessor)
    plain = next(iter(trained.task.losses.values()))
    loss = plain(**{name: value for name, value in config.loss.items() if name != "name"})
    train = load_run_dataset(config).train
    make = partial(trained.task.batches, seed=config.seed, **config.batches)
    given = (config.distill, trained.task, model, trained.preprocessor, trained.preprocessor, train, loss, make)
    batches, distilled = teach(*given)
    return trained, model, train, batches, loss, distilled


@pytest.mark.slow
def test_a_linear_model_learns_the_prices_of_its_teacher(csv, tmp_path):
    _, teacher = train(CONFIG, overrides(csv, "training.epochs=16", "optimizer.learning_rate=0.02"), tmp_path / "big")
    finished_run = teacher.folder
    settings = [*overrides(csv), "model=linear_regression", "models.linear_regression.l2=0.0", "loss.delta=1.0"]
    taught = [*settings, f"distill={{teacher: {finished_run}, weight: 1.0}}", "training.epochs=20"]
    trained, run = train(CONFIG, [*taught, "optimizer.learning_rate=0.05"], tmp_path / "run")
    examples = load_run_dataset(trained.config).train
    own = trained.answerer.answer_table(examples)["price"]
    theirs = load_trained_model(Run(finished_run)).answerer.answer_table(examples)["price"]
    assert np.corrcoef(own, theirs)[0, 1] > 0.9
    assert run.data()["teacher"] == {"run": str(finished_run), "fingerprint": Run(finished_run).fingerprint()}
    plain, other = train(CONFIG, [*settings, "training.epochs=1"], tmp_path / "plain")
    assert len(trained.model.variables) == len(plain.model.variables)
    sizes = []
    for each, name in ((run, "taught"), (other, "plain")):
        version, _ = export(each.folder, tmp_path / name)
        sizes.append((version / "variables/variables.data-00000-of-00001").stat().st_size)
    assert sizes[0] == sizes[1]
    assert f"learned from the answers of the run `{finished_run}`" in (tmp_path / "taught/1/model_card.md").read_text()


@pytest.mark.slow
def test_a_taught_run_resumes_as_if_it_had_not_been_interrupted(csv, finished_run, tmp_path, monkeypatch):
    settings = overrides(csv, f"distill={{teacher: {finished_run}, temperature: 3.0}}", "models.mlp.units=[4]")
    _, whole = train(CONFIG, settings, tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, settings, tmp_path / "parts")
    _, parts = train(CONFIG, settings, tmp_path / "parts", resume=True)
    assert parts.metrics() == whole.metrics()
    with pytest.raises(UserError, match=r"was started with different values of: distill\.weight"):
        train(CONFIG, [*settings, "distill.weight=0.1"], tmp_path / "parts", resume=True)


@pytest.mark.parametrize("positive", ["[cat]", "[]"])
def test_images_are_shuffled_mixed_and_augmented_with_their_soft_labels(positive, tmp_path):
    cats.write_images(tmp_path / "images", 40)
    mixed = "preprocessing.augmentation={flip: true, crop: 0.1, zoom: 0, rotate: 0, colour: 0, cutout: 0, mixup: 0.5}"
    settings = cats.overrides(
        tmp_path / "images", "model=logistic_regression", f"data.positive={positive}", "batches.size=full", mixed
    )
    random_run(load_config(cats.CONFIG, settings), tmp_path / "teacher")
    config = load_config(cats.CONFIG, [*settings, f"distill={{teacher: {tmp_path / 'teacher'}, temperature: 2.0}}"])
    trained, model, train, batches, plain, distilled = prepared(config, tmp_path / "teacher")
    model.set_weights([w * 0 for w in model.get_weights()])

    _, labels, _ = next(iter(batches.stream(0)))
    outputs = trained.preprocessor.features.outputs
    assert labels.shape[-1] == 2 * outputs
    plainly = load_task("cat_classifier").batches(train, trained.preprocessor, config.seed, **config.batches)
    inputs, hard, _ = next(iter(plainly.stream(0)))
    np.testing.assert_allclose(labels[:, :outputs], hard)
    # The mean of the soft labels is not changed by shuffling; mixing weighs it anew, as that of the labels.
    whole = trained.model(padded(trained.preprocessor.example(next(iter(raw_batches(train))), False))[0])
    soft = tf.sigmoid(whole / 2) if outputs == 1 else tf.nn.softmax(whole / 2)
    assert np.all(labels[:, outputs:].numpy().max(0) <= soft.numpy().max(0) + 1e-6)

    scores = model(inputs, training=False)
    classes = max(2, outputs)
    q = labels[:, outputs:].numpy()
    q = np.concatenate([q, 1 - q], 1) if outputs == 1 else q
    expected = 0.5 * plain.call(hard, scores) + 0.5 * 4 * np.sum(q * (np.log(q) + np.log(classes)), axis=1)
    np.testing.assert_allclose(distilled.call(labels, scores), expected, rtol=1e-4)
    np.testing.assert_allclose(distilled.call(hard, scores), plain.call(hard, scores))  # as in validation


ALLOWED = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]], bool)  # O, B, I; I only after B or I


def test_the_divergence_of_two_chains_is_that_of_all_their_sequences():
    random = np.random.default_rng(0)
    mask = tf.constant([[True, True, True, False]])
    chains = [
        potentials(
            tf.constant(random.normal(size=(1, 4, 3)), tf.float32),
            mask,
            tf.constant(random.normal(size=(4, 3)), tf.float32) + forbidding(ALLOWED),
        )
        for _ in range(2)
    ]
    paths = list(itertools.product(range(3), repeat=3))
    logs = []
    for chain in chains:
        scores = [sum(chain[0, t, ([0, *path])[t], tag] for t, tag in enumerate(path)) for path in paths]
        logs.append(tf.nn.log_softmax(tf.stack(scores)).numpy())
    p, q = np.exp(logs[0]), logs[1]
    own = tf.Variable(chains[1])
    with tf.GradientTape() as tape:
        found = cross_entropy(own, pair_probabilities(chains[0]))
    assert found.numpy()[0] == pytest.approx(-np.sum(p * q), abs=1e-4)
    expected = pair_probabilities(chains[1]) - pair_probabilities(chains[0])
    np.testing.assert_allclose(tape.gradient(found, own), expected, atol=1e-5)


@pytest.mark.parametrize(("theirs", "crf"), [(True, False), (False, True)])
def test_a_tagger_that_equals_its_teacher_has_nothing_to_learn_from_it(theirs, crf, conll, tmp_path):
    settings = taggers.overrides(conll)
    random_run(load_config(taggers.CONFIG, [*settings, f"models.lstm.crf={theirs}".lower()]), tmp_path / "teacher")
    distill = f"distill={{teacher: {tmp_path / 'teacher'}, temperature: 2.0, weight: 1.0}}"
    config = load_config(taggers.CONFIG, [*settings, distill, f"models.lstm.crf={crf}".lower()])
    trained, model, _, batches, plain, distilled = prepared(config, tmp_path / "teacher")
    inputs, labels, weights = next(iter(batches.stream(0)))
    assert labels.shape[-1] == 1 + len(trained.preprocessor.tags)
    if theirs == crf:
        model.set_weights(trained.model.get_weights())
        found = distilled(labels, trained.model(inputs, training=False), weights)
        # Without a CRF the teacher is more certain: it knows that some sequences are invalid.
        assert abs(float(found)) < (1e-4 if crf else 1.0)
    with tf.GradientTape() as tape:
        loss = distilled(labels, model(inputs, training=False), weights)
    gradients = [each for each in tape.gradient(loss, model.trainable_weights) if each is not None]
    assert all(np.isfinite(tf.convert_to_tensor(each)).all() for each in gradients)
    hard = tf.cast(labels[..., 0], tf.int32)
    assert float(distilled(hard, model(inputs), weights)) == pytest.approx(float(plain(hard, model(inputs), weights)))


@pytest.mark.slow
def test_a_window_model_learns_from_a_tagger(conll, finished_tagger, tmp_path):
    small = ["model=window", "models.window.crf=true", "models.window.units=[16]", "training.epochs=6"]
    settings = taggers.overrides(conll, *small, f"distill={{teacher: {finished_tagger}, weight: 1.0}}")
    trained, run = train(taggers.CONFIG, settings, tmp_path / "run")
    losses = run.history()["loss"]
    assert losses.iloc[-1] < losses.iloc[0] / 2
    examples = load_run_dataset(trained.config).train
    theirs = load_trained_model(Run(finished_tagger)).answerer.answer_table(examples)["tags"]
    own = trained.answerer.answer_table(examples)["tags"]
    assert np.mean((own == theirs)[theirs != b""]) > 0.8


def texts(folder: Path, *settings: str) -> list[str]:
    (folder / "a.txt").write_text("The cat sat on the mat. The dog ran to the cat. A man saw the dog.\n" * 60)
    data = f"data={{source: files, root: '{folder}', path: a.txt, encoding: utf-8}}"
    return [*TEXT, data, f"preprocessing.token_folder={folder / 'tokens'}", *settings]


XLA = "training.execution={jit_compile: true, steps_per_execution: 1}"


def gru(units: int, counts: int = 0) -> str:
    return f"models.gru={{width: 8, units: {units}, layers: 1, dropout: 0, counts: {counts}}}"


@pytest.mark.slow
def test_a_language_model_learns_from_a_larger_one(tmp_path):
    settings = texts(tmp_path, "model=gru", "preprocessing.level=word", "training.epochs=2", "batches.steps=40")
    path = shipped_config("language_model")
    _, teacher = train(path, [*settings, gru(16)], tmp_path / "teacher")
    distill = f"distill={{teacher: {teacher.folder}, weight: 1.0}}"
    trained, run = train(path, [*settings, gru(8), distill, XLA], tmp_path / "run")
    losses = run.history()["loss"]
    assert 0 < losses.iloc[-1] < losses.iloc[0]
    assert len(trained.model.weights) == len(load_trained_model(run).model.weights)
    for other, problem in (
        ("preprocessing.level=character", "it has other tokens"),
        ("preprocessing.context=32", None),
        (gru(8, counts=2), "has counts of n-grams, which cannot be distilled"),
    ):
        again = partial(train, path, [*settings, gru(8), distill, other], tmp_path / f"other {other[-4:-1]}")
        if problem is None:
            again()
            continue
        with pytest.raises(UserError, match=problem):
            again()


@pytest.mark.slow
def test_a_translator_learns_from_a_larger_one(tmp_path):
    pairs = [("a dog runs", "ein Hund rennt"), ("a cat sits", "eine Katze sitzt"), ("the man sees", "der Mann sieht")]
    (tmp_path / "a.tsv").write_text("\n".join("\t".join((s, f"{t} {i}")) for i in range(20) for s, t in pairs))
    data = f"data={{source: files, root: '{tmp_path}', path: a.tsv, from_language: en, to_language: de,"
    data += " most_characters: 100, most_ratio: 9.0}"
    sizes = ["width=8", "heads=2", "feed_forward_units=8", "encoder_layers=1", "decoder_layers=1", "dropout=0.0"]
    settings = [
        data,
        "preprocessing.level=word",
        "model=transformer",
        *(f"models.transformer.{each}" for each in sizes),
    ]
    settings += ["batches.tokens=64", "training.epochs=2"]
    path = shipped_config("translator")
    random_run(load_config(path, [*settings, "models.transformer.width=16"]), tmp_path / "teacher")
    distill = f"distill={{teacher: {tmp_path / 'teacher'}, weight: 1.0}}"
    _, run = train(path, [*settings, distill, "optimizer.learning_rate=0.01"], tmp_path / "run")
    losses = run.history()["loss"]
    assert 0 < losses.iloc[-1] < losses.iloc[0]


@pytest.mark.parametrize(
    ("distill", "problem"),
    [
        ("{teacher: nowhere}", "distill.teacher: nowhere: no such folder"),
        ("{teacher: TAGGER}", "is a run of the task entity_tagger, not house_prices"),
        ("{temperature: 2.0}", "distill.teacher: required setting is missing"),
        ("{teacher: TAGGER, weight: 2}", "distill.weight: should be less than or equal to 1"),
        ("{teacher: TAGGER, wait: 2}", "unknown setting; did you mean 'weight'?"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_in_one_line(distill, problem, csv, finished_tagger, tmp_path):
    with pytest.raises(UserError) as caught:
        train(CONFIG, overrides(csv, f"distill={distill}".replace("TAGGER", str(finished_tagger))), tmp_path / "run")
    assert problem in str(caught.value)


def test_a_teacher_of_other_tags_or_columns_is_refused(csv, conll, finished_run, finished_tagger, tmp_path):
    (tmp_path / "more.conll").write_text(conll.read_text() + "\n" + "ACME\tB-ORG\n.\tO\n\n" * 30)
    settings = taggers.overrides(tmp_path / "more.conll", f"distill.teacher={finished_tagger}")
    with pytest.raises(UserError, match="its entity types are LOC, PER, and those of train LOC, ORG, PER"):
        train(taggers.CONFIG, settings, tmp_path / "run")
    with pytest.raises(UserError, match="the data lacks columns that the teacher needs: age"):
        train(CONFIG, overrides(csv, "data.ignore=[age]", f"distill.teacher={finished_run}"), tmp_path / "b")


@pytest.mark.slow
def test_a_bilstm_learns_from_a_pretrained_encoder(conll, tmp_path):
    preset = write_encoder(tmp_path / "preset", "Bert", ["Mr", "Ms", "lives", "in", "Ann", "Bob", "Rome", "Oslo"])
    pretrained = ["model=pretrained", f"models.pretrained.preset={preset}"]
    random_run(load_config(taggers.CONFIG, taggers.overrides(conll, *pretrained)), tmp_path / "teacher")
    settings = taggers.overrides(conll, f"distill.teacher={tmp_path / 'teacher'}", "training.epochs=2")
    trained, run = train(taggers.CONFIG, settings, tmp_path / "run")
    assert run.history()["loss"].is_monotonic_decreasing and "pieces" not in trained.model.input
