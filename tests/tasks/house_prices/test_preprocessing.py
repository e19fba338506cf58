"""The table preprocessor: normalizing, looking up, gaps, targets, ratios and neighbours."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import houses
from sklearn.preprocessing import QuantileTransformer

from pipelines.data.batches import tensors
from pipelines.errors import UserError
from pipelines.tasks.house_prices.preprocessing import TablePreprocessor

SETTINGS = {
    "numeric_scaling": "standard",
    "numeric_limit": 100.0,
    "min_count": 1,
    "target_scaling": "standard",
    "max_categories": 10,
    "ratios": [],
    "neighbours": [],
    "text_columns": [],
    "text_preset": None,
}


def adapted(train, **changes):
    preprocessor = TablePreprocessor(**{**SETTINGS, **changes})
    preprocessor.adapt(train)
    return preprocessor


@pytest.fixture
def train():
    nan = float("nan")
    return pd.DataFrame({"a": [1.0, 3.0, nan, 5.0], "b": ["x", "y", "x", ""], "price": [10.0, 20.0, 30.0, 40.0]})


def test_numbers_are_normalised_and_gaps_are_zero_and_told(train):
    inputs = adapted(train).inputs(tensors(train))
    np.testing.assert_allclose(inputs["numeric"][:, 0], np.array([-2, 0, 0, 2]) / np.sqrt(8 / 3), rtol=1e-5)
    # x, then by name '' and y; then the gap of a: missing, known
    assert inputs["category"].numpy().tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 0, 1], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]]


def test_numbers_far_off_are_clipped_on_both_sides(train):
    raw = {"a": tf.constant([-1e6, 3.0, 1e6]), "b": tf.constant(["x"] * 3)}
    assert adapted(train, numeric_limit=1.5).inputs(raw)["numeric"][:, 0].numpy().tolist() == [-1.5, 0, 1.5]


def test_quantile_scaling_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"skewed": random.lognormal(size=3000), "ties": random.integers(0, 4, 3000).astype(float)})
    table["price"] = 1.0 + table["ties"]
    asked = pd.DataFrame({"skewed": [-1.0, 0.5, 1.0, 3.0, 999.0], "ties": [1.0, 1.0, 2.0, 1.5, 2.0]})
    preprocessor = adapted(table, numeric_scaling="quantile")
    values = (
        preprocessor.inputs(tensors(asked))["numeric"] * preprocessor.state["deviation"] + preprocessor.state["mean"]
    )
    reference = QuantileTransformer(n_quantiles=1001, output_distribution="normal").fit(
        table[["skewed", "ties"]].values
    )
    np.testing.assert_allclose(values, np.clip(reference.transform(asked.values), -3.1, 3.1), atol=0.02)


def test_an_unknown_value_is_no_category_at_all(train):
    raw = {"a": tf.constant([3.0]), "b": tf.constant(["never seen"])}
    assert adapted(train).inputs(raw)["category"].numpy().tolist() == [[0, 0, 0, 0, 1]]
    rare = adapted(train, max_categories=1).inputs(tensors(train))["category"]
    assert rare[:, 0].numpy().tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("scaling", ["log", "standard"])
def test_a_price_is_scaled_and_back(train, scaling):
    preprocessor = adapted(train, target_scaling=scaling)
    _, labels, weights = preprocessor.example(tensors(train), training=True)
    np.testing.assert_allclose([np.mean(labels), np.std(labels)], [0, 1], atol=1e-5)
    np.testing.assert_allclose(preprocessor.price(labels[:, 0]), train["price"], rtol=1e-5)
    np.testing.assert_allclose(preprocessor.price(tf.constant([-99.0, 99.0])), [10, 40], rtol=1e-5)
    assert weights.numpy().tolist() == [1, 1, 1, 1]


def test_log_scaling_takes_zeros_and_refuses_targets_below(train):
    counts = train.assign(price=[0.0, 1.0, 2.0, 3.0])
    preprocessor = adapted(counts, target_scaling="log")
    label = preprocessor.example(tensors(counts), training=True)[1][:, 0]
    np.testing.assert_allclose(preprocessor.price(label), counts["price"], atol=1e-5)
    with pytest.raises(UserError, match="log requires targets of zero or more, but 1 in train is negative"):
        adapted(train.assign(price=[-1.0, 1.0, 2.0, 3.0]), target_scaling="log")


def test_a_target_of_zero_that_train_lacks_has_a_finite_label_under_log(train):
    preprocessor = adapted(train, target_scaling="log")
    strange = train.assign(price=[0.0, -5.0, 10.0, 20.0])
    label = preprocessor.example(tensors(strange), training=False)[1][:, 0].numpy()
    assert np.isfinite(label).all() and (label[:2] < label[2]).all()


def test_numbers_that_float32_takes_for_the_same_are_told_apart():
    stamps = 1.7e9 + 20.0 * np.arange(40)
    table = pd.DataFrame({"at": stamps, "area": np.arange(40.0), "price": np.arange(1.0, 41)})
    preprocessor = adapted(table, numeric_scaling="standard")
    assert {name: spec.dtype.name for name, spec in preprocessor.signature.items()} == {
        "at": "float64",
        "area": "float32",
    }
    values = preprocessor.inputs(tensors(table))["numeric"].numpy()
    np.testing.assert_allclose(values[:, 0], values[:, 1], atol=1e-5)


def test_a_date_becomes_its_parts_and_a_missing_one_is_told_apart():
    days = pd.Series(pd.date_range("2023-12-25", periods=40, freq="9D").astype("datetime64[s]"))
    table = pd.DataFrame({"sold": days, "price": np.arange(1.0, 41)})
    table.loc[3, "sold"] = pd.NaT
    preprocessor = adapted(table, numeric_scaling="standard", numeric_limit=9.0)
    inputs = preprocessor.inputs(tensors(table))
    values = inputs["numeric"].numpy() * preprocessor.state["deviation"] + preprocessor.state["mean"]
    parts = table["sold"].dt
    known = table["sold"].notna()
    wanted = np.stack([parts.year, parts.month, parts.day, parts.weekday, (table["sold"] - pd.Timestamp(0)).dt.days], 1)
    np.testing.assert_allclose(values[known], wanted[known], rtol=1e-4, atol=1e-3)
    assert inputs["numeric"][3].numpy().tolist() == [0.0] * 5
    assert inputs["category"][3].numpy().tolist() != inputs["category"][4].numpy().tolist()


def test_a_column_without_a_value_in_train_counts_as_missing_whatever_it_holds_later(train):
    empty = train.assign(lot=np.nan)
    preprocessor = adapted(empty)
    assert any("'lot' has no values in train" in warning for warning in preprocessor.warnings)
    known, unknown = (preprocessor.inputs(tensors(empty.assign(lot=lot)))["numeric"] for lot in (7.5, np.nan))
    np.testing.assert_array_equal(known, unknown)


def test_a_table_of_categories_alone_is_learnt_from():
    table = pd.DataFrame({"kind": ["a", "b"] * 5, "price": np.arange(1.0, 11)})
    preprocessor = adapted(table)
    assert preprocessor.features.numeric == 0
    assert list(preprocessor.inputs(tensors(table))) == ["category"]


def test_columns_of_which_nothing_is_looked_up_are_named_and_alone_refused():
    table = pd.DataFrame({"id": list("abcdefghij"), "area": np.arange(10.0), "price": np.arange(1.0, 11)})
    (warning,) = (each for each in adapted(table, min_count=2).warnings if "'id': none of its 10 values" in each)
    assert "free text" not in warning
    with pytest.raises(UserError, match=r"preprocessing\.min_count: no column has a value that occurs at least 2"):
        adapted(table.drop(columns="area"), min_count=2)


def test_ratios_are_features_and_zero_over_zero_is_zero():
    table = pd.DataFrame({"a b": [2.0, 3.0, 4.0], "c": [1.0, 0.0, 2.0], "price": [1.0, 2.0, 3.0]})
    table = table.rename(columns={"a b": "a_b"})
    preprocessor = adapted(table, ratios=[["a b", "c"]])
    values = preprocessor.inputs(tensors(table))["numeric"][:, 2].numpy()
    ratios = np.array([2.0, 0.0, 2.0])
    np.testing.assert_allclose(values, (ratios - ratios.mean()) / ratios.std(), rtol=1e-5)


def neighbours_by_hand(table, asked, counts, leave_out):
    labels = (table["price"] - table["price"].mean()) / table["price"].std(ddof=0)
    rows = []
    for index, house in asked.iterrows():
        distance = np.sqrt(((house[["x", "y"]] - table[["x", "y"]]) ** 2).sum(axis=1).astype(float))
        known = distance.drop(index) if leave_out else distance
        nearest = known.sort_values(kind="stable").index
        row = []
        for count in counts:
            chosen = nearest[:count]
            nearness = 1 / (distance[chosen] + 0.1 * distance[chosen[-1]] + 1e-6)
            row += [labels[chosen].mean(), (labels[chosen] * nearness).sum() / nearness.sum()]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("training", [True, False])
def test_the_prices_of_neighbours_are_features_but_never_a_house_s_own(training):
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(60, 3)).astype("float32").astype("float64"), columns=["x", "y", "z"])
    table["price"] = random.normal(size=60).astype("float32").astype("float64")
    spread = {name: float(table[name].std(ddof=0)) for name in ("x", "y")}
    preprocessor = adapted(table, neighbours=[{"columns": spread, "counts": [1, 5]}])  # so distances are Euclidean
    inputs, *_ = preprocessor.example(tensors(table), training=training)
    values = inputs["numeric"][:, 3:] * preprocessor.state["deviation"][3:] + preprocessor.state["mean"][3:]
    np.testing.assert_allclose(values, neighbours_by_hand(table, table, [1, 5], leave_out=training), atol=1e-4)


def test_a_house_among_its_own_neighbours_would_be_told_its_price():
    table = pd.DataFrame({"x": np.arange(9.0), "price": [1.0, 9, 2, 8, 3, 7, 4, 6, 5]})
    preprocessor = adapted(table, neighbours=[{"columns": {"x": 1.0}, "counts": [1]}])
    (known, label, _), (asked, *_) = (preprocessor.example(tensors(table), training=flag) for flag in (True, False))
    scale = preprocessor.state["deviation"][1], preprocessor.state["mean"][1]
    assert not np.isclose(known["numeric"][:, 1] * scale[0] + scale[1], label[:, 0]).any()
    np.testing.assert_allclose(asked["numeric"][:, 1] * scale[0] + scale[1], label[:, 0], atol=1e-5)


def test_the_test_split_touches_nothing(csv):
    from conftest import CONFIG, overrides

    from pipelines.config.load import load_config
    from pipelines.trained_model import load_run_dataset

    dataset = load_run_dataset(load_config(CONFIG, overrides(csv)))
    states = []
    for test in (dataset.test, dataset.test.assign(price=1e9, district="moon")):
        preprocessor = adapted(dataset.train)
        preprocessor.inputs(tensors(test[list(preprocessor.signature)]))
        states.append(preprocessor.state)
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])


def test_columns_that_a_setting_names_must_be_numbers():
    table = houses(20)[["Area (m2)", "district", "price"]].rename(columns={"Area (m2)": "Area__m2_"})
    with pytest.raises(
        UserError, match=r"preprocessing\.neighbours: no numeric column 'Area'; did you mean 'Area__m2_'"
    ):
        adapted(table, neighbours=[{"columns": {"Area": 1.0}, "counts": [3]}])
