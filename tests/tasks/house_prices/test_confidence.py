"""Intervals of prices, and what explains a price."""

from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import CONFIG, houses

from pipelines.config.load import load_config
from pipelines.data.batches import tensors
from pipelines.evaluation import Answerer
from pipelines.task import Endpoint
from pipelines.tasks import load_task
from pipelines.tasks.house_prices.explanations import explain, permutation_importance
from pipelines.tasks.house_prices.intervals import fit_intervals, interval_metrics
from pipelines.trained_model import build_model

TASK = load_task("house_prices")


def noisy(count: int, seed: int) -> pd.DataFrame:
    """Houses whose price follows from the area, with noise that is ten times as large in the town."""
    random = np.random.default_rng(seed)
    area, place = random.uniform(50, 150, count), random.choice(["town", "land"], count)
    noise = random.normal(0, np.where(place == "town", 0.5, 0.05))
    return pd.DataFrame({"area": area, "place": place, "price": np.exp(11 + area / 100 + noise)})


def adapted(train: pd.DataFrame):
    config = load_config(CONFIG, ["model=linear_regression"])
    preprocessor = TASK.preprocessor(**config.preprocessing)
    preprocessor.adapt(train)
    return config, preprocessor


@pytest.fixture(scope="module")
def calibrated():
    """A linear regression without training, on houses with more and with less noise."""
    config, preprocessor = adapted(train := noisy(3000, 0))
    keras.utils.set_random_seed(0)
    model = build_model(config, TASK, preprocessor)
    area = train["area"].to_numpy()
    scaled = (area - area.mean()) / area.std()
    (kernel, bias) = model.layers[-1].get_weights()
    kernel[:] = 0
    kernel[0, 0] = np.polyfit(scaled, preprocessor.label(tf.constant(train["price"].to_numpy())).numpy(), 1)[0]
    model.layers[-1].set_weights([kernel, bias])
    plain = answer(model, preprocessor, noisy(200, 2))
    preprocessor.confidence = fit_intervals(model, preprocessor, train, noisy(2000, 1), 0.9, seed=0)
    return model, preprocessor, plain


def answer(model, preprocessor, examples):
    endpoint = Endpoint(partial(TASK.answer_raw, model, preprocessor), preprocessor.signature)
    return Answerer(endpoint).answer_table(examples)


def test_intervals_cover_as_often_as_asked_and_are_wide_where_the_noise_is(calibrated):
    model, preprocessor, _ = calibrated
    test = noisy(4000, 3)
    answers = answer(model, preprocessor, test)
    found = interval_metrics(test["price"].to_numpy(), answers)
    assert found["interval_coverage"] == pytest.approx(0.9, abs=0.02)
    town = (test["place"] == "town").to_numpy()
    width = np.log(answers["price_high"] / answers["price_low"])
    assert np.median(width[town]) > 3 * np.median(width[~town])
    low, high = answers["price_low"], answers["price_high"]
    inside = (test["price"].to_numpy() >= low) & (test["price"].to_numpy() <= high)
    assert all(0.8 < inside[part].mean() < 0.98 for part in (town, ~town))
    assert (low <= answers["price"]).all() and (answers["price"] <= high).all()


def test_intervals_do_not_change_the_price(calibrated):
    model, preprocessor, plain = calibrated
    np.testing.assert_array_equal(answer(model, preprocessor, noisy(200, 2))["price"], plain["price"])
    assert "price_low" not in plain


@pytest.mark.parametrize("rung", ["linear_regression", "mlp", "mlp_ple", "tabm"])
def test_the_contributions_of_the_columns_add_up_to_the_price(rung):
    train = houses(300).rename(columns={"Area (m2)": "area"})
    train["age"] = pd.to_numeric(train["age"], errors="coerce")
    small = [f"models.{name}.units=[16]" for name in ("mlp", "mlp_ple", "tabm")]
    config = load_config(CONFIG, [f"model={rung}", *small, "preprocessing.ratios=[[area, age]]"])
    preprocessor = TASK.preprocessor(**config.preprocessing)
    preprocessor.adapt(train)
    assert all(np.allclose(shares.sum(axis=1), 1) for shares in preprocessor.column_shares().values())
    keras.utils.set_random_seed(1)
    model = build_model(config, TASK, preprocessor)
    raw = tensors(train.drop(columns="price").head(20))
    found = {name: tensor.numpy() for name, tensor in explain(model, preprocessor, raw).items()}
    prices = TASK.answer_raw(model, preprocessor, raw)["price"].numpy()
    np.testing.assert_allclose(found["price"], prices, rtol=1e-5)
    gap = found["contribution"].sum(axis=1) + found["baseline"] - found["price"]
    assert np.abs(gap).max() < 0.02 * np.abs(found["price"] - found["baseline"]).max()
    assert [name.decode() for name in found["column"][0]] == ["area", "age", "district"]


def test_a_typical_house_owes_its_price_to_no_column(calibrated):
    model, preprocessor, _ = calibrated
    mean = float(noisy(3000, 0)["area"].mean())
    frequent = str(preprocessor.state["vocabulary"][0]).partition("=")[2]
    raw = tensors(pd.DataFrame({"area": np.array([mean, mean + 10], "float32"), "place": [frequent, frequent]}))
    found = explain(model, preprocessor, raw)
    typical, larger = found["contribution"].numpy() / found["price"].numpy()[:, None]
    assert np.abs(typical).max() < 1e-3
    assert larger[0] > 0.05 and larger[1] == 0


def test_the_column_that_decides_is_the_important_one(calibrated):
    model, preprocessor, _ = calibrated
    found, count = permutation_importance(preprocessor, noisy(300, 4), partial(answer, model, preprocessor), seed=0)
    again, _ = permutation_importance(preprocessor, noisy(300, 4), partial(answer, model, preprocessor), seed=0)
    assert count == 300 and list(found.index) == ["area", "place"]
    assert found["mean"]["area"] > 0.1 and found["mean"]["place"] == pytest.approx(0, abs=1e-6)
    pd.testing.assert_frame_equal(found, again)
