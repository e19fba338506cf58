"""What a person is told of the data before training."""

import numpy as np

from pipelines.data.summary import Summary, class_warnings, contradiction_warnings, duplicate_warnings, skip_warnings


def counts(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


def test_classes_that_cannot_be_learnt_or_measured_are_named():
    classes = {
        "cat": counts(500, 50, 50),
        "dog": counts(10, 5, 5),
        "fox": counts(2, 1, 1),
        "owl": counts(0, 0, 3),
        "elk": counts(400, 0, 9),
    }
    dog, fox, owl, elk = class_warnings(classes)
    assert "'dog' is rare" in dog and "500" in dog
    assert "'fox' has only 2 examples" in fox
    assert "'owl' has no examples in train, only in test" in owl
    assert "'elk' has no examples in validation: it is not evaluated there" in elk


def test_balanced_classes_give_no_warning():
    assert class_warnings({"cat": counts(50, 9, 9), "dog": counts(60, 9, 9)}) == []
    assert class_warnings({}) == []


def test_many_warnings_of_a_kind_are_counted():
    assert len(class_warnings({f"{n}": counts(1, 1, 1) for n in range(500)})) == 13


def test_duplicates_across_splits_are_counted_beside_their_split():
    warnings = duplicate_warnings({"test in train": 3, "validation in train": 0}, counts(80, 10, 10))
    assert warnings == ["3 of 10 test examples are also in train: the test metrics are too optimistic"]


def test_inputs_with_two_labels_are_counted_and_repeated_examples_are_not():
    inputs, whole = np.array([1, 1, 2, 2, 3]), np.array([10, 10, 20, 21, 30])
    assert contradiction_warnings(inputs, whole, "label") == [
        "1 input occurs with more than one label: no model can predict all of them correctly"
    ]
    assert contradiction_warnings(inputs[:2], whole[:2], "label") == []


def test_what_was_left_out_is_counted_with_the_first_place():
    skipped = [{"place": "a.csv:3", "reason": "no target"}, {"place": "a.csv:9", "reason": "no target"}]
    assert skip_warnings(skipped) == ["2 examples skipped: a.csv:3: no target; data.json lists more"]
    assert skip_warnings([]) == []


def test_the_lines_name_rows_columns_classes_and_warnings():
    facts = {"lengths": "half have up to 9 characters"}
    summary = Summary(counts(8, 1, 1), {"area": "number", "kind": "category"}, {"cat": counts(8, 1, 1)}, ["odd"], facts)
    assert summary.lines() == [
        "examples  train 8, validation 1, test 1",
        "columns   number (1): area",
        "columns   category (1): kind",
        "class     cat: train 8, validation 1, test 1",
        "lengths   half have up to 9 characters",
        "warning: odd",
    ]
