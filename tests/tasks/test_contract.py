"""What every task promises: its preprocessor fits its models, its state survives, its answers score."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from presets import TINY

from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.data import load_dataset
from pipelines.data.batches import padded, tensors
from pipelines.evaluation import Answerer
from pipelines.task import Endpoint
from pipelines.tasks import TASKS, load_task
from pipelines.trained_model import build_model, make_preprocessor
from pipelines.training.pretrained import load_pretrained_weights


@pytest.fixture(scope="module", params=TASKS)
def prepared(request):
    """A task with its shipped config, its embedded data, and its preprocessor adapted to a part of it."""
    config = load_config(shipped_config(request.param))
    task = load_task(request.param)
    dataset = load_dataset(config.data, config.split, task)
    preprocessor = task.preprocessor(**config.preprocessing)
    preprocessor.adapt(dataset.train.head(200))
    return task, dataset, preprocessor


@pytest.fixture(scope="module")
def with_model(prepared, tmp_path_factory):
    """Return a function from a model's name to its config and preprocessor; a preset is a tiny one."""
    task, dataset, without_preset = prepared

    def with_model(rung: str | None):
        settings = [f"model={rung}"] if rung else []
        config = load_config(shipped_config(name_of(task)), settings)
        if task.preset_kind is None or "preset" not in config.models[config.model]:
            return config, without_preset
        preset = TINY[task.preset_kind](tmp_path_factory.mktemp("presets") / "tiny")
        config = load_config(shipped_config(name_of(task)), [*settings, f"models.{config.model}.preset={preset}"])
        preprocessor = make_preprocessor(config, task)
        preprocessor.adapt(dataset.train.head(200))
        return config, preprocessor

    return with_model


def answer_and_score(prepared, config, preprocessor) -> None:
    task, dataset, _ = prepared
    model = build_model(config, task, preprocessor)
    load_pretrained_weights(model)
    endpoint = Endpoint(partial(task.answer_raw, model, preprocessor), preprocessor.signature)
    few = dataset.validation.head(50)
    answers = Answerer(endpoint).answer_table(few)
    scores = task.compute_metrics(few, answers)
    assert set(scores) >= set(task.metrics)
    assert all(np.isfinite(score) for score in scores.values())
    assert len(task.predictions(few, answers)) == len(few)
    found = {name: each for name in task.metrics if (each := task.metric_sums(name, few, answers))}
    from_sums = {name: float(of_sums(sums.sum(axis=0))) for name, (sums, of_sums) in found.items()}
    assert len(from_sums) > 1 and from_sums == pytest.approx({name: scores[name] for name in from_sums})


def name_of(task) -> str:
    return next(name for name in TASKS if load_task(name) is task)


def test_the_model_of_the_config_answers_and_scores(prepared, with_model):
    answer_and_score(prepared, *with_model(None))


@pytest.mark.slow
def test_every_model_answers_and_scores(prepared, with_model, subtests):
    for rung in prepared[0].models:
        with subtests.test(rung):
            answer_and_score(prepared, *with_model(rung))


def test_every_model_of_the_ladder_is_built(prepared, with_model):
    task, *_ = prepared
    for rung in task.models:
        config, preprocessor = with_model(rung)
        model = build_model(config, task, preprocessor)
        assert isinstance(model, keras.Model)


def test_every_task_has_a_trivial_answer_whose_scores_are_numbers(prepared):
    task, dataset, preprocessor = prepared
    scores = task.baseline_metrics(preprocessor, dataset.train.head(200), dataset.validation.head(50))
    assert scores and set(scores) & set(task.metrics)
    assert all(np.isfinite(score) for score in scores.values())


def test_the_embedded_data_is_the_same_every_time(prepared):
    task, dataset, _ = prepared
    config = load_config(shipped_config(name_of(task)))
    again = load_dataset(config.data, config.split, task)
    assert again.record == dataset.record
    assert not any(again.record["duplicates_across_splits"].values())


def test_a_restored_preprocessor_does_the_same(prepared, tmp_path):
    task, dataset, preprocessor = prepared
    np.savez(tmp_path / "state.npz", **preprocessor.state)
    config = load_config(shipped_config(name_of(task)))
    restored = task.preprocessor(**config.preprocessing)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        restored.restore(dict(state))
    raw = tensors(dataset.test[list(preprocessor.signature)].head(50))
    for name, tensor in padded(preprocessor.inputs(raw)).items():
        np.testing.assert_array_equal(tensor, padded(restored.inputs(raw)[name]))


def test_models_have_the_inputs_that_the_preprocessor_gives(prepared):
    task, dataset, preprocessor = prepared
    config = load_config(shipped_config(name_of(task)))
    inputs, labels, weights = padded(preprocessor.example(tensors(dataset.train.head(8)), training=True))
    model = build_model(config, task, preprocessor)
    assert isinstance(model, keras.Model)
    assert set(inputs) == set(model.input)
    for name, tensor in inputs.items():
        assert tf.TensorShape(model.input[name].shape).is_compatible_with(tensor.shape), name
    assert len(labels) == len(weights) == 8


def test_every_task_says_what_its_models_cannot_do(prepared):
    task, *_ = prepared
    lines = task.limits.splitlines()
    assert len(lines) >= 3 and all(line.startswith("- ") and line.endswith(".") for line in lines)
