"""Entity scores against seqeval, on any tags at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import metrics as seqeval
from seqeval.metrics.sequence_labeling import get_entities

from pipelines.metrics.entity_f1 import Entity, entities, entity_scores

tags = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-a-b", "I-a-b"])
pairs = st.lists(st.lists(st.tuples(tags, tags), min_size=1, max_size=8), min_size=1, max_size=6)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(pairs)
def test_scores_are_those_of_seqeval(rows):
    true = [[a for a, _ in row] for row in rows]
    answered = [[b for _, b in row] for row in rows]
    scores = entity_scores(true, answered)
    assert scores["precision"] == seqeval.precision_score(true, answered)
    assert scores["recall"] == seqeval.recall_score(true, answered)
    assert scores["f1"] == seqeval.f1_score(true, answered)
    if any(tag != "O" for row in true + answered for tag in row):
        report = seqeval.classification_report(true, answered, output_dict=True)
        for kind in {tag[2:] for row in true + answered for tag in row} - {""}:
            for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                assert scores[f"{kind}.{ours}"] == report[kind][theirs]


@given(st.lists(tags, max_size=10))
def test_entities_are_those_of_seqeval(row):
    theirs = [Entity(start, end + 1, kind) for kind, start, end in get_entities(row)]
    assert entities(row) == theirs


def test_nothing_wanted_and_nothing_given_scores_zero():
    assert entity_scores([["O"]], [["O"]]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
