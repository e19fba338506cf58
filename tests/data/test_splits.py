"""Splits: the stated rule, whole and disjoint, for any size and any shares."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.splits import duplicates_across, take
from pipelines.data.splits import split as split_rows
from pipelines.errors import UserError

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}


def split(examples, **rule):
    return take(examples, split_rows(examples, **rule))


def frame(count, start=0):
    return pd.DataFrame({"x": np.arange(start, start + count)})


def test_the_cut_is_that_of_a_seeded_permutation():
    order = np.random.default_rng(3).permutation(20640)
    parts = split({"all": frame(20640)}, **SHARES, seed=3)
    assert parts["train"]["x"].tolist() == order[: int(0.64 * 20640)].tolist()
    assert parts["test"]["x"].tolist() == order[-4128:].tolist()


@given(st.integers(10, 500), st.integers(0, 5), st.integers(10, 60), st.integers(10, 30))
def test_splits_are_whole_and_disjoint(count, seed, train, validation):
    shares = {"train": train / 100, "validation": validation / 100, "test": 1 - train / 100 - validation / 100}
    parts = split({"all": frame(count)}, **shares, seed=seed)
    assert list(parts) == ["train", "validation", "test"]
    assert sorted(pd.concat(parts.values())["x"]) == list(range(count))
    for name, part in parts.items():
        assert abs(len(part) - shares[name] * count) <= 1


def test_splits_that_are_given_stay_and_the_lacking_is_cut_off_train():
    parts = split({"train": frame(80), "test": frame(20, 80)}, **SHARES, seed=0)
    assert parts["test"]["x"].tolist() == list(range(80, 100))
    assert (len(parts["train"]), len(parts["validation"])) == (64, 16)
    whole = split(
        {name: frame(5, at) for name, at in (("train", 0), ("validation", 5), ("test", 10))}, **SHARES, seed=0
    )
    assert whole["train"]["x"].tolist() == list(range(5))


def test_another_validation_seed_cuts_validation_elsewhere_and_leaves_test_alone():
    one, other, again = (split({"all": frame(100)}, **SHARES, seed=0, validation_seed=each) for each in (None, 1, 1))
    assert one["test"].equals(other["test"]) and other["validation"].equals(again["validation"])
    assert not set(one["validation"]["x"]) <= set(other["validation"]["x"])
    assert sorted(pd.concat(other.values())["x"]) == list(range(100))
    given_test = {"train": frame(80), "test": frame(20, 80)}
    assert split(given_test, **SHARES, seed=0, validation_seed=1)["test"].equals(frame(20, 80))
    with pytest.raises(UserError, match=r"split\.validation_seed: cannot be used with shuffle: false"):
        split({"all": frame(100)}, **SHARES, seed=0, shuffle=False, validation_seed=1)


def test_shares_and_sizes_are_checked():
    with pytest.raises(UserError, match=r"add up to 1.1, not 1"):
        split({"all": frame(10)}, train=0.7, validation=0.2, test=0.2, seed=0)
    with pytest.raises(UserError, match=r"split\.validation: no examples are left"):
        split({"all": frame(2)}, **SHARES, seed=0)
    rest = {"validation": frame(2), "test": frame(2)}
    with pytest.raises(UserError, match=r"split\.train: is 0, so there is nothing to train on"):
        split({"train": frame(2), **rest}, train=0.0, validation=0.5, test=0.5, seed=0)


def test_duplicates_across_splits_are_counted():
    hashes = {"train": np.array([1, 2, 3]), "validation": np.array([3, 3, 4]), "test": np.array([4, 5, 1])}
    assert duplicates_across(hashes) == {"validation in train": 2, "test in train": 1, "test in validation": 1}


@pytest.mark.parametrize(
    "given", [{"all": frame(200)}, {"train": frame(128), "validation": frame(32), "test": frame(9)}]
)
def test_train_dev_is_a_random_part_of_train_only(given):
    without, parts = split(given, **SHARES, seed=0), split(given, **SHARES, seed=0, train_dev=0.25)
    assert len(parts["train_dev"]) == len(without["train"]) // 4
    assert sorted(pd.concat([parts["train"], parts["train_dev"]])["x"]) == sorted(without["train"]["x"])
    assert not (parts["train_dev"]["x"].diff().dropna() == 1).all()
    assert parts["validation"].equals(without["validation"]) and parts["test"].equals(without["test"])


def test_train_dev_of_an_ordered_split_is_the_end_of_train():
    parts = split({"all": frame(100)}, **SHARES, seed=0, shuffle=False, train_dev=0.25)
    assert parts["train_dev"]["x"].tolist() == list(range(48, 64))


@pytest.mark.parametrize("rule", [{}, {"train_dev": 0.25}, {"shuffle": False}])
def test_a_share_of_train_holds_the_smaller_shares_and_leaves_the_other_splits_alone(rule):
    whole, half, eighth = (split({"all": frame(400)}, **SHARES, seed=0, train_share=s, **rule) for s in (1, 0.5, 0.125))
    assert [len(parts["train"]) for parts in (half, eighth)] == [len(whole["train"]) // 2, len(whole["train"]) // 8]
    assert set(eighth["train"]["x"]) < set(half["train"]["x"]) < set(whole["train"]["x"])
    for name in set(whole) - {"train"}:
        assert half[name].equals(whole[name])
    if not rule.get("shuffle", True):
        assert half["train"].equals(whole["train"].iloc[128:].reset_index(drop=True))


def test_another_validation_seed_draws_another_share_of_a_given_train_split():
    given = {"train": frame(100), "validation": frame(9), "test": frame(9)}
    one, other = (split(given, **SHARES, seed=0, train_share=0.5, validation_seed=seed) for seed in (1, 2))
    assert set(one["train"]["x"]) != set(other["train"]["x"]) and one["validation"].equals(other["validation"])


def test_a_share_of_train_keeps_groups_together_and_is_not_empty():
    table = frame(500).assign(owner=np.random.default_rng(0).integers(0, 60, 500))
    whole, half = (split({"all": table}, **SHARES, seed=1, group="owner", train_share=share) for share in (1, 0.5))
    left = set(whole["train"]["owner"]) - set(half["train"]["owner"])
    assert left and len(half["train"]) == (~whole["train"]["owner"].isin(left)).sum()
    with pytest.raises(UserError, match=r"split\.train: no examples"):
        split({"all": frame(20)}, **SHARES, seed=0, train_share=0.01)


def test_a_train_dev_without_examples_is_named():
    with pytest.raises(UserError, match=r"split\.train_dev: no examples"):
        split({"all": frame(20)}, **SHARES, seed=0, train_dev=0.01)


def test_a_group_stays_in_one_split():
    owners = np.random.default_rng(0).integers(0, 60, 500)
    parts = split({"all": frame(500).assign(owner=owners)}, **SHARES, seed=1, group="owner")
    sets = [set(part["owner"]) for part in parts.values()]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert abs(len(parts["test"]) - 100) < 20
    assert sorted(pd.concat(parts.values())["x"]) == list(range(500))


def test_groups_stay_together_on_another_cut_and_with_train_dev():
    table = frame(500).assign(owner=np.random.default_rng(0).integers(0, 60, 500))
    rules = {**SHARES, "seed": 1, "group": "owner"}
    one, other = (split({"all": table}, **rules, validation_seed=seed, train_dev=0.25) for seed in (1, 2))
    for parts in (one, other):
        owners = [set(part["owner"]) for part in parts.values()]
        assert len(parts) == 4 and sum(map(len, owners)) == len(set.union(*owners)) == 60
    assert other["test"].equals(one["test"]) and not other["validation"].equals(one["validation"])


def test_classes_stay_spread_on_another_cut():
    table = frame(500).assign(kind=[None] * 50 + ["rare"] * 25 + ["usual"] * 425)
    one, other = (split({"all": table}, **SHARES, seed=1, stratify="kind", validation_seed=seed) for seed in (1, 2))
    assert other["test"].equals(one["test"]) and not other["validation"].equals(one["validation"])
    for parts in (one, other):
        assert [(part["kind"] == "rare").sum() for part in parts.values()] == [16, 4, 5]
        assert [part["kind"].isna().sum() for part in parts.values()] == [32, 8, 10]


def test_another_cut_needs_a_shuffle():
    table = frame(100).assign(sold=range(100))
    with pytest.raises(UserError, match=r"split\.validation_seed: cannot be used with split\.time"):
        split({"all": table}, **SHARES, seed=1, time="sold", validation_seed=2)


def test_by_time_the_latest_rows_are_the_test():
    table = frame(100).assign(sold=np.random.default_rng(0).permutation(100))
    parts = split({"all": table}, **SHARES, seed=1, time="sold")
    assert parts["train"]["sold"].tolist() == list(range(64)) and parts["test"]["sold"].min() == 80


def test_classes_are_spread_evenly_over_the_splits():
    kinds = ["rare"] * 25 + ["usual"] * 475
    parts = split({"all": frame(500).assign(kind=kinds)}, **SHARES, seed=1, stratify="kind")
    assert [(part["kind"] == "rare").sum() for part in parts.values()] == [16, 4, 5]


def test_columns_to_split_by_are_checked():
    table = {"all": frame(50).assign(sold=[None] + [1.0] * 49)}
    with pytest.raises(UserError, match=r"split\.group: there is no column 'y'; (did you mean|choose one of)"):
        split(table, **SHARES, seed=0, group="y")
    with pytest.raises(UserError, match=r"split\.time: column 'sold' has 1 missing value"):
        split(table, **SHARES, seed=0, time="sold")
    with pytest.raises(UserError, match=r"split.time: cannot be combined with split\.group"):
        split(table, **SHARES, seed=0, group="x", time="sold")


def folds_of(table, count=4, **rule):
    return [split({"all": table}, **{**SHARES, "seed": 0, **rule}, folds=count, fold=fold) for fold in range(count)]


@given(st.integers(12, 200), st.integers(2, 5), st.integers(0, 3))
def test_each_example_is_in_the_test_split_of_one_fold(count, folds, seed):
    parts = folds_of(frame(count), folds, seed=seed)
    assert sorted(pd.concat(part["test"] for part in parts)["x"]) == list(range(count))
    for part in parts:
        assert sorted(pd.concat(part.values())["x"]) == list(range(count))
        rest = count - len(part["test"])
        assert abs(len(part["train"]) - 0.8 * rest) <= 1 and abs(len(part["test"]) - count / folds) < 1


def test_folds_alone_change_nothing_and_a_fold_is_the_same_again():
    table = frame(100)
    plain, with_folds = split({"all": table}, **SHARES, seed=0), split({"all": table}, **SHARES, seed=0, folds=5)
    assert all(plain[name].equals(with_folds[name]) for name in plain)
    one, other = folds_of(table)[1], folds_of(table)[1]
    assert all(one[name].equals(other[name]) for name in one)


def test_folds_keep_groups_together_classes_spread_and_the_future_out_of_train():
    random = np.random.default_rng(0)
    kinds = np.repeat(["a", "b"], [100, 300])
    table = frame(400).assign(owner=random.integers(0, 40, 400), kind=kinds, day=random.permutation(400))
    for part in folds_of(table, group="owner"):
        owners = [set(each["owner"]) for each in part.values()]
        assert sum(map(len, owners)) == len(set.union(*owners)) == 40
    for part in folds_of(table, stratify="kind"):
        assert [(each["kind"] == "a").mean().round(2) for each in part.values()] == [0.25] * 3
    for rule, column in (({"time": "day"}, "day"), ({"shuffle": False}, "x")):
        for part in folds_of(table, **rule):
            train, validation, test = (part[name][column] for name in SHARES)
            assert train.max() < validation.min() and validation.max() < test.min() and len(test) == 80


def test_folds_leave_splits_that_are_given_alone():
    given_splits = {"train": frame(80), "validation": frame(5, 80), "test": frame(20, 100)}
    parts = split(given_splits, **SHARES, seed=0, folds=4, fold=0)
    assert parts["validation"].equals(frame(5, 80)) and len(parts["test"]) == 20 and len(parts["train"]) == 60
    assert parts["test"]["x"].max() < 80


def test_folds_that_cannot_be_are_named():
    table = frame(12).assign(owner=[0] * 6 + [1] * 6, kind=list("abcdefghijkl"))
    for rule, message in (
        ({"fold": 1}, "split.fold: is 1, but split.folds is None"),
        ({"folds": 3, "fold": 3}, "split.fold: is 3, but split.folds is 3"),
        ({"folds": 13, "fold": 0}, "split.folds: is 13, but there are only 12 examples"),
        ({"folds": 3, "fold": 0, "group": "owner"}, "there are only 2 groups"),
        ({"folds": 3, "fold": 0, "stratify": "kind"}, "there are only 1 examples of any class"),
        ({"folds": 12, "fold": 0, "shuffle": False}, "split.folds: is 12, but there are only 12 examples"),
    ):
        with pytest.raises(UserError, match=message):
            split({"all": table}, **SHARES, seed=0, **rule)
