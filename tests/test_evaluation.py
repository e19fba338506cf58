"""Answers to a table, and the loss of a split."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import CONFIG, overrides

from pipelines.config.load import load_config
from pipelines.data.batches import EVALUATION_BATCH, padded, tensors
from pipelines.evaluation import Answerer, Evaluator, answer_table
from pipelines.fit import adapt_preprocessor
from pipelines.tasks import load_task
from pipelines.trained_model import build_model, load_run_dataset


def test_rows_of_about_the_same_length_are_answered_together_and_come_back_in_their_own_order():
    lengths = np.random.default_rng(0).integers(1, 400, 3 * EVALUATION_BATCH + 7)
    rows = pd.DataFrame({"words": [["w"] * length for length in lengths], "number": range(len(lengths))})
    spreads = []

    def count(raw):
        own = tf.reduce_sum(tf.cast(raw["words"] != b"", tf.int32), axis=1)
        spreads.append(int(tf.reduce_max(own) - tf.reduce_min(own)))
        return {"count": own, "number": raw["number"]}

    answers = answer_table(count, rows)
    np.testing.assert_array_equal(answers["count"], lengths)
    np.testing.assert_array_equal(answers["number"], rows["number"])
    assert len(spreads) == 4
    assert max(spreads) < 200  # of 400, where rows in their own order give nearly all


def test_texts_count_by_their_letters_and_numbers_not_at_all():
    seen = []

    def echo(raw):
        seen.extend(raw["text"].numpy())
        return raw

    rows = pd.DataFrame({"text": ["ab", "a", "abc"], "number": [3.0, 2.0, 1.0]})
    np.testing.assert_array_equal(answer_table(echo, rows)["number"], rows["number"])
    assert seen == [b"abc", b"ab", b"a"]


def test_the_validation_loss_is_that_of_all_examples_at_once_however_they_are_batched(csv, monkeypatch):
    monkeypatch.setattr("pipelines.data.batches.EVALUATION_BATCH", 9)  # of 24 examples: 9, 9 and 6
    config = load_config(CONFIG, overrides(csv, "model=linear_regression"))
    task, dataset = load_task(config.task), load_run_dataset(config)
    preprocessor = adapt_preprocessor(config, dataset)
    model = build_model(config, task, preprocessor)
    model.compile(loss=keras.losses.MeanSquaredError())
    serve = Answerer(task.endpoints(model, preprocessor)["serve"])
    evaluator = Evaluator(task, preprocessor, preprocessor, dataset.train, dataset.validation, False, serve)
    assert [len(labels) for _, labels, _ in evaluator.batches] == [9, 9, 6]
    inputs, labels, _ = padded(preprocessor.example(tensors(dataset.validation), training=False))
    errors = np.mean((model(inputs) - labels) ** 2, axis=1)
    batches = [errors[:9], errors[9:18], errors[18:]]
    assert np.mean([batch.mean() for batch in batches]) != pytest.approx(errors.mean(), rel=1e-3)
    regularization = float(sum(model.losses))
    assert evaluator.validate(model)["loss"] == pytest.approx(errors.mean() + regularization, rel=1e-5)
